//! The memory of a server under hostile peers. The server is a process of its own, whose memory the system reports.
#![allow(clippy::duplicate_mod, reason = "the suite is one module for each driver")]

mod child;

/// Runs the tests of `memory/` on one driver.
macro_rules! on {
    ($module:ident, $driver:ty) => {
        #[path = "memory"]
        mod $module {
            type Driver = $driver;

            mod cases;
        }
    };
}

on!(blocking, crate::daemon::Blocking);
on!(own_event_loop, crate::daemon::OwnEventLoop);
#[cfg(feature = "tokio")]
on!(tokio, crate::daemon::MultiThread);
#[cfg(feature = "tokio")]
on!(tokio_on_one_thread, crate::daemon::CurrentThread);
