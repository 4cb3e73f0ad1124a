//! What a server does, whatever drives it.
#![allow(clippy::duplicate_mod, reason = "that is the point: once for each driver")]

/// The tests of `servers/`, on one driver.
macro_rules! on {
    ($module:ident, $driver:ty) => {
        #[path = "servers"]
        mod $module {
            use crate::support::RunningOn;

            type Running = RunningOn<$driver>;

            mod closures;
            mod drain;
            mod full;
            mod legacy;
            mod limits;
            mod no_threads;
            #[cfg(unix)]
            mod publishing;
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

#[cfg(any())]
on!(threads, crate::daemon::Threads);
#[cfg(feature = "tokio")]
on!(tokio, crate::daemon::asynchronous::MultiThread);
#[cfg(feature = "tokio")]
on!(tokio_on_one_thread, crate::daemon::asynchronous::CurrentThread);
