//! `top`: shows the activity of the daemon in an identity file, interval by interval.

mod figures;
mod interval;
mod object;
mod picture;
mod row;
mod units;
mod view;

use super::target::Target;
use crate::cli::{TargetArgs, TopArgs};
use crate::failure::Failure;
use crate::failure::advice::{self, Advice, RequestContext};
use crate::output::Output;
use crate::release::process;
use crate::services::without_own_connection;
use crate::verdict::Verdict;
use interval::Interval;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{FrameClient, FrameClientError};
use running_process::broker::protocol::{RefusalReason, ServerStatus};
use std::thread;
use std::time::{Duration, Instant};
use view::View;

pub(super) fn run(arguments: &TopArgs, output: &mut Output) -> Result<Verdict, Failure> {
    output.draw_with(arguments.chart.glyphs());
    let mut daemon = Daemon::prove(arguments)?;
    let mut view = View::new(daemon.identity.clone());
    let mut status = daemon.status()?;
    if arguments.once {
        let interval = Interval::between(&ServerStatus::default(), &status, status.uptime());
        view.show(&status, &interval, output)?;
        return Ok(Verdict::Yes);
    }
    view.redraw(output)?;
    let mut asked = Instant::now();
    let mut due = asked;
    let mut left = arguments.count;
    // The command ends once its reader has closed its end.
    while left != Some(0) && !output.is_closed() {
        due += arguments.interval;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = daemon.status()?;
        let elapsed = asked.elapsed();
        asked += elapsed;
        view.show(&now, &Interval::between(&status, &now, elapsed), output)?;
        status = now;
        left = left.map(|left| left - 1);
    }
    Ok(Verdict::Yes)
}

/// A proven daemon and its connection.
struct Daemon {
    title: String,
    identity: DaemonProcess,
    client: FrameClient,
    protocol: u32,
    deadline: Duration,
    /// Set once it has answered.
    has_answered: bool,
}

impl Daemon {
    fn prove(arguments: &TopArgs) -> Result<Self, Failure> {
        let TopArgs { protocol, policy, deadline, .. } = *arguments;
        let mut target =
            Target::find(&TargetArgs { identity_file: arguments.identity_file.clone(), protocol, policy })?;
        let mut client = target.prove(Instant::now() + deadline)?.into_client();
        client.set_timeout(Some(deadline));
        let title = format!("{} at {}", process(&target.daemon), target.daemon.ipc_endpoint.path);
        Ok(Self { title, identity: target.daemon, client, protocol, deadline, has_answered: false })
    }

    fn status(&mut self) -> Result<ServerStatus, Failure> {
        let response = self.client.request(self.protocol, Vec::new()).map_err(|error| self.failure(error))?;
        let status = ServerStatus::from_payload(&response.payload).map_err(|error| {
            let advice = Advice::no("no_status")
                .hint("the daemon serves this protocol itself: give the protocol of its status requests with --protocol");
            Failure::new(error, advice)
                .context(format!("the daemon's response in payload protocol 0x{:04X} is no status", self.protocol))
        })?;
        self.has_answered = true;
        Ok(without_own_connection(status))
    }

    fn failure(&self, error: FrameClientError) -> Failure {
        let error = match error {
            // The client's own timeout is slightly shorter, since it starts later.
            FrameClientError::TimedOut { .. } => FrameClientError::TimedOut { timeout: self.deadline },
            error => error,
        };
        let Self { title, .. } = self;
        let advice =
            advice::request(&error, RequestContext { protocol: self.protocol, timeout_option: "--deadline" });
        let (context, advice) = match &error {
            FrameClientError::TimedOut { .. } => (
                format!("{title} does not answer"),
                advice.hint("the daemon is stopped or overloaded: wait longer with --deadline"),
            ),
            FrameClientError::Refused(refusal) if refusal.reason() == RefusalReason::Overloaded => {
                (format!("{title} is overloaded"), advice)
            }
            FrameClientError::Refused(refusal) if refusal.reason() == RefusalReason::NotAuthorized => (
                format!("{title} does not report its status"),
                advice.hint("the daemon reports its status only to users that it serves: run this command as its user"),
            ),
            FrameClientError::Closed
            | FrameClientError::NotReceived
            | FrameClientError::Dead
            | FrameClientError::Stream(_)
                if self.has_answered =>
            {
                (
                    format!("{title} has ended, or closed the connection"),
                    Advice { verdict: Verdict::No, ..advice }
                        .hint("run this command again once the daemon has restarted, since a new process must prove itself"),
                )
            }
            FrameClientError::Closed => (format!("{title} does not report its status"), advice.hint(NO_STATUS)),
            FrameClientError::Refused(refusal) if refusal.reason() == RefusalReason::UnservedProtocol => {
                (format!("{title} does not report its status"), advice.hint(NO_STATUS))
            }
            FrameClientError::Refused(_) => (format!("{title} does not report its status"), advice),
            _ => (format!("{title} cannot be reached"), advice),
        };
        Failure::of_request(error, advice).context(context)
    }
}

const NO_STATUS: &str =
    "the daemon does not serve status requests, or serves them in another payload protocol (--protocol)";
