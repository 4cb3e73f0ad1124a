//! The outcome of one situation: which clients were served, by which processes, and how fast.

use super::situation::Situation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A daemon that has proven itself to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// The start time, which tells it from others that have or had the same pid.
    pub(super) start_time: Option<u64>,
}

/// The failure of a client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Refused {
    /// The name of the error, as docs/json.md has it.
    pub(super) kind: String,
    pub(super) error: String,
    /// A daemon was started, and was not found at its place in time.
    pub(super) is_unseen: bool,
}

/// The answer that a client has got, and how long that took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The time from its release to its answer.
    pub(super) took_us: u64,
    pub(super) result: Result<Process, Refused>,
}

/// An answer, with the time at which it came.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    /// The time since the situation began.
    pub(super) at: Duration,
    pub(super) answer: Answer,
}

/// The outcome of one situation.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) situation: Situation,
    pub(super) clients: usize,
    pub(super) answers: Vec<Timed>,
    /// The daemon that ran before, and that may have served the first clients.
    pub(super) former: Option<Process>,
    /// Starts of the daemon, failed ones included.
    pub(super) starts: u64,
    /// The daemons that run at the end; `None` if the system does not tell.
    pub(super) alive: Option<Vec<u32>>,
}

impl Outcome {
    fn results(&self) -> impl Iterator<Item = &Result<Process, Refused>> {
        self.answers.iter().map(|timed| &timed.answer.result)
    }

    pub(super) fn served(&self) -> usize {
        self.results().filter(|result| result.is_ok()).count()
    }

    /// Returns the clients that were not served, those without an answer included.
    pub(super) fn failed(&self) -> usize {
        self.clients - self.served()
    }

    pub(super) fn without_answer(&self) -> usize {
        self.clients - self.answers.len()
    }

    /// Returns the failures, each with the number of clients that had it, the most frequent first.
    pub(super) fn failures(&self) -> Vec<(&Refused, usize)> {
        let mut counts = BTreeMap::new();
        for refused in self.results().filter_map(|result| result.as_ref().err()) {
            *counts.entry(refused).or_insert(0) += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// Returns the daemons, each with the number of clients that it served.
    pub(super) fn daemons(&self) -> BTreeMap<Process, usize> {
        let mut counts = BTreeMap::new();
        for process in self.results().filter_map(|result| result.as_ref().ok()) {
            *counts.entry(*process).or_insert(0) += 1;
        }
        counts
    }

    /// Returns whether two daemons ran at once: both live at the end, or their answers interleave.
    pub(super) fn had_two_daemons(&self) -> bool {
        if self.alive.as_ref().is_some_and(|alive| alive.len() > 1) {
            return true;
        }
        let mut spans: BTreeMap<Process, (Duration, Duration)> = BTreeMap::new();
        for timed in &self.answers {
            if let Ok(process) = timed.answer.result
                && Some(process) != self.former
            {
                let asked = timed.at.saturating_sub(Duration::from_micros(timed.answer.took_us));
                let (_, last) = spans.entry(process).or_insert((timed.at, asked));
                *last = asked.max(*last);
            }
        }
        // The first answer of each daemon, and the last question that it answered.
        let spans: Vec<_> = spans.into_values().collect();
        spans.iter().enumerate().any(|(index, (first, last))| {
            spans[..index].iter().any(|(other_first, other_last)| first < other_last && other_first < last)
        })
    }

    /// Returns whether every client was served, and never by two daemons at once.
    pub(super) fn is_good(&self) -> bool {
        self.failed() == 0 && !self.had_two_daemons()
    }

    /// Returns when the first and the last served client had its answer.
    pub(super) fn first_and_last(&self) -> Option<(Duration, Duration)> {
        let times = || self.answers.iter().filter(|timed| timed.answer.result.is_ok()).map(|timed| timed.at);
        Some((times().min()?, times().max()?))
    }

    /// Returns the times of the clients that were served, in microseconds, in ascending order.
    pub(super) fn latencies_us(&self) -> Vec<u64> {
        let served = self.answers.iter().filter(|timed| timed.answer.result.is_ok());
        let mut latencies: Vec<u64> = served.map(|timed| timed.answer.took_us).collect();
        latencies.sort_unstable();
        latencies
    }
}

/// Returns the value below which so many percent of the sorted `values` are.
pub(super) fn percentile(values: &[u64], percent: usize) -> Option<u64> {
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(pid: u32, at_ms: u64, took_ms: u64) -> Timed {
        let result = Ok(Process { pid, start_time: Some(1) });
        let answer = Answer { took_us: took_ms * 1000, result };
        Timed { at: Duration::from_millis(at_ms), answer }
    }

    fn outcome(answers: Vec<Timed>) -> Outcome {
        let (clients, situation) = (answers.len(), Situation::Cold);
        Outcome { situation, clients, answers, former: None, starts: 1, alive: None }
    }

    #[test]
    fn daemons_that_answer_in_turn_are_two_at_once_and_those_one_after_the_other_are_not() {
        let one = outcome(vec![served(7, 10, 10), served(7, 30, 30)]);
        assert!(!one.had_two_daemons() && one.is_good());
        let in_turn = outcome(vec![served(7, 10, 5), served(8, 12, 5), served(7, 40, 5), served(8, 41, 5)]);
        assert!(in_turn.had_two_daemons() && !in_turn.is_good());
        let one_after_the_other = outcome(vec![served(7, 10, 5), served(8, 40, 5), served(8, 50, 5)]);
        assert!(!one_after_the_other.had_two_daemons());
    }

    #[test]
    fn the_daemon_before_a_stop_is_not_counted_and_two_that_live_are() {
        let former = Some(Process { pid: 7, start_time: Some(1) });
        let stopped = Outcome {
            former,
            ..outcome(vec![served(7, 10, 5), served(8, 12, 5), served(7, 40, 5), served(8, 50, 5)])
        };
        assert!(!stopped.had_two_daemons());
        let two = Outcome { alive: Some(vec![8, 9]), ..outcome(vec![served(8, 10, 5)]) };
        assert!(two.had_two_daemons());
    }

    #[test]
    fn failures_are_counted_and_those_without_an_answer_as_well() {
        let refused = |error: &str| {
            let refused =
                Refused { kind: "start_failed".to_owned(), error: error.to_owned(), is_unseen: false };
            Timed { at: Duration::ZERO, answer: Answer { took_us: 1, result: Err(refused) } }
        };
        let answers = vec![refused("a"), refused("b"), refused("b"), served(7, 1, 1)];
        let outcome = Outcome { clients: 6, ..outcome(answers) };
        assert_eq!((outcome.served(), outcome.failed(), outcome.without_answer()), (1, 5, 2));
        let failures: Vec<_> =
            outcome.failures().iter().map(|(refused, count)| (refused.error.clone(), *count)).collect();
        assert_eq!(failures, [("b".to_owned(), 2), ("a".to_owned(), 1)]);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (Some(100), Some(198)));
        assert_eq!(
            (percentile(&[7], 50), percentile(&[7], 99), percentile(&[], 50)),
            (Some(7), Some(7), None)
        );
    }
}
