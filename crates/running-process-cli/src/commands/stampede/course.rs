//! The way from one situation to the next.

use super::bed::{Bed, not_stopped};
use super::crowd::Clients;
use super::inbox::{Inbox, Stopped};
use super::outcome::Outcome;
use super::situation::Situation;
use crate::failure::Failure;
use std::thread;
use std::time::{Duration, Instant};

/// Time that answers get beyond the deadline of their clients.
const MARGIN: Duration = Duration::from_secs(5);
/// The time between two looks at a start that is about to begin.
const LOOK: Duration = Duration::from_micros(200);
/// The time of a cold start if none was measured.
const COLD_START: Duration = Duration::from_millis(50);

/// The situations, one after the other.
pub(super) struct Course<'a> {
    pub(super) bed: &'a Bed,
    pub(super) clients: &'a Clients,
    pub(super) inbox: &'a Inbox,
    /// The time of the first answer after a start.
    pub(super) cold_start: Option<Duration>,
}

impl Course<'_> {
    /// Brings the situation about, lets the crowd come, and returns the outcome.
    pub(super) fn run(&mut self, situation: Situation) -> Result<Outcome, Stopped> {
        let former = match situation {
            Situation::Cold | Situation::Starting => {
                self.bed.stop().map_err(not_stopped)?;
                None
            }
            Situation::Stale | Situation::Stopping => Some(self.bed.daemon(self.clients.deadline())?),
        };
        let count = self.clients.count;
        let cold_start = self.cold_start.unwrap_or(COLD_START);
        let mut crowd = self.clients.gather(count, self.clients.deadline(), self.inbox)?;
        let starts = self.bed.starts()?;
        let mut began = Instant::now();
        // Ended only after the crowd: if it were killed in the middle of its start, another one would be needed.
        let mut impatient = None;
        match situation {
            Situation::Cold => crowd.release(count, Duration::ZERO)?,
            Situation::Stale => {
                if let Some(daemon) = &former {
                    daemon.kill()?;
                }
                began = Instant::now();
                crowd.release(count, Duration::ZERO)?;
            }
            Situation::Starting => {
                let first = impatient.insert(self.clients.gather(1, cold_start / 2, self.inbox)?);
                began = Instant::now();
                first.release(1, Duration::ZERO)?;
                while self.bed.starts()? == starts && began.elapsed() < cold_start / 2 {
                    thread::sleep(LOOK);
                }
                crowd.release(count, cold_start)?;
            }
            Situation::Stopping => {
                crowd.release(count / 2, Duration::ZERO)?;
                thread::scope(|scope| {
                    let stop = scope.spawn(|| self.bed.stop());
                    let released = crowd.release(count - count / 2, cold_start);
                    let stopped = stop.join().map_err(|_| Failure::undecided("the stop has panicked"))?;
                    stopped.map_err(not_stopped)?;
                    released
                })?;
            }
        }
        let until = Instant::now() + self.clients.deadline() + MARGIN;
        let answers = crowd.answers(began, until)?;
        drop(impatient);
        if situation == Situation::Cold {
            let first = answers.iter().filter(|timed| timed.answer.result.is_ok()).map(|timed| timed.at);
            self.cold_start = first.min();
        }
        Ok(Outcome {
            situation,
            clients: count,
            answers,
            former: former.map(|daemon| daemon.process()),
            starts: self.bed.starts()?.saturating_sub(starts),
            alive: self.bed.running()?,
        })
    }
}
