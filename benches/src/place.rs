//! The CPUs of a row's processes. Their choice changes the cost of talking to another process more than the message
//! does.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The placement that a row asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Wherever the scheduler likes.
    Free,
    /// Client and server on one CPU.
    OneCpu,
    /// Client and server on a CPU each, if there are two.
    TwoCpus,
}

impl Placement {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "free" => Some(Self::Free),
            "one" => Some(Self::OneCpu),
            "two" => Some(Self::TwoCpus),
            _ => None,
        }
    }

    /// Returns the CPUs, counted from the last one that this process may use, since the first ones serve interrupts.
    pub fn cpus(self) -> Cpus {
        let allowed = sched_getaffinity(None).expect("the system tells");
        let mut cpus = (0..CpuSet::MAX_CPU).rev().filter(|cpu| allowed.is_set(*cpu));
        let first = cpus.next();
        match self {
            Self::Free => Cpus { client: None, server: None },
            Self::OneCpu => Cpus { client: first, server: first },
            Self::TwoCpus => Cpus { client: first, server: cpus.next().or(first) },
        }
    }
}

/// The CPUs of a row's processes; none if the placement is free.
#[derive(Clone, Copy)]
pub struct Cpus {
    pub client: Option<usize>,
    pub server: Option<usize>,
}

/// Moves this thread, and the threads and processes that it starts from now on.
pub fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one).expect("an allowed CPU");
    }
}

/// Formats a CPU as an argument.
pub fn to_argument(cpu: Option<usize>) -> String {
    cpu.map_or_else(|| "any".into(), |cpu| cpu.to_string())
}

pub fn from_argument(cpu: &str) -> Option<usize> {
    cpu.parse().ok()
}
