//! The memory of a server in a process of its own, as the system counts it, under hostile peers.
#![allow(clippy::duplicate_mod, reason = "that is the point: once for each driver")]

mod child;

/// The tests of `memory/`, on one driver.
macro_rules! on {
    ($module:ident, $driver:ty) => {
        #[path = "memory"]
        mod $module {
            type Driver = $driver;
            /// Name of the test that is the daemon of the others.
            const DAEMON: &str = concat!("memory::", stringify!($module), "::cases::daemon");

            mod cases;
        }
    };
}

#[cfg(any())]
on!(threads, crate::daemon::Threads);
#[cfg(feature = "tokio")]
on!(tokio, crate::daemon::asynchronous::MultiThread);
#[cfg(feature = "tokio")]
on!(tokio_on_one_thread, crate::daemon::asynchronous::CurrentThread);
