//! Opens the verified connections of a load.

use crate::failure::{Failure, advice};
use running_process::broker::backend_handle::{BackendHandle, BackendHandleError};
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_sdk::{ConnectError, LocalStream};
use std::thread;
use std::time::{Duration, Instant};

/// Pause before the next attempt to connect if the daemon's backlog is full.
const BACKLOG_PAUSE: Duration = Duration::from_millis(1);

/// Returns the proven connection and further ones, each of which is verified.
pub(super) fn open(
    handle: BackendHandle,
    connections: u32,
    deadline: Instant,
) -> Result<Vec<LocalStream>, Failure> {
    let mut streams = Vec::new();
    for number in 2..=connections {
        let stream = further(&handle, deadline).map_err(|error| {
            let advice = advice::handle(&error);
            Failure::new(error, advice)
                .context(format!("connection {number} of {connections} could not be opened"))
        })?;
        streams.push(stream);
    }
    streams.push(handle.into_stream());
    Ok(streams)
}

fn further(handle: &BackendHandle, deadline: Instant) -> Result<LocalStream, BackendHandleError> {
    loop {
        match handle.connect_deadline(deadline) {
            Err(BackendHandleError::Probe(ProbeError::Connect(ConnectError::BacklogFull { .. })))
                if Instant::now() < deadline =>
            {
                thread::sleep(BACKLOG_PAUSE);
            }
            result => return result,
        }
    }
}

/// Raises the limit of open files so that this process can have so many connections.
#[cfg(unix)]
pub(super) fn raise_file_limit(connections: u32) -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// More than enough for the standard streams, the runtime, the identity file and the proof.
    const OTHER_FILES: u64 = 32;

    let needed = u64::from(connections) + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` means that there is no limit.
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let plural = if connections == 1 { " needs" } else { "s need" };
    let too_few = |limit: u64| {
        Failure::undecided(format!(
            "{connections} connection{plural} {needed} file descriptors, and this process may have {limit}"
        ))
    };
    match maximum {
        Some(maximum) if maximum < needed => {
            let hint = format!(
                "choose at most {} --connections, or have the hard limit raised (ulimit -Hn)",
                maximum.saturating_sub(OTHER_FILES)
            );
            Err(too_few(maximum).kind("too_many_open_files").hint(hint))
        }
        _ => setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).map_err(|errno| {
            Failure::from(std::io::Error::from(errno))
                .context("the limit of file descriptors cannot be raised")
                .hint(format!("raise it yourself: ulimit -n {needed}"))
        }),
    }
}

/// Does nothing, since only memory limits the number of pipes.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
pub(super) fn raise_file_limit(_connections: u32) -> Result<(), Failure> {
    Ok(())
}
