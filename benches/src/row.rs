//! What is measured: rows, and who contends in them.

use crate::place::Placement;
use crate::scratch::Scratch;
use std::time::Instant;

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

impl Row {
    /// A row whose operations are worth one each, with nothing to count.
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
