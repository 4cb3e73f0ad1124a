//! The crowd: processes that get ready one after the other, and are released together.

use super::client::READY;
use super::inbox::{Inbox, Stopped};
use super::outcome::{Answer, Timed};
use crate::cli::StampedeArgs;
use crate::failure::Failure;
use crate::failure::advice::Advice;
use std::cell::Cell;
use std::io::{self, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait until all clients are ready, on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Time that a client gets beyond the limit of silence of a start, so that it learns why the start failed.
const MARGIN: Duration = Duration::from_secs(5);

/// The way to start clients.
pub(super) struct Clients {
    file: PathBuf,
    root: PathBuf,
    pub(super) count: usize,
    /// The limit of silence of a daemon that starts.
    start_timeout: Duration,
    crowds: Cell<u32>,
}

impl Clients {
    pub(super) fn new(file: &Path, root: &Path, arguments: &StampedeArgs) -> Result<Self, Failure> {
        Ok(Self {
            file: std::path::absolute(file)?,
            root: root.to_owned(),
            count: arguments.clients as usize,
            start_timeout: arguments.timeout,
            crowds: Cell::new(0),
        })
    }

    /// Returns the deadline of each client.
    pub(super) fn deadline(&self) -> Duration {
        self.start_timeout + MARGIN
    }

    /// Starts `count` clients, each with the time limit `deadline`, and waits until all of them are ready.
    pub(super) fn gather<'a>(
        &self,
        count: usize,
        deadline: Duration,
        inbox: &'a Inbox,
    ) -> Result<Crowd<'a>, Stopped> {
        let number = self.crowds.get();
        self.crowds.set(number + 1);
        let ((input, release), (lines, output)) = (io::pipe()?, io::pipe()?);
        let mut command = Command::new(std::env::current_exe()?);
        let micros = |time: Duration| format!("{}us", time.as_micros());
        command.arg("stampede").arg("--file").arg(&self.file).arg("--client-of").arg(&self.root);
        command.args(["--timeout", &micros(self.start_timeout), "--deadline", &micros(deadline)]);
        // Services that the daemon uses itself are in this root as well.
        command.env(running_process::broker::service::ROOT_VARIABLE, &self.root);
        command.stderr(Stdio::null());
        let mut crowd = Crowd { number, children: Vec::new(), release, inbox };
        inbox.read(number, lines)?;
        for started in 0..count {
            inbox.check()?;
            command.stdin(input.try_clone()?).stdout(output.try_clone()?);
            let child = command.spawn().map_err(|error| too_many(error, started, count))?;
            crowd.children.push(child);
        }
        drop((command, input, output));
        crowd.wait_ready()?;
        Ok(crowd)
    }
}

/// Returns the failure of a machine that cannot run so many clients.
fn too_many(error: io::Error, started: usize, count: usize) -> Failure {
    let hint = format!(
        "choose fewer --clients, such as {}, or raise the limit of processes of this user (ulimit -u{})",
        (started / 2).max(1),
        limit_of_processes(),
    );
    Failure::new(error, Advice::undecided("too_many_clients"))
        .context(format!("this machine runs {started} clients, and not {count}"))
        .hint(hint)
}

#[cfg(unix)]
fn limit_of_processes() -> String {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nproc).current;
    limit.map_or_else(String::new, |limit| format!(", now {limit}"))
}

#[cfg(not(unix))]
fn limit_of_processes() -> String {
    String::new()
}

/// Clients that wait to be released, and those that have been. They end with this value.
pub(super) struct Crowd<'a> {
    number: u32,
    children: Vec<Child>,
    release: PipeWriter,
    inbox: &'a Inbox,
}

impl Crowd<'_> {
    fn wait_ready(&mut self) -> Result<(), Stopped> {
        let until = Instant::now() + READY_TIMEOUT;
        for ready in 0..self.children.len() {
            let line = self.inbox.next(self.number, until)?;
            if line.is_none_or(|line| line.text != READY) {
                let error = format!(
                    "only {ready} of {} clients were ready within {READY_TIMEOUT:?}",
                    self.children.len()
                );
                let failure = Failure::new(error, Advice::undecided("too_many_clients"));
                return Err(failure
                    .hint("the machine is too busy or too small: choose fewer --clients")
                    .into());
            }
        }
        Ok(())
    }

    /// Releases `count` clients, evenly spread over the time `over`.
    pub(super) fn release(&mut self, count: usize, over: Duration) -> Result<(), Stopped> {
        if over.is_zero() {
            return Ok(self.release.write_all(&vec![1; count])?);
        }
        let began = Instant::now();
        for client in 0..count {
            let due = over.mul_f64(client_share(client, count));
            thread::sleep(due.saturating_sub(began.elapsed()));
            self.inbox.check()?;
            self.release.write_all(&[1])?;
        }
        Ok(())
    }

    /// Returns the answers that come until `until`, with the time since `began` at which each came.
    pub(super) fn answers(self, began: Instant, until: Instant) -> Result<Vec<Timed>, Stopped> {
        let mut answers = Vec::new();
        while answers.len() < self.children.len() {
            let Some(line) = self.inbox.next(self.number, until)? else { break };
            let answer: Answer = serde_json::from_str(&line.text).map_err(Failure::undecided)?;
            answers.push(Timed { at: line.at.saturating_duration_since(began), answer });
        }
        Ok(answers)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of clients are small")]
fn client_share(client: usize, count: usize) -> f64 {
    client as f64 / count.max(1) as f64
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has answered has ended or is about to.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}
