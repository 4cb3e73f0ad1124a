//! A named pipe that accepts connections.

use std::collections::VecDeque;
use std::io;
use std::os::windows::io::AsHandle;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_PIPE_BUSY};

use super::super::accepted::{Accepted, Republished, unprepared};
use super::super::error::BindError;
use super::super::instance_lock::HeldLock;
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
    /// No instance is made any more.
    closed: AtomicBool,
    // Never empty between calls, unless the system refused to make more. The oldest is first.
    waiting: Mutex<VecDeque<Instance>>,
    /// Connections that were accepted and not taken.
    kept: Mutex<VecDeque<Stream>>,
    /// Unlocked after the instances above are closed.
    lock: Mutex<Option<HeldLock>>,
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
        let listener = Self {
            path: full,
            closed: AtomicBool::new(false),
            waiting: Mutex::new(VecDeque::from([first])),
            kept: Mutex::default(),
            lock: Mutex::default(),
        };
        // One instance is enough to go on with.
        let _ = listener.fill(&mut listener.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(listener)
    }

    pub(crate) fn bind_locked(path: &str, lock: HeldLock) -> Result<Self, BindError> {
        Ok(Self { lock: Mutex::new(Some(lock)), ..Self::bind(path)? })
    }

    #[expect(clippy::unused_self, reason = "the system passes no pipe to another daemon")]
    pub(crate) fn is_handed_over(&self) -> bool {
        false
    }

    pub(crate) fn inherited(path: &str) -> Result<Self, BindError> {
        name::path(path)?;
        Err(BindError::NotInheritable { path: path.to_owned() })
    }

    /// Makes no more instances. A client may still connect to those that wait.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Closes the instances, and gives the lock up.
    pub(crate) fn end(&self) {
        self.close();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Keeps a connection for [`accept_waiting`](Self::accept_waiting).
    #[cfg(feature = "tokio")]
    pub(crate) fn keep(&self, stream: Option<Stream>) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(stream);
    }

    pub(crate) fn accept_waiting(&self) -> io::Result<Option<Stream>> {
        if let Some(kept) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return Ok(Some(kept));
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while !waiting.is_empty() {
            let handles: Vec<_> = waiting.iter().map(AsHandle::as_handle).collect();
            let signaled = wait_any(&handles, Some(Instant::now()))?;
            let Some(instance) = signaled.and_then(|index| waiting.remove(index)) else { break };
            if let Ok(pipe) = instance.finish() {
                return Stream::try_from(pipe).map(Some).map_err(unprepared);
            }
        }
        Ok(None)
    }

    /// Does nothing: a pipe has its name for as long as it exists.
    #[expect(clippy::unnecessary_wraps, reason = "files are watched, which can fail")]
    pub(crate) fn watch_name(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "a file can lose its name, and cannot always be replaced")]
    pub(crate) fn publish_again(&mut self) -> Result<Republished<Stream>, BindError> {
        Ok(Republished { renewed: false, waiting: Vec::new() })
    }

    fn fill(&self, waiting: &mut VecDeque<Instance>) -> io::Result<()> {
        while waiting.len() < BACKLOG && !self.closed.load(Ordering::Relaxed) {
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
