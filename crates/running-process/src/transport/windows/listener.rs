//! A named pipe that accepts connections.

use std::collections::VecDeque;
use std::io;
use std::os::windows::io::AsHandle;
use std::sync::{Arc, Mutex, PoisonError};

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_PIPE_BUSY};

use super::super::accepted::{Accepted, unprepared};
use super::super::error::BindError;
use super::error::is;
use super::name;
use super::stop::StopEvent;
use super::stream::Stream;
use crate::sys::windows_pipe::{Instance, PipePath};
use crate::sys::windows_wait::wait_any;

/// Number of instances that wait for clients at once: the backlog of a pipe. One call waits for them and the stop signal,
/// and takes 64 handles at most.
const BACKLOG: usize = 16;

/// The system's part of [`LocalListener`](crate::transport::LocalListener), which documents the methods.
#[derive(Debug)]
pub(crate) struct Listener {
    path: PipePath,
    // Never empty between calls, unless the system refused to make more. The oldest is first.
    waiting: Mutex<VecDeque<Instance>>,
}

#[allow(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "the portable type has both")]
impl Listener {
    pub(crate) fn bind(path: &str) -> Result<Self, BindError> {
        let full = name::path(path)?;
        let first = Instance::listen(&full, true).map_err(|error| {
            let path = path.to_owned();
            // "Access denied" is the system's answer to a second first instance.
            if is(&error, ERROR_ACCESS_DENIED) || is(&error, ERROR_PIPE_BUSY) {
                BindError::InUse { path }
            } else {
                BindError::Io { path, source: Arc::new(error) }
            }
        })?;
        let listener = Self { path: full, waiting: Mutex::new(VecDeque::from([first])) };
        // One instance is enough to go on with.
        let _ = listener.fill(&mut listener.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(listener)
    }

    pub(crate) fn inherited(path: &str) -> Result<Self, BindError> {
        name::path(path)?;
        Err(BindError::NotInheritable { path: path.to_owned() })
    }

    /// Does nothing: a pipe has its name for as long as it exists.
    pub(crate) fn watch_name(&mut self) {}

    fn fill(&self, waiting: &mut VecDeque<Instance>) -> io::Result<()> {
        while waiting.len() < BACKLOG {
            waiting.push_back(Instance::listen(&self.path, false)?);
        }
        Ok(())
    }

    pub(crate) fn next(&self, stop: &StopEvent) -> io::Result<Accepted<Stream>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Err(error) = self.fill(&mut waiting)
                && waiting.is_empty()
            {
                return Err(error);
            }
            let mut handles = vec![stop.as_handle()];
            handles.extend(waiting.iter().map(AsHandle::as_handle));
            let signaled = wait_any(&handles, None)?;
            if stop.is_stopped() {
                return Ok(Accepted::Stopped);
            }
            let instance = signaled.and_then(|index| waiting.remove(index.checked_sub(1)?));
            // The next instance takes its place before anything else is done with it.
            let _ = self.fill(&mut waiting);
            // An instance whose client is gone already is no connection.
            if let Some(Ok(pipe)) = instance.map(Instance::finish) {
                return Stream::try_from(pipe).map(Accepted::Connection).map_err(unprepared);
            }
        }
    }
}
