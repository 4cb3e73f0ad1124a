//! Tasks that wait for processes.

use super::{TEST_TIMEOUT, handle, idle};
use crate::sys::ProcessHandle;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn many_tasks_see_one_process_exit_and_none_before() {
    let mut child = idle();
    let process = std::sync::Arc::new(handle(&child));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let process = std::sync::Arc::clone(&process);
        waiting.spawn(async move { process.exited().await.unwrap() });
    }
    timeout(Duration::from_millis(20), waiting.join_next()).await.unwrap_err();
    assert!(!process.is_ending().unwrap());
    child.kill().unwrap();
    timeout(TEST_TIMEOUT, async { while waiting.join_next().await.transpose().unwrap().is_some() {} })
        .await
        .unwrap();
    assert!(process.is_ending().unwrap(), "its parent has not waited for it yet");
    child.wait().unwrap();
    timeout(TEST_TIMEOUT, process.exited()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_wait_that_is_given_up_leaves_the_process_as_it_was() {
    let mut child = idle();
    let process = handle(&child);
    for _ in 0..100 {
        timeout(Duration::ZERO, process.exited()).await.unwrap_err();
    }
    assert!(!process.has_exited().unwrap());
    process.kill().unwrap();
    timeout(TEST_TIMEOUT, process.exited()).await.unwrap().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn this_process_is_not_about_to_exit() {
    let this = ProcessHandle::open(std::process::id()).unwrap().unwrap();
    assert!(!this.is_ending().unwrap());
}
