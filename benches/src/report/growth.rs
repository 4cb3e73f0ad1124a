//! The throughput of each server as its connections become more, as a chart.

use super::Result;
use super::chart::{DARK, LIGHT, text};
use crate::row::Role;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
/// The sides of the plot, in pixels.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 370.0;
/// The least vertical distance between two names.
const LINE: f64 = 17.0;

const STYLE: &str = "\
path{fill:none;stroke-width:2}.s0{stroke:#59636e;stroke-dasharray:4 4}.s1{stroke:#0969da}.s2{stroke:#cf222e}.s3{stroke:#8c959f}";

/// A server's name, its role, and its requests in a second for each number of connections.
type Series = (&'static str, Role, Vec<(f64, f64)>);

/// Draws the rows whose batch is their number of connections.
pub(super) fn render(results: &[&Result]) -> String {
    let series = series_of(results);
    let points = || series.iter().flat_map(|(.., points)| points);
    let most = points().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let connections: Vec<f64> = results.iter().map(|(row, _)| row.batch as f64).collect();
    let widest = connections.iter().copied().fold(2.0, f64::max);
    let x = |connections: f64| LEFT + connections.ln() / widest.ln() * (RIGHT - LEFT);
    let y = |rate: f64| BOTTOM - rate / most * (BOTTOM - TOP);

    let mut svg = String::new();
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"><style>{LIGHT}{STYLE}@media(prefers-color-scheme:dark){{{DARK}}}</style><rect class="back" x=".5" y=".5" width="{}" height="{}" rx="8"/>"#,
        WIDTH - 1.0,
        HEIGHT - 1.0,
    );
    let title = "Requests of 64 B in a second, one in flight on each connection";
    text(&mut svg, 20.0, 30.0, "start", "title", title);
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let rate = share * most;
        let _ = write!(svg, r#"<path class="line" d="M{LEFT} {:.1}H{RIGHT}"/>"#, y(rate));
        text(&mut svg, LEFT - 8.0, y(rate) + 4.0, "end", "quiet", &format!("{:.0} k/s", rate / 1000.0));
    }
    for count in connections {
        text(&mut svg, x(count), BOTTOM + 20.0, "middle", "quiet", &count.to_string());
    }
    text(&mut svg, f64::midpoint(LEFT, RIGHT), BOTTOM + 38.0, "middle", "quiet", "connections");

    let mut names: Vec<(f64, &str)> = Vec::new();
    for (name, role, points) in &series {
        let line: Vec<String> =
            points.iter().map(|(count, rate)| format!("{:.1} {:.1}", x(*count), y(*rate))).collect();
        let _ = write!(svg, r#"<path class="s{}" d="M{}"/>"#, class(*role), line.join("L"));
        names.extend(points.last().map(|(_, rate)| (y(*rate), *name)));
    }
    names.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut below = TOP;
    for (height, name) in names {
        let place = height.max(below);
        text(&mut svg, RIGHT + 10.0, place + 4.0, "start", "", name);
        below = place + LINE;
    }
    svg.push_str("</svg>\n");
    svg
}

fn series_of(results: &[&Result]) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for (row, contenders) in results {
        for one in contenders {
            let point = (row.batch as f64, 1e9 / one.cost);
            match series.iter_mut().find(|(name, ..)| *name == one.name) {
                Some((.., points)) => points.push(point),
                None => series.push((one.name, one.role, vec![point])),
            }
        }
    }
    series
}

fn class(role: Role) -> u8 {
    match role {
        Role::Floor => 0,
        Role::Ours => 1,
        Role::Peer => 2,
        Role::Other => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measured;
    use crate::place::Placement;
    use crate::row::{Row, Unit};

    fn row_of(connections: u64, cost: f64) -> Result {
        let row = Row::new("row", "title", Unit::Rate, Placement::Free, Vec::new);
        let one = Measured {
            role: Role::Ours,
            name: "serve",
            goal: None,
            cost,
            to_floor: None,
            to_peer: None,
            allocations: None,
            system_calls: None,
        };
        (Row { batch: connections, ..row }, vec![one])
    }

    #[test]
    fn a_server_has_one_line_with_a_point_for_each_number_of_connections() {
        let (first, last) = (row_of(1, 20_000.0), row_of(64, 10_000.0));
        let chart = render(&[&first, &last]);
        let line = format!(r#"class="s1" d="M{LEFT:.1} 215.0L{RIGHT:.1} {TOP:.1}""#);
        assert!(chart.contains(&line), "{chart}");
        assert_eq!(chart.matches(">serve<").count(), 1);
    }
}
