//! The suite that every server passes, on each driver.
#![allow(clippy::duplicate_mod, reason = "the suite is one module for each driver")]

/// Runs the tests of `servers/` on one driver.
macro_rules! on {
    ($module:ident, $driver:ty) => {
        #[path = "servers"]
        mod $module {
            type TestServer = crate::support::TestServer<$driver>;

            mod blocked;
            mod closures;
            mod drain;
            #[cfg(all(unix, feature = "tokio"))]
            mod following;
            mod full;
            mod handover;
            #[cfg(target_os = "linux")]
            mod idle;
            mod idle_exit;
            mod legacy;
            mod limits;
            mod no_threads;
            mod protocols;
            #[cfg(unix)]
            mod publishing;
            mod registration;
            mod server;
            #[cfg(unix)]
            mod signals;
            mod stats;
            mod stopping;
            mod strangers;
            mod turns;
        }
    };
}

on!(blocking, crate::daemon::Blocking);
#[cfg(unix)]
on!(own_event_loop, crate::daemon::OwnEventLoop);
#[cfg(feature = "tokio")]
on!(tokio, crate::daemon::MultiThread);
#[cfg(feature = "tokio")]
on!(tokio_on_one_thread, crate::daemon::CurrentThread);
