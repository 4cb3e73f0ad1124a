//! Runs cases, several at once.

use super::case::{Case, Severity};
use super::exchange::Stream;
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
    pub(super) case: &'static Case,
    pub(super) outcome: Outcome,
    /// The reason why the case was known to fail, if it passed.
    pub(super) outdated: Option<String>,
    pub(super) notes: Vec<String>,
    /// The bytes that went over its connections, unless it passed.
    pub(super) exchange: Vec<Stream>,
    pub(super) elapsed: Duration,
}

impl Judged {
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
        let skipped = if interrupted() { Some("interrupted") } else { survey.reason_to_skip(case) };
        judge(case, target, expected, skipped)
    };
    let (alone, together): (Vec<(usize, &Case)>, _) =
        cases.iter().copied().enumerate().partition(|(_, case)| case.alone);
    let next = AtomicUsize::new(0);
    let judged = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(together.len()) {
            scope.spawn(|| {
                while let Some((index, case)) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = judge(case);
                    judged.lock().unwrap_or_else(PoisonError::into_inner).push((*index, result));
                }
            });
        }
    });
    let mut judged = judged.into_inner().unwrap_or_else(PoisonError::into_inner);
    judged.extend(alone.into_iter().map(|(index, case)| (index, judge(case))));
    judged.sort_by_key(|(index, _)| *index);
    judged.into_iter().map(|(_, result)| result).collect()
}

fn judge(case: &'static Case, target: &Target, expected: &Expected, skipped: Option<&str>) -> Judged {
    let started = Instant::now();
    let mut judged = Judged {
        case,
        outcome: Outcome::Passed,
        outdated: None,
        notes: Vec::new(),
        exchange: Vec::new(),
        elapsed: Duration::ZERO,
    };
    if let Some(reason) = skipped {
        judged.outcome = Outcome::Skipped(reason.to_owned());
        return judged;
    }
    let trial = Trial::new(target);
    let result = (case.run)(&trial);
    let (notes, exchange) = trial.end();
    judged.elapsed = started.elapsed();
    judged.notes = notes;
    let reason = expected.reason(case.name).map(ToOwned::to_owned);
    match (result, reason) {
        (Ok(()), reason) => judged.outdated = reason,
        (Err(fault), reason) => {
            judged.exchange = exchange.streams;
            judged.outcome = match reason {
                Some(reason) => Outcome::Known(fault, reason),
                None => Outcome::Failed(fault),
            };
        }
    }
    judged
}
