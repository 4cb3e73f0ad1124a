//! Tasks that must get their turn while a daemon is proven.

use running_process::broker::backend_handle::{BackendHandle, BackendHandleError, DaemonProcess};
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::{Policy, verify_async};
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::{Peer, TEST_TIMEOUT, TestEndpoint, soon};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PEER: &str = env!("CARGO_BIN_EXE_peer");
/// Size of an executable that takes longer than [`BRIEF`] to read on any machine: eight threads digest 20 GiB in a second.
const LARGE: u64 = 1 << 30;
/// Time in which a daemon answers, and in which its executable cannot be read.
const BRIEF: Duration = Duration::from_millis(20);
/// Far fewer turns than there are, also on a busy machine.
const FEW: u32 = 3;

/// Returns the result of `work`, and the number of turns of another task of the same thread meanwhile.
async fn counting_turns<T>(work: impl Future<Output = T>) -> (T, u32) {
    let turns = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let done = work.await;
    other.abort();
    (done, turns.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_silent_daemon_costs_the_deadline_and_no_other_task_its_turn() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::unix_socket("test", directory.path().join("s").to_str().unwrap()).unwrap();
    let expected = DaemonProcess::current_process(endpoint, None).unwrap();
    let _silent = UnixListener::bind(&expected.ipc_endpoint.path).unwrap();
    let began = Instant::now();
    let deadline = began + Duration::from_millis(200);
    let verify = BackendHandle::verify_async(&expected, Policy::default(), deadline);
    let (verified, turns) = counting_turns(verify).await;
    assert!(matches!(verified, Err(ProbeError::TimedOut)), "{verified:?}");
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(turns > FEW, "{turns}");
}

/// Starts a daemon with a large executable that remembers its digests in another cache than the caller.
fn unremembered() -> (TestEndpoint, Peer) {
    let place = TestEndpoint::with_large_copy(PEER, LARGE);
    let daemon = Peer::start(place.command("genuine").env("XDG_CACHE_HOME", place.path("cache")));
    (place, daemon)
}

#[tokio::test]
async fn an_executable_that_has_to_be_read_costs_no_other_task_its_turn() {
    let (place, _daemon) = unremembered();
    let identity = place.identity();
    let verify = BackendHandle::verify_async(&identity, Policy::default(), soon());
    let (verified, turns) = counting_turns(verify).await;
    verified.unwrap();
    assert!(turns > FEW, "{turns}");
}

#[tokio::test]
async fn reading_an_executable_costs_no_more_than_the_deadline() {
    let (place, _daemon) = unremembered();
    let deadline = Instant::now() + BRIEF;
    let refused = verify_async(&place.identity(), &Policy::default(), deadline).await.unwrap_err();
    assert!(matches!(refused.error, ProbeError::TimedOut), "{refused:?}");
}

#[tokio::test]
async fn waiting_for_the_end_of_a_process_costs_no_other_task_its_turn() {
    let place = TestEndpoint::new(PEER);
    let daemon = place.start("genuine");
    let identity = place.identity();
    let handle = BackendHandle::verify_async(&identity, Policy::default(), soon()).await.unwrap();
    daemon.stop();
    let shutdown = handle.shutdown_async(Duration::from_millis(100));
    let (ended, turns) = counting_turns(shutdown).await;
    assert!(matches!(ended, Err(BackendHandleError::ShutdownTimeout { .. })), "{ended:?}");
    assert!(turns > FEW, "{turns}");
    // Two tasks may wait for one process.
    let (waited, killed) = tokio::join!(handle.shutdown_async(TEST_TIMEOUT), handle.force_kill_async());
    waited.unwrap();
    killed.unwrap();
    assert!(!handle.is_alive());
}
