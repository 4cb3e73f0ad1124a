//! Circles of a directed graph.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The nodes that each node leads to.
pub(super) type Graph = BTreeMap<usize, BTreeSet<usize>>;

/// Returns a shortest circle through each arrow that is in one, each circle once, short ones first. A circle begins with its
/// lowest node, and does not repeat it.
pub(super) fn circles(graph: &Graph) -> Vec<Vec<usize>> {
    let mut found = BTreeSet::new();
    for (from, targets) in graph {
        for to in targets {
            let Some(mut circle) = shortest_path(graph, *to, *from) else { continue };
            let lowest = (0..circle.len()).min_by_key(|at| circle[*at]).unwrap_or(0);
            circle.rotate_left(lowest);
            found.insert((circle.len(), circle));
        }
    }
    found.into_iter().map(|(_, circle)| circle).collect()
}

fn shortest_path(graph: &Graph, from: usize, to: usize) -> Option<Vec<usize>> {
    let mut before = BTreeMap::from([(from, from)]);
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        if node == to {
            let mut path = vec![node];
            while let Some(last) = path.last().filter(|last| **last != from) {
                path.push(before[last]);
            }
            path.reverse();
            return Some(path);
        }
        for next in graph.get(&node).into_iter().flatten() {
            before.entry(*next).or_insert_with(|| {
                queue.push_back(*next);
                node
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Graph, circles};

    fn graph(arrows: &[(usize, usize)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in arrows {
            graph.entry(*from).or_default().insert(*to);
        }
        graph
    }

    #[test]
    fn a_graph_that_only_goes_down_has_no_circle() {
        assert_eq!(circles(&graph(&[(0, 1), (0, 2), (1, 3), (2, 3)])), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn each_circle_is_found_once() {
        let graph = graph(&[(0, 1), (1, 2), (2, 0), (2, 3), (3, 2), (3, 4)]);
        assert_eq!(circles(&graph), [vec![2, 3], vec![0, 1, 2]]);
    }
}
