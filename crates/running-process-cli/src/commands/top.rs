//! `top`: what the daemon in an identity file does, interval by interval.

mod interval;
mod view;

use super::target::Target;
use crate::cli::{TargetArgs, TopArgs};
use crate::failure::advice::{self, Advice, Asked};
use crate::failure::{Failure, Verdict};
use crate::output::Output;
use crate::output::text::safe;
use interval::Interval;
use running_process::broker::backend_sdk::{FrameClient, FrameClientError};
use running_process::broker::protocol::{RefusalReason, ServerStatus};
use std::thread;
use std::time::{Duration, Instant};
use view::View;

pub(super) fn run(arguments: &TopArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let mut daemon = Daemon::prove(arguments)?;
    let mut view = View::new(safe(&daemon.title).to_string());
    let mut status = daemon.ask()?;
    if arguments.once {
        let interval = Interval::between(&ServerStatus::default(), &status, status.uptime());
        view.show(&status, &interval, output)?;
        return Ok(Verdict::Yes);
    }
    let mut asked = Instant::now();
    let mut due = asked;
    let mut left = arguments.count;
    // A watch ends once its reader is gone.
    while left != Some(0) && !output.is_closed() {
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
    deadline: Duration,
    /// It has answered before.
    answers: bool,
}

impl Daemon {
    fn prove(arguments: &TopArgs) -> Result<Self, Failure> {
        let TopArgs { protocol, policy, deadline, .. } = *arguments;
        let target =
            Target::find(&TargetArgs { identity_file: arguments.identity_file.clone(), protocol, policy })?;
        let mut client = target.prove(Instant::now() + deadline)?.into_client();
        client.set_timeout(Some(deadline));
        let title = format!("process {} at {}", target.daemon.pid, target.daemon.ipc_endpoint.path);
        Ok(Self { title, client, protocol, deadline, answers: false })
    }

    fn ask(&mut self) -> Result<ServerStatus, Failure> {
        let response = self.client.request(self.protocol, Vec::new()).map_err(|error| self.failure(error))?;
        let status = ServerStatus::from_payload(&response.payload).map_err(|error| {
            let advice = Advice::no("no_status")
                .hint("it serves that id itself: name the one of its status with --protocol, if it has one");
            Failure::new(error, advice)
                .context(format!("what the daemon answers under 0x{:04X} is no status", self.protocol))
        })?;
        self.answers = true;
        Ok(status)
    }

    fn failure(&self, error: FrameClientError) -> Failure {
        let error = match error {
            // The client's own timeout is a little shorter, since the request started later.
            FrameClientError::TimedOut { .. } => FrameClientError::TimedOut { timeout: self.deadline },
            error => error,
        };
        let Self { title, .. } = self;
        let advice = advice::request(&error, Asked { protocol: self.protocol, patience: "--deadline" });
        let (context, advice) = match &error {
            FrameClientError::TimedOut { .. } => (
                format!("{title} does not answer"),
                advice.hint("it is stopped or overloaded: wait longer with --deadline"),
            ),
            FrameClientError::Refused(refusal) if refusal.reason() == RefusalReason::Overloaded => {
                (format!("{title} is full"), advice)
            }
            FrameClientError::Refused(refusal) if refusal.reason() == RefusalReason::NotAuthorized => (
                format!("{title} does not tell its status"),
                advice.hint("it tells only whom it serves: run this as its own user"),
            ),
            FrameClientError::Closed | FrameClientError::Dead | FrameClientError::Stream(_)
                if self.answers =>
            {
                (
                    format!("{title} has ended, or closed the connection"),
                    Advice { verdict: Verdict::No, ..advice }
                        .hint("once it runs again, run this again: another process has to prove itself anew"),
                )
            }
            FrameClientError::Closed => (format!("{title} does not tell its status"), advice.hint(UNTOLD)),
            FrameClientError::Refused(refusal) if refusal.reason() == RefusalReason::UnservedProtocol => {
                (format!("{title} does not tell its status"), advice.hint(UNTOLD))
            }
            FrameClientError::Refused(_) => (format!("{title} does not tell its status"), advice),
            _ => (format!("{title} cannot be asked"), advice),
        };
        Failure::new(error, advice).context(context)
    }
}

const UNTOLD: &str =
    "it is older than status requests, or has them switched off or under another id (--protocol)";
