//! Runs cases, several at once.

use super::case::{Case, Description, Severity};
use super::exchange::{Exchange, Stream};
use super::expected::Expected;
use super::fault::Fault;
use super::survey::Survey;
use super::trial::{Target, Trial};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Cases that run at once. They wait for the daemon most of the time.
const WORKERS: usize = 8;

#[derive(Debug)]
pub(super) enum Outcome {
    Passed,
    Failed(Fault),
    /// The failure of a case that is known to fail, with the reason.
    Known(Fault, String),
    /// Not tried, for a reason.
    Skipped(String),
}

/// A case with its result.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) case: &'static Description,
    pub(super) outcome: Outcome,
    /// The reason why the case was known to fail, if it passed.
    pub(super) outdated: Option<String>,
    pub(super) notes: Vec<String>,
    /// The bytes that went over its connections, unless it passed.
    pub(super) exchange: Vec<Stream>,
    pub(super) elapsed: Duration,
}

impl Judged {
    /// Creates the result of a case that was tried.
    pub(super) fn new(
        case: &'static Description,
        result: Result<(), Fault>,
        expected: &Expected,
        exchange: Exchange,
        elapsed: Duration,
    ) -> Self {
        let reason = expected.reason(case.name).map(ToOwned::to_owned);
        let (outcome, outdated, exchange) = match (result, reason) {
            (Ok(()), reason) => (Outcome::Passed, reason, Vec::new()),
            (Err(fault), Some(reason)) => (Outcome::Known(fault, reason), None, exchange.streams),
            (Err(fault), None) => (Outcome::Failed(fault), None, exchange.streams),
        };
        Self { case, outcome, outdated, notes: Vec::new(), exchange, elapsed }
    }

    /// Creates the result of a case that was not tried.
    pub(super) fn skipped(case: &'static Description, reason: impl Into<String>) -> Self {
        let outcome = Outcome::Skipped(reason.into());
        let (notes, exchange, elapsed) = (Vec::new(), Vec::new(), Duration::ZERO);
        Self { case, outcome, outdated: None, notes, exchange, elapsed }
    }

    /// Returns the fault of a case that failed and was not known to.
    pub(super) fn fault(&self) -> Option<&Fault> {
        if let Outcome::Failed(fault) = &self.outcome { Some(fault) } else { None }
    }

    pub(super) fn is_violation(&self) -> bool {
        self.fault().is_some() && self.case.severity == Severity::Must
    }
}

/// Runs all cases, those that must be alone at the end, and returns the results in the order of the cases.
pub(super) fn run(
    cases: &[&'static Case],
    target: &Target,
    survey: &Survey,
    expected: &Expected,
    interrupted: &(dyn Fn() -> bool + Sync),
) -> Vec<Judged> {
    let judge = |case: &'static Case| {
        let skipped = if interrupted() { Some("interrupted") } else { survey.reason_to_skip(&case.about) };
        judge(case, target, expected, skipped)
    };
    let (alone, together): (Vec<(usize, &Case)>, _) =
        cases.iter().copied().enumerate().partition(|(_, case)| case.alone);
    let mut judged = in_parallel(&together, WORKERS, |(index, case)| (*index, judge(case)));
    judged.extend(alone.into_iter().map(|(index, case)| (index, judge(case))));
    judged.sort_by_key(|(index, _)| *index);
    judged.into_iter().map(|(_, result)| result).collect()
}

/// Calls `work` for each item on several threads, and returns the results in the order of the items.
pub(super) fn in_parallel<I: Sync, R: Send>(
    items: &[I],
    threads: usize,
    work: impl Fn(&I) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn judge(case: &'static Case, target: &Target, expected: &Expected, skipped: Option<&str>) -> Judged {
    if let Some(reason) = skipped {
        return Judged::skipped(&case.about, reason);
    }
    let started = Instant::now();
    let trial = Trial::new(target);
    let result = (case.run)(&trial);
    let (notes, exchange) = trial.end();
    Judged { notes, ..Judged::new(&case.about, result, expected, exchange, started.elapsed()) }
}
