//! Interleaved rounds: each contender of a row takes one sample in each round, so that all meet the same machine.

use crate::place::{Cpus, Placement};
use crate::row::{Contender, Counts, Goal, Pace, Role, Row};
use crate::scratch::Scratch;
use crate::worker::{Worker, system_calls};
use std::time::{Duration, Instant};

/// The duration and the number of samples.
#[derive(Clone, Copy)]
pub struct Effort {
    /// The largest number of rounds.
    pub rounds: usize,
    /// The time for a row, if a few rounds fit into it.
    pub row: Duration,
    /// The shortest time of a sample.
    pub sample: Duration,
    /// Replaces the placement that the rows ask for.
    pub placement: Option<Placement>,
    /// Counts system calls too, which takes extra time.
    pub system_calls: bool,
}

impl Effort {
    /// Returns the effort of one operation for each contender, which shows that it works and not its cost.
    pub fn once(self) -> Self {
        Self { rounds: 1, sample: Duration::ZERO, ..self }
    }

    /// Returns the number of operations of `row` under strace, of which each costs so many nanoseconds: 4 to 100.
    fn traced(self, row: &Row, cost: f64) -> u64 {
        let within_time = (TRACED / cost) as u64;
        if self.is_once() { 1 } else { within_time.min(TRACED_REQUESTS / row.batch).clamp(4, 100) }
    }

    pub fn is_once(self) -> bool {
        self.sample.is_zero()
    }
}

/// The cost of a contender's operation.
pub struct Measured {
    pub role: Role,
    pub name: &'static str,
    pub goal: Option<Goal>,
    /// Median over the rounds.
    pub cost: f64,
    /// Cost over that of the row's floor, and of the row's peer: medians of the ratios within a round.
    pub to_floor: Option<f64>,
    pub to_peer: Option<f64>,
    pub allocations: Option<f64>,
    pub system_calls: Option<f64>,
}

impl Measured {
    /// Returns the goal as a multiple of the floor, if the row has a floor.
    pub fn goal_in_floors(&self) -> Option<f64> {
        match self.goal? {
            Goal::Floors(floors) => Some(floors),
            Goal::Cost(goal) => Some(goal * self.to_floor? / self.cost),
        }
    }

    /// Returns whether there is a goal and it is reached.
    pub fn is_reached(&self) -> bool {
        match self.goal {
            Some(Goal::Floors(floors)) => self.to_floor.is_some_and(|ratio| ratio <= floors),
            Some(Goal::Cost(goal)) => self.cost <= goal,
            None => false,
        }
    }
}

/// Measures all contenders of `row` against each other.
pub fn measure(row: &Row, effort: Effort, scratch: &Scratch) -> Vec<Measured> {
    let effort = if row.pace == Pace::Sampled { effort } else { effort.once() };
    let cpus = effort.placement.unwrap_or(row.placement).cpus();
    let contenders = (row.contenders)();
    let mut running: Vec<Running> =
        (0..contenders.len()).map(|index| Running::start(row, index, cpus, effort, scratch)).collect();
    let begin = Instant::now();
    for round in 0..effort.rounds {
        if round >= FEW && begin.elapsed() >= effort.row {
            break;
        }
        // Forwards and backwards in turn, so that no contender always follows the same one.
        let forth = round % 2 == 0;
        for position in 0..running.len() {
            let index = if forth { position } else { running.len() - 1 - position };
            running[index].sample();
        }
    }
    let costs_of = |role| {
        let index = contenders.iter().position(|one: &Contender| one.role == role)?;
        Some(running[index].costs.clone())
    };
    let (floor, peer) = (costs_of(Role::Floor), costs_of(Role::Peer));
    let mut measured = Vec::new();
    for (index, (mut one, contender)) in running.into_iter().zip(contenders).enumerate() {
        let per_operation = |calls: f64| calls / row.batch as f64;
        let cost = median(one.costs.clone());
        let traced = effort.system_calls && row.counts == Counts::SystemCalls && cost < LONGEST_TRACED;
        measured.push(Measured {
            role: contender.role,
            name: contender.name,
            goal: contender.goal,
            cost: cost / row.batch as f64,
            to_floor: floor.as_deref().and_then(|floor| ratio(&one.costs, floor)),
            to_peer: peer.as_deref().and_then(|peer| ratio(&one.costs, peer)),
            allocations: (row.counts != Counts::Nothing).then(|| per_operation(one.allocations())),
            system_calls: traced
                .then(|| per_operation(system_calls(row, index, effort.traced(row, cost), cpus, scratch))),
        });
    }
    measured
}

/// The longest operation whose system calls are counted, in nanoseconds: many of them are traced.
const LONGEST_TRACED: f64 = 1e8;

/// The time that the operations under strace take without it at most, in nanoseconds, unless they are few.
const TRACED: f64 = 1e9;

/// Requests or frames under strace, unless one operation has more.
const TRACED_REQUESTS: u64 = 2000;

/// Measurements of a count, of which the shortest is taken.
const TRIES: usize = 3;

/// An operation that takes as long as so many samples needs no more measurements to know that one is enough.
const LONG: u32 = 20;

/// Rounds of a row that measures in seconds.
const FEW: usize = 5;

struct Running {
    worker: Worker,
    /// Operations in a sample.
    count: u64,
    /// The cost of an operation in each round.
    costs: Vec<f64>,
}

impl Running {
    fn start(row: &Row, index: usize, cpus: Cpus, effort: Effort, scratch: &Scratch) -> Self {
        let mut worker = Worker::start(row, index, cpus, scratch);
        let count = if effort.is_once() { 1 } else { calibrate(&mut worker, effort.sample) };
        Self { worker, count, costs: Vec::new() }
    }

    fn sample(&mut self) {
        self.costs.push(self.worker.cost(self.count) / self.count as f64);
    }

    fn allocations(&mut self) -> f64 {
        let count = self.count.min(1000);
        self.worker.allocations(count) / count as f64
    }
}

/// Returns the number of operations that takes about as long as a sample shall take.
fn calibrate(worker: &mut Worker, sample: Duration) -> u64 {
    // One-time work is done by then.
    if time_of(worker, 1) >= sample * LONG {
        return 1;
    }
    let mut count = 1;
    loop {
        // The shortest, so that other processes' work does not count as the contender's.
        let took = (0..TRIES).map(|_| time_of(worker, count)).min().expect("there are tries");
        if took * 4 >= sample {
            let per_sample = sample.as_secs_f64() / took.as_secs_f64() * count as f64;
            return (per_sample as u64).max(1);
        }
        count *= 4;
    }
}

fn time_of(worker: &mut Worker, count: u64) -> Duration {
    let begin = Instant::now();
    worker.cost(count);
    begin.elapsed()
}

fn ratio(costs: &[f64], to: &[f64]) -> Option<f64> {
    let ratio = median(costs.iter().zip(to).map(|(cost, to)| cost / to).collect());
    ratio.is_finite().then_some(ratio)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_of_values_lies_between_the_middle_ones() {
        assert_eq!(median(vec![9.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(vec![9.0, 1.0, 3.0, 5.0]), 4.0);
    }

    #[test]
    fn a_ratio_is_that_of_most_rounds_and_not_of_the_disturbed_ones() {
        assert_eq!(ratio(&[2.0, 80.0, 4.0], &[1.0, 2.0, 2.0]), Some(2.0));
        assert_eq!(ratio(&[2.0], &[0.0]), None);
    }
}
