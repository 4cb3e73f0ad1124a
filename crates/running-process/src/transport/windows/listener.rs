//! A named pipe that accepts connections.

use std::collections::VecDeque;
use std::io;
use std::os::windows::io::AsHandle;
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_PIPE_BUSY};

use super::super::Accepted;
use super::super::error::BindError;
use super::super::unprepared;
use super::{LocalStream, StopSignal, is, name};
use crate::sys::windows_pipe::{Instance, PipePath};
use crate::sys::windows_wait::wait_any;

/// How many instances wait for clients at once: the backlog of a pipe. With the stop signal they are waited for in
/// one call, which takes 64 handles at most.
const BACKLOG: usize = 16;

/// The owner of a local endpoint, which accepts the connections made to it.
///
/// # Platform-specific behavior
///
/// On Windows the name vanishes with the last handle to the pipe, which may be a connection that outlives the
/// listener; other machines are rejected, and only the same user may open it. Sixteen clients can connect before the
/// first is accepted. On Unix the owner holds a lock on the file `PATH.lock`, which stays behind when the listener
/// is dropped; the socket is removed then, if it is still the listener's own.
#[derive(Debug)]
pub struct LocalListener {
    path: PipePath,
    // Never empty between calls unless the system refused to make more; the oldest is first.
    waiting: Mutex<VecDeque<Instance>>,
}

impl LocalListener {
    /// Takes the endpoint name `path` and listens there. From now on clients can connect.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows `path` is the bare name of the pipe, without `\\.\pipe\`. On Unix it is the path of the socket, in a
    /// directory that exists; a socket that a daemon left behind is replaced.
    ///
    /// # Errors
    ///
    /// [`BindError`] says why: the name has an owner, or cannot be a name here.
    pub fn bind(path: &str) -> Result<Self, BindError> {
        let full = name::path(path)?;
        let first = Instance::listen(&full, true).map_err(|source| {
            let path = path.to_owned();
            // "Access denied" is what the system says of a second first instance.
            if is(&source, ERROR_ACCESS_DENIED) || is(&source, ERROR_PIPE_BUSY) {
                BindError::InUse { path }
            } else {
                BindError::Io { path, source }
            }
        })?;
        let listener = Self { path: full, waiting: Mutex::new(VecDeque::from([first])) };
        // One instance is enough to go on with.
        let _ = listener.fill(&mut listener.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(listener)
    }

    /// On Unix, takes a listening socket that a service manager passed to this process.
    ///
    /// # Platform-specific behavior
    ///
    /// Windows has no such protocol: a pipe is made by the daemon that owns it.
    ///
    /// # Errors
    ///
    /// [`BindError::NotInheritable`], or what is wrong with the name.
    pub fn inherited(path: &str) -> Result<Self, BindError> {
        name::path(path)?;
        Err(BindError::NotInheritable { path: path.to_owned() })
    }

    /// A pipe has its name for as long as it is there.
    #[allow(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "as on Unix")]
    pub(crate) fn watch_name(&mut self) {}

    /// [`accept`](Self::accept) in the form that tells of lost names as well.
    pub(crate) fn next(&self, stop: &StopSignal) -> io::Result<Accepted> {
        Ok(self.accept(stop)?.map_or(Accepted::Stopped, Accepted::Connection))
    }

    fn fill(&self, waiting: &mut VecDeque<Instance>) -> io::Result<()> {
        while waiting.len() < BACKLOG {
            waiting.push_back(Instance::listen(&self.path, false)?);
        }
        Ok(())
    }

    /// Waits for the next connection; `None` once `stop` has been given, which wins over connections that wait.
    ///
    /// # Errors
    ///
    /// What the system said. The listener is as good as before then.
    pub fn accept(&self, stop: &StopSignal) -> io::Result<Option<LocalStream>> {
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
                return Ok(None);
            }
            let instance = signaled.and_then(|index| waiting.remove(index.checked_sub(1)?));
            // Its place is taken before anything else is done with it.
            let _ = self.fill(&mut waiting);
            // An instance whose client is gone already is none.
            if let Some(Ok(pipe)) = instance.map(Instance::finish) {
                return LocalStream::try_from(pipe).map(Some).map_err(unprepared);
            }
        }
    }
}
