//! Blocking servers that are dropped, or that do not start.

use crate::support::{PATIENCE, TempEndpoint, eventually, next, watched};
#[cfg(target_os = "linux")]
use crate::support::{in_child_process, test_name};
use running_process::Server;
#[cfg(target_os = "linux")]
use running_process::broker::backend_sdk::ServerError;
use running_process::broker::backend_sdk::{CancelReason, FrameClient, FrameClientError, ServerConfig};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const ECHO: u32 = 0xF00D;

/// Returns a server, and what tells whether its handlers are dropped. That is when its last thread has ended.
fn server(temp: &TempEndpoint) -> (Server, impl Fn() -> Option<()>) {
    let owned = Arc::new(());
    let kept = Arc::downgrade(&owned);
    let server = Server::bind(temp.endpoint.clone()).unwrap().serve(ECHO, move |request| {
        drop(Arc::clone(&owned));
        Ok(request.into_payload())
    });
    (server, move || kept.upgrade().is_none().then_some(()))
}

#[test]
fn the_threads_of_a_server_that_is_dropped_end() {
    let temp = TempEndpoint::new();
    let (server, is_gone) = server(&temp);
    let running = server.start().unwrap();
    let mut client = FrameClient::connect(&temp.endpoint).unwrap();
    assert_eq!(client.request(ECHO, b"x").unwrap().payload, b"x");
    drop(running);
    assert!(watched(move || client.next_event()).is_some_and(|end| end.is_err()), "its connections end");
    eventually(is_gone);
}

#[test]
fn a_server_that_is_dropped_cancels_the_requests_that_are_late() {
    let temp = TempEndpoint::new();
    let (began, has_begun) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let tell = Mutex::new((began, end));
    let (server, is_gone) = server(&temp);
    let server = server.config(ServerConfig::default().drain_timeout(Duration::from_millis(20))).serve(
        ECHO + 1,
        move |request| {
            tell.lock().unwrap().0.send(()).unwrap();
            tell.lock().unwrap().1.send(request.cancellation().wait(None)).unwrap();
            Ok(Vec::new())
        },
    );
    let running = server.start().unwrap();
    let mut client = FrameClient::connect(&temp.endpoint).unwrap();
    client.set_timeout(Some(PATIENCE));
    let request = client.send(ECHO + 1, b"").unwrap();
    next(&has_begun);
    drop(running);
    assert_eq!(next(&ended), Some(CancelReason::ShuttingDown));
    let refused = client.wait(request).unwrap_err();
    assert!(matches!(refused, FrameClientError::Refused(_) | FrameClientError::Closed), "{refused:?}");
    eventually(is_gone);
}

#[test]
fn a_connection_that_comes_while_a_server_is_dropped_is_answered_or_ends() {
    for round in 0..100 {
        let temp = TempEndpoint::new();
        let (server, is_gone) = server(&temp);
        let running = server.start().unwrap();
        let mut client = FrameClient::connect(&temp.endpoint).unwrap();
        client.set_timeout(Some(PATIENCE));
        let at_once = Instant::now() + Duration::from_micros(round);
        while Instant::now() < at_once {
            std::hint::spin_loop();
        }
        drop(running);
        let answer = client.request(ECHO, b"x");
        assert!(!matches!(answer, Err(FrameClientError::TimedOut { .. })), "in round {round}");
        drop(client);
        eventually(is_gone);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_that_gets_too_few_threads_leaves_none_behind() {
    in_child_process(test_name!("in_a_process_of_its_own"), |_| {});
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "limits its whole process: run by another test"]
fn in_a_process_of_its_own() {
    use rustix::process::{Resource, Rlimit, Uid, geteuid, getrlimit, setrlimit};
    use rustix::thread::set_thread_res_uid;

    if !geteuid().is_root() {
        eprintln!("skipped: the other processes of this user count as well");
        return;
    }
    // The limit does not hold for root. Threads that this thread spawns have its user, who has no other processes.
    let temp = TempEndpoint::new();
    let user = Uid::from_raw(1_000_000_000 + std::process::id());
    std::os::unix::fs::chown(temp.directory.path(), Some(user.as_raw()), None).unwrap();
    set_thread_res_uid(user, user, user).unwrap();
    let maximum = getrlimit(Resource::Nproc).maximum;
    // This thread is one of them.
    for threads in 1.. {
        let (server, is_gone) = server(&temp);
        setrlimit(Resource::Nproc, Rlimit { current: Some(threads), maximum }).unwrap();
        let started = server.start();
        setrlimit(Resource::Nproc, Rlimit { current: maximum, maximum }).unwrap();
        let is_started = started.is_ok();
        assert!(matches!(started, Ok(_) | Err(ServerError::Start(_))), "{started:?}");
        drop(started);
        eventually(is_gone);
        if is_started {
            assert!(threads > 2, "it has threads of its own");
            return;
        }
    }
}
