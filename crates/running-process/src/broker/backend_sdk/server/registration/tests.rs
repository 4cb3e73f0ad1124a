//! What a server does while it does not know who it is yet, whatever drives it.

#![allow(clippy::duplicate_mod, reason = "that is the point: once for each driver")]

mod drivers;

/// The tests of `tests/suite.rs`, on one driver.
macro_rules! on {
    ($module:ident, $driver:ty) => {
        #[path = "tests"]
        mod $module {
            type Served = super::drivers::ServedBy<$driver>;

            mod suite;
        }
    };
}

on!(threads, super::drivers::Threads);
#[cfg(feature = "tokio")]
on!(tokio, super::drivers::tasks::MultiThread);
#[cfg(feature = "tokio")]
on!(tokio_on_one_thread, super::drivers::tasks::CurrentThread);

/// An inline handler that does not return holds up its own connection only: the probes of others are answered once the
/// identity is known, and the hook is called.
fn a_connection_that_is_held_holds_up_no_probe_and_no_hook<D: drivers::Driver>() {
    use drivers::{HOLD, Verdict, identity_in, next, probe, read_frames, request, write};
    use std::sync::{Mutex, mpsc};

    let ((report, is_held), (go_on, gate)) = (mpsc::channel(), mpsc::channel::<()>());
    let (report, gate) = (Mutex::new(report), Mutex::new(gate));
    let server = drivers::ServedBy::<D>::start_with(|plan| {
        plan.hold = Box::new(move || {
            report.lock().unwrap().send(()).unwrap();
            let _ = gate.lock().unwrap().recv_timeout(drivers::PATIENCE * 3);
        });
    });
    let waits = server.connect();
    write(&waits, &probe(1));
    let held = server.connect();
    write(&held, &[request(HOLD, 1, b""), probe(2)].concat());
    next(&is_held);
    server.verdict.send(Verdict::Known).unwrap();
    let answered = identity_in(&read_frames(&waits, 1)[0]);
    assert_eq!(next(&server.ready), answered);
    drop(go_on);
    assert_eq!(identity_in(&read_frames(&held, 2)[1]), answered);
}

#[test]
fn a_connection_that_is_held_holds_up_no_probe_and_no_hook_on_threads() {
    a_connection_that_is_held_holds_up_no_probe_and_no_hook::<drivers::Threads>();
}

#[cfg(feature = "tokio")]
#[test]
fn a_connection_that_is_held_holds_up_no_probe_and_no_hook_on_tokio() {
    a_connection_that_is_held_holds_up_no_probe_and_no_hook::<drivers::tasks::MultiThread>();
}

#[cfg(feature = "tokio")]
#[test]
fn a_server_that_was_dropped_leaves_the_record_of_its_successor_alone() {
    use crate::broker::backend_lifecycle::identity::DaemonProcess;
    use crate::broker::backend_sdk::{read_daemon_identity_file, write_daemon_identity_file};
    use crate::transport::LocalListener;
    use std::sync::mpsc;

    let (report, is_reading) = mpsc::channel();
    let (go_on, gate) = mpsc::channel();
    let (mut plan, test) = drivers::plan();
    plan.identify = Box::new(move |endpoint, _| {
        report.send(()).unwrap();
        drivers::next(&gate);
        DaemonProcess::current_process(endpoint, None)
    });
    let runtime =
        ::tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = runtime.spawn(drivers::tasks::server(plan).run());
    drivers::next(&is_reading);
    running.abort();
    assert!(runtime.block_on(running).unwrap_err().is_cancelled());
    let _successor = LocalListener::bind(&test.endpoint.path).unwrap();
    let mut record = DaemonProcess::current_process(test.endpoint.clone(), None).unwrap();
    record.started_at_unix_ms += 1;
    write_daemon_identity_file(&test.record, &record).unwrap();
    go_on.send(()).unwrap();
    // The registration has ended once the sender of the hook is gone.
    let hook = test.ready.recv_timeout(drivers::PATIENCE);
    assert_eq!(hook, Err(mpsc::RecvTimeoutError::Disconnected));
    assert_eq!(read_daemon_identity_file(&test.record), Some(record));
}
