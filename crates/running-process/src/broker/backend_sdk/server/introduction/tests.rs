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
    // What was begun has ended once nobody is left to call the hook.
    let hook = test.ready.recv_timeout(drivers::PATIENCE);
    assert_eq!(hook, Err(mpsc::RecvTimeoutError::Disconnected));
    assert_eq!(read_daemon_identity_file(&test.record), Some(record));
}
