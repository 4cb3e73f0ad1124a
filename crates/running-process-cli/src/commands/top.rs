//! `top`: what the daemon in an identity file does, interval by interval.

mod interval;
mod view;

use super::target::{Target, overloaded_hint};
use crate::cli::{TargetArgs, TopArgs};
use crate::failure::{Failure, Verdict};
use crate::output::Output;
use interval::Interval;
use running_process::broker::backend_sdk::{FrameClient, FrameClientError};
use running_process::broker::protocol::{RefusalReason, ServerStatus};
use std::thread;
use std::time::Instant;
use view::View;

pub(super) fn run(arguments: &TopArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let mut daemon = Daemon::prove(arguments)?;
    let mut view = View::new(daemon.title.clone(), output);
    let mut status = daemon.ask()?;
    if arguments.once {
        let interval = Interval::between(&ServerStatus::default(), &status, status.uptime());
        view.show(&status, &interval, output)?;
        return Ok(Verdict::Yes);
    }
    let mut asked = Instant::now();
    let mut due = asked;
    let mut left = arguments.count;
    while left != Some(0) {
        due += arguments.interval;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = daemon.ask()?;
        let elapsed = asked.elapsed();
        asked += elapsed;
        view.show(&now, &Interval::between(&status, &now, elapsed), output)?;
        status = now;
        left = left.map(|left| left - 1);
    }
    Ok(Verdict::Yes)
}

/// The daemon, on the connection on which it has proven itself.
struct Daemon {
    title: String,
    client: FrameClient,
    protocol: u32,
    /// It has answered before.
    answers: bool,
}

impl Daemon {
    fn prove(arguments: &TopArgs) -> Result<Self, Failure> {
        let TopArgs { protocol, policy, deadline, .. } = *arguments;
        let target = Target::find(&TargetArgs { identity: arguments.identity.clone(), protocol, policy })?;
        let mut client = target.prove(Instant::now() + deadline)?.into_client();
        client.set_timeout(Some(deadline));
        let title = format!("process {} at {}", target.daemon.pid, target.daemon.ipc_endpoint.path);
        Ok(Self { title, client, protocol, answers: false })
    }

    fn ask(&mut self) -> Result<ServerStatus, Failure> {
        let response = self.client.request(self.protocol, Vec::new()).map_err(|error| self.failure(error))?;
        let status = ServerStatus::from_payload(&response.payload).map_err(|error| {
            Failure::negative(error)
                .context(format!("what the daemon answers under 0x{:04X} is no status", self.protocol))
                .hint("it serves that id itself: name the one of its status with --protocol, if it has one")
        })?;
        self.answers = true;
        Ok(status)
    }

    fn failure(&self, error: FrameClientError) -> Failure {
        let other_reason = matches!(&error, FrameClientError::Refused(refusal)
            if refusal.reason() != RefusalReason::UnservedProtocol);
        match error {
            FrameClientError::TimedOut { .. } => Failure::undecided(error)
                .context(format!("{} does not answer", self.title))
                .hint("it is stopped or overloaded: wait longer with --deadline"),
            FrameClientError::Refused(ref refusal) if refusal.reason() == RefusalReason::Overloaded => {
                let hint = overloaded_hint(refusal);
                Failure::undecided(error).context(format!("{} is full", self.title)).hint(hint)
            }
            FrameClientError::Refused(_) if other_reason => Failure::negative(error)
                .context(format!("{} does not tell its status", self.title))
                .hint("it tells only whom it serves: run this as its own user"),
            FrameClientError::Closed | FrameClientError::Dead | FrameClientError::Stream(_) if self.answers => {
                Failure::negative(error)
                    .context(format!("{} has ended, or closed the connection", self.title))
                    .hint("once it runs again, run this again: another process has to prove itself anew")
            }
            FrameClientError::Closed | FrameClientError::Refused(_) => Failure::negative(error)
                .context(format!("{} does not tell its status", self.title))
                .hint("it is older than status requests, or has them switched off or under another id (--protocol)"),
            _ => Failure::undecided(error).context(format!("{} cannot be asked", self.title)),
        }
    }
}
