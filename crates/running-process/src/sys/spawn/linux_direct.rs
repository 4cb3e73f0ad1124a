//! Linux from 6.15: no process remains between the starter and the daemon, because the kernel tells the end of a process to
//! everyone who has its pidfd. Nothing is copied either, so the start of a daemon costs the same in a starter of any size.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use super::child::{self, Stack, Started};
use super::daemon::Prepared;
use super::failure::{Failure, Step, explained};
use super::lost::lost;
use super::signals::with_all_blocked;

/// Starts the daemon. An intermediate child starts it and exits at once, so the system adopts the daemon.
///
/// Both share the memory of this process, one after the other, while the calling thread waits, as in `posix_spawn(3)`.
pub(super) fn spawn(prepared: Prepared) -> io::Result<(u32, OwnedFd)> {
    let shared =
        Box::new(Shared { prepared, stacks: [Stack::new(), Stack::new()], outcome: Outcome::default() });
    let spawned = spawn_sharing(&shared);
    if shared.outcome.is_missing() {
        // The daemon may still run in this memory, without the parent that would have waited for it. It has descriptors of its
        // own, and those of this process would keep the lock.
        for number in Box::leak(shared).prepared.descriptors() {
            // SAFETY: the descriptor is open, and its owner is never used again in this process.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    spawned
}

/// The memory that the two new processes use.
struct Shared {
    prepared: Prepared,
    stacks: [Stack; 2],
    outcome: Outcome,
}

fn spawn_sharing(shared: &Shared) -> io::Result<(u32, OwnedFd)> {
    let Shared { prepared, stacks, outcome } = shared;
    let body = move || {
        // The daemon uses this closure, so it is on the stack of the intermediate child, and refers to `shared` only.
        // SAFETY: the new process runs nothing else on its stack, and the signals are blocked.
        let execute = move |kept| unsafe { prepared.execute(kept) };
        // SAFETY: the closure does nothing but system calls, and the stack is used for nothing else.
        outcome.set(&unsafe { child::start(&stacks[1], libc::CLONE_PIDFD, execute) });
    };
    // The intermediate child shares the table of descriptors, so that the pidfd is in that of this process.
    // SAFETY: the closure does nothing but system calls, and the stack is used for nothing else.
    let intermediate =
        with_all_blocked(|| unsafe { child::run_sharing_memory(&stacks[0], libc::CLONE_FILES, &body) });
    let intermediate = intermediate.map_err(explained)?;
    child::reap(intermediate.pid.as_raw_nonzero().get());
    if outcome.is_missing() {
        return Err(lost());
    }
    match outcome.get() {
        Ok((pid, pidfd)) => {
            // SAFETY: the system has made this descriptor for this call, so it is open and no other code owns it.
            Ok((pid.cast_unsigned(), unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
        Err(failure) => Err(explained(failure)),
    }
}

/// The message of the intermediate child. It is written in shared memory before the child exits and read afterwards.
#[derive(Debug, Default)]
struct Outcome {
    pid: AtomicI32,
    pidfd: AtomicI32,
    step: AtomicI32,
    errno: AtomicI32,
}

impl Outcome {
    fn set(&self, started: &Result<Started, Failure>) {
        match *started {
            Ok(Started { pid, pidfd }) => {
                self.pidfd.store(pidfd, Ordering::Relaxed);
                self.pid.store(pid.as_raw_nonzero().get(), Ordering::Relaxed);
            }
            Err(Failure { step, errno }) => {
                self.errno.store(errno, Ordering::Relaxed);
                self.step.store(step as i32, Ordering::Relaxed);
            }
        }
    }

    /// Returns whether the intermediate child was killed before it knew.
    fn is_missing(&self) -> bool {
        [&self.pid, &self.step].iter().all(|place| place.load(Ordering::Relaxed) == 0)
    }

    fn get(&self) -> Result<(c_int, RawFd), Failure> {
        let [pid, pidfd, step, errno] =
            [&self.pid, &self.pidfd, &self.step, &self.errno].map(|place| place.load(Ordering::Relaxed));
        match (pid, step) {
            (1.., _) => Ok((pid, pidfd)),
            (_, step) => Err(Failure { step: Step::from_number(step), errno }),
        }
    }
}
