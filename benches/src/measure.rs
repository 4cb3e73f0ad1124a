//! Interleaved rounds: within each, every contender of a row takes one sample, so that all meet the same machine.

use crate::place::{Cpus, Placement};
use crate::scratch::Scratch;
use crate::worker::{Worker, system_calls};
use std::time::{Duration, Instant};

/// Does an operation so many times, and says what that cost in all, in the row's unit: nanoseconds, bytes or a count.
pub type Run = Box<dyn FnMut(u64) -> f64>;

/// What is compared, and in what.
pub struct Row {
    pub name: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    /// What one operation of a [`Run`] is worth: requests in a batch, frames in a buffer.
    pub batch: u64,
    /// Which exact counts mean something here.
    pub counts: Counts,
    pub placement: Placement,
    pub pace: Pace,
    pub contenders: fn() -> Vec<Contender>,
}

/// How a cost is shown. Lower is better for every cost.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    /// Nanoseconds, as a duration.
    Time,
    /// Nanoseconds, as operations per second.
    Rate,
    /// Nanoseconds, as bytes per second of operations that move so many bytes.
    Throughput(u64),
    Bytes,
    Count,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Counts {
    Nothing,
    /// Allocations of the thread that runs.
    Allocations,
    /// And, if asked for, system calls of all processes together.
    SystemCalls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Floor,
    Ours,
    Peer,
    Other,
}

/// What a contender of ours is to reach.
#[derive(Clone, Copy)]
pub enum Goal {
    /// At most so many times the floor's cost.
    Floors(f64),
    /// At most this cost.
    Cost(f64),
}

/// How often.
#[derive(Clone, Copy, PartialEq)]
pub enum Pace {
    /// In rounds, as often as needed to tell.
    Sampled,
    /// Nothing but the machine's work changes the answer, or it takes minutes.
    Once,
    /// As [`Once`](Self::Once), and only for somebody who asks for it by name.
    OnceIfAsked,
}

pub struct Contender {
    pub role: Role,
    pub name: &'static str,
    pub goal: Option<Goal>,
    /// Starts what it needs. Nothing runs for a contender that is not measured.
    pub start: Box<dyn FnOnce(&Scratch) -> Run>,
}

impl Contender {
    fn new(role: Role, name: &'static str, start: impl FnOnce(&Scratch) -> Run + 'static) -> Self {
        Self { role, name, goal: None, start: Box::new(start) }
    }

    pub fn floor(name: &'static str, start: impl FnOnce(&Scratch) -> Run + 'static) -> Self {
        Self::new(Role::Floor, name, start)
    }

    pub fn ours(name: &'static str, start: impl FnOnce(&Scratch) -> Run + 'static) -> Self {
        Self::new(Role::Ours, name, start)
    }

    pub fn peer(name: &'static str, start: impl FnOnce(&Scratch) -> Run + 'static) -> Self {
        Self::new(Role::Peer, name, start)
    }

    pub fn other(name: &'static str, start: impl FnOnce(&Scratch) -> Run + 'static) -> Self {
        Self::new(Role::Other, name, start)
    }

    /// To cost no more than so many times the floor.
    pub fn within(self, floors: f64) -> Self {
        Self { goal: Some(Goal::Floors(floors)), ..self }
    }

    /// To cost no more than this.
    pub fn at_most(self, cost: f64) -> Self {
        Self { goal: Some(Goal::Cost(cost)), ..self }
    }
}

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
    pub const ONCE: Self =
        Self { rounds: 1, row: Duration::ZERO, sample: Duration::ZERO, placement: None, system_calls: false };

    fn is_once(self) -> bool {
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

    /// Whether the goal is reached.
    pub fn reached(&self) -> Option<bool> {
        match self.goal? {
            Goal::Floors(floors) => Some(self.to_floor? <= floors),
            Goal::Cost(goal) => Some(self.cost <= goal),
        }
    }
}

/// A run that takes the time of `work`, again and again.
pub fn timed(mut work: impl FnMut() + 'static) -> Run {
    Box::new(move |count| {
        let begin = Instant::now();
        for _ in 0..count {
            work();
        }
        nanoseconds(begin)
    })
}

pub fn nanoseconds(begin: Instant) -> f64 {
    begin.elapsed().as_nanos() as f64
}

/// Measures all contenders of `row` against each other.
pub fn measure(row: &Row, effort: Effort, scratch: &Scratch) -> Vec<Measured> {
    let effort = if row.pace == Pace::Sampled { effort } else { Effort::ONCE };
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
        let trace = effort.system_calls && row.counts == Counts::SystemCalls;
        measured.push(Measured {
            role: contender.role,
            name: contender.name,
            goal: contender.goal,
            cost: median(one.costs.clone()) / row.batch as f64,
            to_floor: floor.as_deref().and_then(|floor| ratio(&one.costs, floor)),
            to_peer: peer.as_deref().and_then(|peer| ratio(&one.costs, peer)),
            allocations: (row.counts != Counts::Nothing).then(|| per_operation(one.allocations())),
            system_calls: trace
                .then(|| system_calls(row, index, TRACED, cpus, scratch).map(per_operation))
                .flatten(),
        });
    }
    measured
}

/// Rounds of a row that takes its time.
const FEW: usize = 7;

/// Operations under a tracer.
const TRACED: u64 = 500;

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
        let begin = Instant::now();
        worker.cost(count);
        let took = begin.elapsed();
        if took * 4 >= sample {
            let per_sample = sample.as_secs_f64() / took.as_secs_f64() * count as f64;
            return (per_sample as u64).max(1);
        }
        count *= 4;
    }
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
