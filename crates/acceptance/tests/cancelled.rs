//! Futures of the proof that are dropped, in a process of its own, because descriptors and threads of the whole process
//! are counted.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_lifecycle::verify::{Policy, verify_async};
use running_process_acceptance::{TEST_TIMEOUT, TestEndpoint, soon};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Polls `work` at most `turns` times, each once there is something to do, then drops it.
async fn cancel_after(turns: u32, work: impl Future) -> bool {
    let mut work = pin!(work);
    let mut left = turns;
    poll_fn(|context| {
        if work.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        left -= 1;
        if left == 0 { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn a_future_that_is_dropped_leaves_no_descriptor_and_the_handle_usable() {
    let [place, elsewhere] = [(); 2].map(|()| TestEndpoint::new(env!("CARGO_BIN_EXE_peer")));
    let (daemon, _silent) = (place.start("genuine"), elsewhere.start("silent"));
    let (genuine, silent) = (place.identity(), elsewhere.identity());
    let handle = BackendHandle::verify_async(&genuine, Policy::default(), soon()).await.unwrap();
    // It does not answer any more, and does not end when it is asked to.
    daemon.stop();
    let before = descriptors();
    for _ in 0..50 {
        assert!(!cancel_after(1, verify_async(&silent, &Policy::default(), soon())).await);
        assert!(!cancel_after(2, verify_async(&genuine, &Policy::default(), soon())).await);
        assert!(!cancel_after(1, handle.shutdown_async(TEST_TIMEOUT)).await);
    }
    // An earlier thread may have closed a descriptor of its own since.
    assert!(descriptors() <= before, "{before} before, {} after", descriptors());
    assert!(handle.is_alive());
    handle.force_kill_async().await.unwrap();
}
