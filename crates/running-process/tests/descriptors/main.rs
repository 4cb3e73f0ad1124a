//! Descriptors in frames, over real sockets: every server and client, hostile peers, and no descriptor lost. The tests count the
//! descriptors of this process, so they run one at a time.
#![cfg(all(target_os = "linux", feature = "host"))]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod client;
mod daemon;
mod files;
mod hostile;
mod leaks;
#[cfg(feature = "tokio")]
mod moving;
mod own_event_loop;
mod passing;
mod raw;
mod too_many;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the tests for each driver and each client.
macro_rules! cases {
    ($($case:ident)*) => {
        mod blocking_server_and_client {
            $(#[test] fn $case() {
                let _alone = crate::alone();
                super::$case::<running_process::Server, running_process::FrameClient>();
            })*
        }
        #[cfg(feature = "tokio")]
        mod tokio_server_and_client {
            $(#[test] fn $case() {
                let _alone = crate::alone();
                super::$case::<crate::daemon::OnOneThread, crate::client::OnTokio>();
            })*
        }
        #[cfg(feature = "tokio")]
        mod tokio_server_of_threads_and_blocking_client {
            $(#[test] fn $case() {
                let _alone = crate::alone();
                super::$case::<crate::daemon::OnThreads, running_process::FrameClient>();
            })*
        }
    };
}
pub(crate) use cases;

/// Waits for the tests that count descriptors: all.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns an open file with this content.
fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

fn descriptor(content: &[u8]) -> OwnedFd {
    file(content).into()
}

/// Returns the content of the file that `descriptor` is.
fn content(descriptor: &impl AsFd) -> Vec<u8> {
    let file = File::from(descriptor.as_fd().try_clone_to_owned().unwrap());
    let mut content = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut content, 0).unwrap();
    content
}

fn contents(descriptors: &[OwnedFd]) -> Vec<Vec<u8>> {
    descriptors.iter().map(content).collect()
}

/// Returns the number of open descriptors of this process, without the one that counts.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Waits until no more descriptors are open than before. Threads of this test, and of the one before it, close some as they end.
#[track_caller]
fn assert_open(before: usize) {
    eventually(|| (open_descriptors() <= before).then_some(()));
}

/// Calls `attempt` at intervals until it returns a value, for what can only be looked at.
#[track_caller]
fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "did not happen within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}
