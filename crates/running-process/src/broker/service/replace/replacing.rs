//! The lock `replacing`: its holder, and no other process, replaces the daemon, and starts the next one if none runs.

use super::abandoned;
use crate::broker::service::deadline::Deadline;
use crate::broker::service::find_error::FindError;
use crate::broker::service::interval::Interval;
use crate::broker::service::operation::{Operation, OperationWait};
use crate::broker::service::paths::ServicePaths;
use crate::transport::InstanceLock;
use std::thread;
use std::time::Duration;

/// The first interval between two looks at a lock that no process announces.
const FIRST_INTERVAL: Duration = Duration::from_millis(1);

/// The lock, with the announcement at which others wait for the end of the replacement.
#[derive(Debug)]
pub(in crate::broker::service) struct Replacing {
    // Closed before the announcement: the processes that it wakes find the lock free.
    lock: InstanceLock,
    /// If it cannot be announced, the others look again at intervals.
    announcement: Option<Operation>,
    /// The name of the announcement was taken away.
    is_withdrawn: bool,
}

impl Replacing {
    /// Takes the lock; `None` if another process replaces the daemon.
    pub(in crate::broker::service) fn try_take(paths: &ServicePaths) -> Result<Option<Self>, FindError> {
        let Some(lock) = InstanceLock::try_take(&paths.replacing()).map_err(FindError::Lock)? else {
            return Ok(None);
        };
        // The note about an earlier successor.
        let _best_effort = lock.file().set_len(0);
        let announcement = Operation::announce(paths.replacing_announced()).ok();
        Ok(Some(Self { lock, announcement, is_withdrawn: false }))
    }

    /// Takes the lock once no other process has it; `None` if one still has at `deadline`. Calls `waits` before the first wait with
    /// the process that has it, as far as the system tells.
    pub(in crate::broker::service) fn take(
        paths: &ServicePaths,
        start_timeout: Duration,
        deadline: Deadline,
        waits: &mut dyn FnMut(Option<u32>),
    ) -> Result<Option<Self>, FindError> {
        let (mut interval, mut has_waited) = (Interval::from(FIRST_INTERVAL), false);
        loop {
            if let Some(taken) = Self::try_take(paths)? {
                return Ok(Some(taken));
            }
            let announced = OperationWait::at(&paths.replacing_announced());
            if !std::mem::replace(&mut has_waited, true) {
                waits(Self::holder(paths));
            }
            match announced {
                Some(announced) => drop(announced.ends(deadline)),
                // The process that announced it was killed, and the successor that it has started holds the lock.
                None => {
                    abandoned::end_hanging(paths, start_timeout)?;
                    let interval = interval.next();
                    thread::sleep(deadline.left().unwrap_or(interval).min(interval));
                }
            }
            if deadline.has_passed() {
                return Ok(None);
            }
        }
    }

    /// Returns the process that replaces the daemon, or that has its lock, as far as the system tells.
    pub(in crate::broker::service) fn holder(paths: &ServicePaths) -> Option<u32> {
        let announced = OperationWait::at(&paths.replacing_announced());
        let holder = || InstanceLock::holder(&paths.replacing()).ok().flatten()?.pid();
        announced.and_then(|announced| announced.process()).or_else(holder)
    }

    /// Ends the replacement. If the next daemon serves, this ends the lock also for a process that has got a copy from it. Otherwise
    /// the lock stays that of a successor, or of the daemon that puts its endpoint back.
    pub(in crate::broker::service) fn end(mut self, serves: bool) {
        self.withdraw();
        if serves {
            self.lock.unlock();
        }
    }

    /// Takes the name of the announcement away, while the lock is held: later it could be another process's. Those that wait are
    /// woken later, when the announcement is dropped.
    fn withdraw(&mut self) {
        if !std::mem::replace(&mut self.is_withdrawn, true)
            && let Some(announcement) = &self.announcement
        {
            announcement.withdraw();
        }
    }

    /// Returns the lock, which a successor gets.
    pub(in crate::broker::service) fn lock(&self) -> &InstanceLock {
        &self.lock
    }

    /// Returns whether a process replaces the daemon.
    pub(in crate::broker::service) fn is_held(paths: &ServicePaths) -> Result<bool, FindError> {
        InstanceLock::is_held(&paths.replacing()).map_err(FindError::Lock)
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        // The lock itself is only closed: a successor may have a copy.
        self.withdraw();
    }
}
