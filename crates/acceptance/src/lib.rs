//! The shared parts of the acceptance tests: the test daemon and its legacy wire, child processes, and a watchdog.
//!
//! Nothing here waits longer than [`TEST_TIMEOUT`], and no child outlives its test.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "every function here is part of a test")]

mod child;
pub mod crowd;
pub mod daemon;
mod driver;
#[cfg(target_os = "linux")]
mod peer;
pub mod raw;
#[cfg(unix)]
pub mod session;
pub mod wire;

pub use child::{Daemon, StreamExt, connect, installed, run, sibling};
pub use driver::Driver;
#[cfg(target_os = "linux")]
pub use peer::{Peer, SECRET, TOKEN, TestEndpoint, copy_program, only_a_probe};

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Defines an enum of broken rules, each with the mistake in a sentence and a name for the command line.
#[macro_export]
macro_rules! breaks {
    ($($rule:ident $name:literal $mistake:literal)*) => {
        /// A broken rule of docs/wire.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Break {
            $(#[doc = $mistake] $rule,)*
        }

        impl Break {
            const ALL: [(Self, &str, &str); [$($name),*].len()] = [$((Self::$rule, $name, $mistake)),*];

            /// Returns the rule with this name.
            pub(crate) fn named(name: &str) -> Self {
                let found = Self::ALL.iter().find(|rule| rule.1 == name);
                found.unwrap_or_else(|| panic!("no rule is named {name}: see --list")).0
            }

            /// Prints the names, each with the mistake.
            pub(crate) fn list() {
                for (_, name, mistake) in Self::ALL {
                    println!("{name}\t{mistake}");
                }
            }
        }
    };
}

/// Longer than anything here takes.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the deadline of an operation that begins now.
#[must_use]
pub fn soon() -> Instant {
    Instant::now() + TEST_TIMEOUT
}

/// Runs `work` on a thread and fails if it hangs.
///
/// # Panics
///
/// `work` panics, or still runs after [`TEST_TIMEOUT`].
pub fn watched<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(work);
    thread::spawn(move || done.send(thread.join()));
    match finished.recv_timeout(TEST_TIMEOUT) {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(RecvTimeoutError::Timeout) => panic!("still running after {TEST_TIMEOUT:?}"),
        Err(RecvTimeoutError::Disconnected) => unreachable!("the result is sent whatever it is"),
    }
}
