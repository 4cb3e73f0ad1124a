//! A front: the endpoint of a service before a daemon that speaks only its legacy wire.
//!
//! The front is the daemon of its service, and the parent of the daemon that it fronts. It answers identity probes and status
//! requests, and relays everything else to the fronted daemon without looking at it: by splice(2) on Linux.

mod address;
mod error;
mod fronted;
mod output;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod port;
mod race;
mod wire;

pub use address::{UpstreamAddress, UpstreamAddressError};
pub use error::FrontError;

use super::definition::Service;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_sdk::{AsyncServer, ConnectionConfig, ServeError, ServerConfig};
use fronted::{Fronted, FrontedBackend};
use race::unless;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Time that the connections have to end after a stop: each client's end of input is passed on to the fronted daemon, which ends its
/// connections by that.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which a client that sends nothing is connected to the fronted daemon. A daemon that speaks first is heard earlier.
const SILENCE: Duration = Duration::from_secs(1);

type Ready = Box<dyn FnOnce(&DaemonProcess) + Send>;
type Observer = Box<dyn Fn(&ServeError) + Send + Sync>;

/// The endpoint of a service before a daemon that speaks only its legacy wire, over a Unix socket or a port of the loopback device.
///
/// ```no_run
/// # use running_process::broker::service::{Front, Service};
/// # async fn front() -> Result<(), Box<dyn std::error::Error>> {
/// let service = Service::new("redis")?;
/// let address = "unix:/run/user/1000/redis.sock".parse()?;
/// let arguments = ["--unixsocket", "/run/user/1000/redis.sock", "--port", "0"];
/// Front::new(service, address, "redis-server", arguments).run().await?;
/// # Ok(()) }
/// ```
pub struct Front {
    service: Service,
    address: UpstreamAddress,
    program: PathBuf,
    arguments: Vec<OsString>,
    ready: Ready,
    observer: Observer,
}

impl Front {
    /// Returns the front of `service` before the daemon that `program` starts and that listens at `address`.
    pub fn new<A: Into<OsString>>(
        service: Service,
        address: UpstreamAddress,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            service,
            address,
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            ready: Box::new(|_| {}),
            observer: Box::new(|_| {}),
        }
    }

    /// Calls `ready` once clients can find the front, on a thread of its own.
    #[must_use]
    pub fn on_ready(mut self, ready: impl FnOnce(&DaemonProcess) + Send + 'static) -> Self {
        self.ready = Box::new(ready);
        self
    }

    /// Tells `observer` of every error of a connection. It must not block.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(&ServeError) + Send + Sync + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Makes this process the daemon of the service, starts the fronted daemon, and serves until it is stopped, is idle, or the fronted
    /// daemon ends. The fronted daemon ends with the front.
    ///
    /// # Errors
    ///
    /// The place of the service is taken, the fronted daemon does not start or has ended, a stranger listens at its address, or the
    /// server fails.
    ///
    /// # Platform-specific behavior
    ///
    /// On Linux the system kills the fronted daemon when the thread ends that polls this first, also if this process is killed.
    /// Elsewhere a fronted daemon goes on if its front is killed, and the next front is refused its address.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that drives I/O and time.
    pub async fn run(self) -> Result<(), FrontError> {
        let Self { service, address, program, arguments, ready, observer } = self;
        let (server, daemon) = AsyncServer::at_place(&service)?;
        let stop = server.stop_handle();
        let stopped = Arc::new(Notify::new());
        stop.when_stopped({
            let stopped = Arc::clone(&stopped);
            move || stopped.notify_one()
        });
        fronted::clear(&address).await?;
        let fronted = Arc::new(Fronted::start(&service, (&program, &arguments), address)?);
        daemon.at_end({
            let fronted = Arc::clone(&fronted);
            move || fronted.end()
        });
        // Before the starter gives up, so that it learns the reason.
        let within = service.start_timeout.mul_f32(0.9);
        match unless(stopped.notified(), fronted.ready(within)).await {
            Ok(ready) => ready?,
            Err(()) => return Ok(()),
        }
        let (identified, idle_timeout) = (Arc::clone(&fronted), service.idle_timeout);
        let running = server
            .identify_with(move |endpoint, go_on| {
                let front = DaemonProcess::current_process_while(endpoint, idle_timeout, go_on)?;
                Ok(front.fronting(identified.identity(go_on)?))
            })
            .relay(wire::classify, Arc::new(FrontedBackend(Arc::clone(&fronted))))
            .config(config())
            .on_ready(ready)
            .observe(observer)
            .start()?;
        let stop = running.stop_handle();
        let mut waiting = std::pin::pin!(running.wait());
        let ended = match unless(fronted.ended(), &mut waiting).await {
            Ok(ended) => return Ok(ended?),
            Err(ended) => ended?,
        };
        if stop.is_stopped() {
            return Ok(waiting.await?);
        }
        stop.stop();
        // The end of the fronted daemon is the cause of whatever fails now.
        let _drained = waiting.await;
        Err(FrontError::Ended { pid: fronted.process().pid(), status: ended })
    }
}

fn config() -> ServerConfig {
    let connection = ConnectionConfig { first_message_timeout: SILENCE, ..ConnectionConfig::default() };
    ServerConfig { drain_timeout: DRAIN_TIMEOUT, connection, ..ServerConfig::default() }
}

impl fmt::Debug for Front {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Front")
            .field("service", &self.service)
            .field("address", &self.address)
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_text_of_a_front_names_the_daemon_behind_it() {
        let address = "tcp:127.0.0.1:6379".parse().unwrap();
        let front = Front::new(Service::new("cache").unwrap(), address, "redis-server", ["--port", "6379"]);
        let text = format!("{front:?}");
        for part in ["\"cache\"", "127.0.0.1:6379", "redis-server", "--port"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
