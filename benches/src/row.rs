//! Rows and their contenders.

use crate::place::Placement;
use crate::scratch::Scratch;
use std::time::Instant;

/// A function that does an operation so many times and returns the total cost in the row's unit: nanoseconds, bytes or a count.
pub type Run = Box<dyn FnMut(u64) -> f64>;

/// One comparison, with its unit.
pub struct Row {
    pub name: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    /// The work in one operation of a [`Run`]: requests in a batch, frames in a buffer.
    pub batch: u64,
    /// The exact counts that mean something in this row.
    pub counts: Counts,
    pub placement: Placement,
    pub pace: Pace,
    pub contenders: fn() -> Vec<Contender>,
}

impl Row {
    /// Returns a row whose operations do one piece of work each, without exact counts.
    pub fn new(
        name: &'static str,
        title: &'static str,
        unit: Unit,
        placement: Placement,
        contenders: fn() -> Vec<Contender>,
    ) -> Self {
        let (batch, counts, pace) = (1, Counts::Nothing, Pace::Sampled);
        Self { name, title, unit, batch, counts, placement, pace, contenders }
    }
}

/// The unit of a cost. Lower is better in each.
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
    /// Allocations, and the system calls of all processes together if they are asked for.
    SystemCalls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Floor,
    Ours,
    Peer,
    Other,
}

/// The goal of one of our contenders.
#[derive(Clone, Copy)]
pub enum Goal {
    /// At most so many times the floor's cost.
    Floors(f64),
    /// At most this cost.
    Cost(f64),
}

/// The number of samples.
#[derive(Clone, Copy, PartialEq)]
pub enum Pace {
    /// In rounds, until the median is certain.
    Sampled,
    /// Once: only the machine's load changes the answer, or the operation takes minutes.
    Once,
    /// As [`Once`](Self::Once), and only if the row is asked for by name.
    OnceIfAsked,
}

pub struct Contender {
    pub role: Role,
    pub name: &'static str,
    pub goal: Option<Goal>,
    /// Starts the contender's processes. Contenders that are not measured start none.
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

    /// Sets the goal to so many times the floor's cost.
    pub fn within(self, floors: f64) -> Self {
        Self { goal: Some(Goal::Floors(floors)), ..self }
    }

    /// Sets the goal to this cost.
    pub fn at_most(self, cost: f64) -> Self {
        Self { goal: Some(Goal::Cost(cost)), ..self }
    }
}

/// Returns a run that takes the time of `work`, again and again.
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
