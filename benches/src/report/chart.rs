//! The results as a chart: each contender's cost as a multiple of the floor's, on a logarithmic scale.

use super::{Result, cost};
use crate::measure::Measured;
use crate::row::Role;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
/// The vertical place of the first row.
const TOP: f64 = 104.0;
const ROW: f64 = 26.0;
const BOTTOM: f64 = 28.0;
/// The scale's ends, in pixels and in floors.
const LEFT: f64 = 396.0;
const RIGHT: f64 = 860.0;
const LEAST: f64 = 0.5;
const MOST: f64 = 3000.0;

pub(super) const LIGHT: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}\
text.title{font-size:15px;font-weight:600}text.quiet{fill:#59636e}\
.back{fill:#fff;stroke:#d1d9e0}.line{stroke:#d1d9e0}.floor{stroke:#59636e;stroke-width:1.5}\
.reach{stroke:#0969da;stroke-opacity:.3;stroke-width:3}.goal{stroke:#1a7f37;stroke-width:3}\
.ours{fill:#0969da}.way{fill:#fff;stroke:#0969da;stroke-width:1.5}.peer{fill:#cf222e}.other{fill:#8c959f}";

pub(super) const DARK: &str = "\
text{fill:#f0f6fc}text.quiet{fill:#9198a1}\
.back{fill:#0d1117;stroke:#3d444d}.line{stroke:#3d444d}.floor{stroke:#9198a1}\
.reach{stroke:#4493f8}.goal{stroke:#3fb950}\
.ours{fill:#4493f8}.way{fill:#0d1117;stroke:#4493f8}.peer{fill:#f85149}.other{fill:#6e7681}";

pub(super) fn render(results: &[&Result]) -> String {
    let rows: Vec<_> = results.iter().filter(|(_, contenders)| is_comparable(contenders)).collect();
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let mut svg = String::new();
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"><style>{LIGHT}@media(prefers-color-scheme:dark){{{DARK}}}</style><rect class="back" x=".5" y=".5" width="{}" height="{}" rx="8"/>"#,
        WIDTH - 1.0,
        height - 1.0,
    );
    text(
        &mut svg,
        20.0,
        30.0,
        "start",
        "title",
        "What each task costs, as a multiple of the least that it can cost",
    );
    legend(&mut svg);
    scale(&mut svg, height - BOTTOM);
    for (index, (row, contenders)) in rows.iter().enumerate() {
        let y = TOP + ROW * (index as f64 + 0.5);
        text(&mut svg, 20.0, y + 4.0, "start", "", row.title);
        contest(&mut svg, y, contenders);
        if let Some(best) = first(contenders, Role::Ours) {
            text(&mut svg, WIDTH - 20.0, y + 4.0, "end", "quiet", &cost(row.unit, best.cost));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Returns whether the row compares one of our contenders with a floor that costs anything.
fn is_comparable(contenders: &[Measured]) -> bool {
    first(contenders, Role::Ours).is_some_and(|one| one.to_floor.is_some())
}

fn first(contenders: &[Measured], role: Role) -> Option<&Measured> {
    contenders.iter().find(|one| one.role == role)
}

/// Returns the pixel of a multiple of the floor.
fn at(floors: f64) -> f64 {
    let share = (floors.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + share * (RIGHT - LEFT)
}

fn legend(svg: &mut String) {
    let y = 56.0;
    let mut x = 20.0;
    let mut entry = |svg: &mut String, mark: fn(&mut String, f64, f64, &str), name: &str| {
        mark(svg, x + 5.0, y - 4.0, name);
        text(svg, x + 16.0, y, "start", "quiet", name);
        x += 34.0 + 6.3 * name.len() as f64;
    };
    entry(svg, filled, "this library");
    entry(svg, hollow, "another way through it");
    entry(svg, diamond, "published 4.10.21");
    entry(svg, square, "others: redis, tonic, ttrpc and more");
    entry(svg, tick, "goal");
}

fn scale(svg: &mut String, bottom: f64) {
    for floors in [1.0, 10.0, 100.0, 1000.0] {
        let x = at(floors);
        let class = if floors > 1.0 { "line" } else { "floor" };
        let _ = write!(svg, r#"<path class="{class}" d="M{x:.1} {}V{bottom}"/>"#, TOP - 6.0);
        let label = if floors > 1.0 { format!("{floors} ×") } else { "floor".into() };
        text(svg, x, TOP - 12.0, "middle", "quiet", &label);
    }
}

/// Ours last, so that it lies on top.
fn contest(svg: &mut String, y: f64, contenders: &[Measured]) {
    let all_of = |role| contenders.iter().filter(move |one| one.role == role);
    let Some(ours) = first(contenders, Role::Ours) else { return };
    let Some(reached) = ours.to_floor else { return };
    let _ = write!(svg, r#"<path class="reach" d="M{:.1} {y}H{:.1}"/>"#, at(1.0), at(reached));
    if let Some(goal) = ours.goal_in_floors() {
        tick(svg, at(goal), y, &format!("goal: {goal:.2} ×"));
    }
    let mut mark = |one: &Measured, mark: fn(&mut String, f64, f64, &str)| {
        if let Some(floors) = one.to_floor {
            mark(svg, at(floors), y, &format!("{}: {floors:.2} ×", one.name));
        }
    };
    all_of(Role::Other).for_each(|one| mark(one, square));
    all_of(Role::Peer).for_each(|one| mark(one, diamond));
    all_of(Role::Ours).skip(1).for_each(|one| mark(one, hollow));
    mark(ours, filled);
}

fn filled(svg: &mut String, x: f64, y: f64, title: &str) {
    let _ = write!(
        svg,
        r#"<circle class="ours" cx="{x:.1}" cy="{y}" r="5"><title>{}</title></circle>"#,
        escaped(title)
    );
}

fn hollow(svg: &mut String, x: f64, y: f64, title: &str) {
    let _ = write!(
        svg,
        r#"<circle class="way" cx="{x:.1}" cy="{y}" r="4"><title>{}</title></circle>"#,
        escaped(title)
    );
}

fn diamond(svg: &mut String, x: f64, y: f64, title: &str) {
    let _ = write!(
        svg,
        r#"<path class="peer" d="M{x:.1} {}l6 6l-6 6l-6-6z"><title>{}</title></path>"#,
        y - 6.0,
        escaped(title)
    );
}

fn square(svg: &mut String, x: f64, y: f64, title: &str) {
    let _ = write!(
        svg,
        r#"<rect class="other" x="{:.1}" y="{}" width="7" height="7"><title>{}</title></rect>"#,
        x - 3.5,
        y - 3.5,
        escaped(title)
    );
}

fn tick(svg: &mut String, x: f64, y: f64, title: &str) {
    let _ = write!(
        svg,
        r#"<path class="goal" d="M{x:.1} {}v16"><title>{}</title></path>"#,
        y - 8.0,
        escaped(title)
    );
}

pub(super) fn text(svg: &mut String, x: f64, y: f64, anchor: &str, class: &str, content: &str) {
    let _ = write!(
        svg,
        r#"<text x="{x:.1}" y="{y}" text-anchor="{anchor}" class="{class}">{}</text>"#,
        escaped(content)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Placement;
    use crate::row::{Row, Unit};

    fn measured(role: Role, cost: f64, floor: Option<f64>) -> Measured {
        let (name, goal, to_floor) = ("<name>", None, floor.map(|floor| cost / floor));
        Measured { role, name, goal, cost, to_floor, to_peer: None, allocations: None, system_calls: None }
    }

    #[test]
    fn a_row_is_on_the_chart_if_something_of_ours_has_a_floor() {
        let row = |title| Row::new("row", title, Unit::Time, Placement::Free, Vec::new);
        let with =
            (row("with"), vec![measured(Role::Floor, 2.0, Some(2.0)), measured(Role::Ours, 3.0, Some(2.0))]);
        let without = (row("without"), vec![measured(Role::Ours, 3.0, None)]);
        let chart = render(&[&with, &without]);
        assert!(chart.contains(">with<") && !chart.contains(">without<"), "{chart}");
        assert!(chart.contains("&lt;name>: 1.50 ×"), "{chart}");
    }

    #[test]
    fn the_scale_ends_where_it_says() {
        assert_eq!((at(LEAST), at(MOST)), (LEFT, RIGHT));
        assert_eq!((at(0.0), at(1e9)), (LEFT, RIGHT));
    }
}
