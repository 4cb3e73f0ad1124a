//! One client of the crowd, a process of its own: it gets ready, waits to be released, asks for the daemon and tells its answer.

use super::outcome::{Answer, Process, Refused};
use crate::cli::StampedeArgs;
use crate::commands::failed;
use crate::failure::Failure;
use crate::services::Selected;
use crate::text::cut;
use crate::verdict::Verdict;
use running_process::broker::service::{Deadline, EnsureError, StartEnd, StartFailure};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Instant;

/// The line of a client that is ready.
pub(super) const READY: &str = "ready";
/// Most columns of an error, so that a line is shorter than what a pipe takes at once from one of many writers.
const MAX_ERROR: usize = 500;

pub(super) fn run(mut selected: Selected, root: &Path, arguments: &StampedeArgs) -> Result<Verdict, Failure> {
    // Without it a client that was released goes on if the command is killed, and may start another daemon.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(io::Error::from)?;
    selected.service = selected.service.below(root).start_timeout(arguments.timeout);
    print(READY)?;
    if !is_released()? {
        // The command has ended.
        return Ok(Verdict::Undecided);
    }
    let began = Instant::now();
    let started = selected.service.start(Deadline::after(arguments.deadline));
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let result = match started {
        Ok(started) => {
            let daemon = &started.daemon.daemon_process;
            let start_time = daemon.origin.as_ref().map(|origin| origin.start_time);
            Ok(Process { pid: daemon.pid, start_time })
        }
        Err(error) => {
            let is_unseen = matches!(
                error,
                EnsureError::TimedOut { .. }
                    | EnsureError::StartFailed(StartFailure { end: StartEnd::Silent { .. }, .. })
            );
            let failure = failed::start(error, &selected);
            Err(Refused {
                is_unseen,
                kind: failure.name().to_owned(),
                error: cut(&failure.sentence(), MAX_ERROR),
            })
        }
    };
    print(&serde_json::to_string(&Answer { took_us, result }).map_err(Failure::undecided)?)?;
    Ok(Verdict::Yes)
}

/// Prints a line by one system call: all clients share the output.
fn print(line: &str) -> io::Result<()> {
    own(io::stdout())?.write_all(format!("{line}\n").as_bytes())
}

/// Waits until the command releases this client, and returns `false` if it has ended instead. Reads one byte: all clients share the
/// input.
fn is_released() -> io::Result<bool> {
    Ok(own(io::stdin())?.read(&mut [0])? == 1)
}

/// Returns a standard stream without the buffer of the library.
#[cfg(unix)]
fn own(stream: impl std::os::fd::AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// Returns a standard stream without the buffer of the library.
#[cfg(windows)]
fn own(stream: impl std::os::windows::io::AsHandle) -> io::Result<File> {
    stream.as_handle().try_clone_to_owned().map(File::from)
}
