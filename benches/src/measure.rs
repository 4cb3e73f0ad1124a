//! Interleaved rounds: within each, every contender of a row takes one sample, so that all meet the same machine.

use crate::place::{Cpus, Placement};
use crate::row::{Contender, Counts, Goal, Pace, Role, Row};
use crate::scratch::Scratch;
use crate::worker::{Worker, system_calls};
use std::time::{Duration, Instant};

/// How long and how often.
#[derive(Clone, Copy)]
pub struct Effort {
    /// At most.
    pub rounds: usize,
    /// What a row may take, if that leaves it a few rounds.
    pub row: Duration,
    /// What a sample is to take, if one operation takes less.
    pub sample: Duration,
    /// Instead of what the rows ask for.
    pub placement: Option<Placement>,
    /// Whether to count system calls too, which takes its time.
    pub system_calls: bool,
}

impl Effort {
    /// One operation of each contender: whether it works, not what it costs.
    pub fn once(self) -> Self {
        Self { rounds: 1, sample: Duration::ZERO, ..self }
    }

    /// Operations under a tracer.
    fn traced(self) -> u64 {
        if self.is_once() { 1 } else { 500 }
    }

    pub fn is_once(self) -> bool {
        self.sample.is_zero()
    }
}

/// What a contender's operation costs.
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
    /// The goal as a multiple of the floor, if there is a floor to multiply.
    pub fn goal_in_floors(&self) -> Option<f64> {
        match self.goal? {
            Goal::Floors(floors) => Some(floors),
            Goal::Cost(goal) => Some(goal * self.to_floor? / self.cost),
        }
    }

    /// Whether there is a goal, and it is reached.
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
        // There and back, so that nobody always follows the same one.
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
        let traced = effort.system_calls && row.counts == Counts::SystemCalls;
        measured.push(Measured {
            role: contender.role,
            name: contender.name,
            goal: contender.goal,
            cost: median(one.costs.clone()) / row.batch as f64,
            to_floor: floor.as_deref().and_then(|floor| ratio(&one.costs, floor)),
            to_peer: peer.as_deref().and_then(|peer| ratio(&one.costs, peer)),
            allocations: (row.counts != Counts::Nothing).then(|| per_operation(one.allocations())),
            system_calls: traced
                .then(|| per_operation(system_calls(row, index, effort.traced(), cpus, scratch))),
        });
    }
    measured
}

/// How often a count is tried before it is judged.
const TRIES: usize = 3;

/// Rounds of a row that takes its time.
const FEW: usize = 7;

struct Running {
    worker: Worker,
    /// Operations in a sample.
    count: u64,
    /// Cost of an operation, round by round.
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

/// How many operations take about as long as a sample is to take.
fn calibrate(worker: &mut Worker, sample: Duration) -> u64 {
    // Whatever happens only once has happened then.
    worker.cost(1);
    let mut count = 1;
    loop {
        // The shortest, so that nobody else's work is taken for the contender's.
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
