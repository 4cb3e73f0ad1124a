//! The fronted daemon: started, watched and ended by its front.

use super::address::UpstreamAddress;
use super::error::FrontError;
use super::output::Output;
#[cfg(any(target_os = "linux", target_os = "android"))]
use super::port;
use super::race::unless;
use crate::broker::backend_lifecycle::digest::{Before, DigestCache, GoOn, Wanted, digests_while};
use crate::broker::backend_lifecycle::identity::{FrontedProcess, IdentityError};
use crate::broker::backend_sdk::{Backend, Connecting};
use crate::broker::service::definition::{Service, find_program};
use crate::broker::service::interval::Interval;
use crate::broker::service::start::environment;
use crate::sys::{ChildProcess, ProcessHandle, SpawnPlan, process_image};
#[cfg(unix)]
use crate::sys::{PeerError, PidfdPolicy, peer_of, session_of};
use crate::transport::Upstream;
#[cfg(unix)]
use crate::transport::remove_stale_socket;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Time that the fronted daemon has to end when it is asked to. It fits, with the drain before it, into the time that a stop of the
/// front waits.
const GRACE: Duration = Duration::from_secs(5);
/// Time in which this machine accepts or refuses a connection, unless a backlog is full. Windows takes two seconds to refuse one.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(5);
/// The first interval between two looks at an address.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// The daemon behind a front. It ends when this is dropped.
pub(super) struct Fronted {
    child: ChildProcess,
    address: UpstreamAddress,
    output: Output,
}

impl Fronted {
    /// Starts the program, which is to listen at `address`. Its output goes to that of this process.
    pub(super) fn start(
        service: &Service,
        (program, arguments): (&Path, &[OsString]),
        address: UpstreamAddress,
    ) -> Result<Self, FrontError> {
        let unknown = || FrontError::NoProgram { program: program.to_owned() };
        let program = find_program(program).ok_or_else(unknown)?;
        let environment = environment::of_fronted(service);
        let (output, log) = Output::pass_on().map_err(FrontError::NotWatched)?;
        let directory = service.directory.clone().unwrap_or_else(environment::default_directory);
        let plan = SpawnPlan {
            program: &program,
            arguments,
            environment: &environment,
            directory: &directory,
            log: &log,
            lock: None,
        };
        let child = ChildProcess::spawn(&plan)
            .map_err(|source| FrontError::NotStarted { program: program.clone(), source })?;
        Ok(Self { child, address, output })
    }

    pub(super) fn process(&self) -> &ProcessHandle {
        self.child.process()
    }

    /// Waits until the fronted daemon listens.
    pub(super) async fn ready(&self, within: Duration) -> Result<(), FrontError> {
        let looks = async {
            let mut interval = Interval::from(FIRST_LOOK);
            loop {
                match self.connect().await {
                    // The kernel names the listener of each connection to a Unix socket, and that of a port is looked up once.
                    Ok(_) => return self.check_port(),
                    Err(error) => match error.downcast::<FrontError>() {
                        Ok(stranger) => return Err(stranger),
                        Err(_) => sleep(interval.next()).await,
                    },
                }
            }
        };
        match unless(self.ended(), timeout(within, looks)).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(_)) => Err(FrontError::NotReady { address: self.address.clone(), waited: within }),
            Err(status) => Err(FrontError::EndedEarly { address: self.address.clone(), status: status? }),
        }
    }

    /// Waits until the fronted daemon has ended, and returns how.
    pub(super) async fn ended(&self) -> Result<ExitStatus, FrontError> {
        self.process().exited().await.and_then(|()| self.child.wait()).map_err(FrontError::NotWatched)
    }

    /// Ends the fronted daemon: asks it to, and kills it if it does not. Returns once it has ended and its output is passed on.
    pub(super) fn end(&self) {
        // Fails only if the process has ended.
        let _asked = self.process().terminate();
        if !self.process().wait_exit(Instant::now().checked_add(GRACE)).unwrap_or(false) {
            let _killed = self.process().kill();
        }
        let _reaped = self.child.wait();
        self.output.finish();
    }

    /// Connects to the fronted daemon, and checks that it is the process that listens there, or one of its session.
    ///
    /// # Errors
    ///
    /// The error of the system, or one that wraps [`FrontError::Occupied`].
    async fn connect(&self) -> io::Result<Upstream> {
        let mut interval = Interval::from(FIRST_LOOK);
        let upstream = loop {
            match self.address.connect().await {
                // The backlog is full; a client that connects by itself waits as well.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(interval.next()).await,
                connected => break connected?,
            }
        };
        #[cfg(unix)]
        if let Some(socket) = upstream.unix_socket() {
            match peer_of(socket, PidfdPolicy::Use) {
                Ok(peer) if self.owns(&peer.process)? => {}
                Ok(peer) => return Err(io::Error::other(occupied(&self.address, Some(&peer.process)))),
                // The system does not tell.
                Err(PeerError::Unsupported) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(upstream)
    }

    /// Returns whether `process` belongs to the fronted daemon, which made a session of its own.
    #[cfg(unix)]
    fn owns(&self, process: &ProcessHandle) -> io::Result<bool> {
        let own = self.process();
        Ok(process.is_same_process(own)? || session_of(process.pid()) == Some(own.pid()))
    }

    /// Checks that the process that listens at the address, if that is a port, belongs to the fronted daemon. Where the system does not
    /// name it, it is taken to.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "other systems name no process")
    )]
    fn check_port(&self) -> Result<(), FrontError> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let UpstreamAddress::Tcp(address) = self.address
            && let Some(listener) = port::listener_of(address, Some(self.process().pid())).ok().flatten()
            && !self.owns(&listener).map_err(FrontError::NotWatched)?
        {
            return Err(occupied(&self.address, Some(&listener)));
        }
        Ok(())
    }

    /// Returns what the identity of the front tells of the fronted daemon: its executable is read through its handle.
    pub(super) fn identity(&self, go_on: &GoOn<'_>) -> Result<FrontedProcess, IdentityError> {
        let process = self.process();
        let read = || {
            let (start_time, before) = (process.start_time()?, Before::now());
            let image = process.open_image()?;
            let cache = DigestCache::of_process();
            let exe_digests = match cache.find(&image.file.metadata()?, Wanted::Blake3) {
                Some(digests) => digests,
                None => {
                    let read = digests_while(&image.file, Wanted::Blake3, go_on)?;
                    cache.keep(&image.file, &read, process, before);
                    read.digests
                }
            };
            let exe_blake3 = *exe_digests.blake3().ok_or(io::ErrorKind::InvalidData)?;
            Ok(FrontedProcess { pid: process.pid(), start_time, exe_path: image.path, exe_blake3 })
        };
        read().map_err(IdentityError::Fronted)
    }
}

/// Refuses an address at which a process listens before the fronted daemon is started, and removes a socket at which none does.
pub(super) async fn clear(address: &UpstreamAddress) -> Result<(), FrontError> {
    let stranger = match timeout(CLEAR_TIMEOUT, address.connect()).await {
        Ok(Ok(upstream)) => listener_of(address, Some(&upstream)),
        // Its backlog is full.
        Err(_) => listener_of(address, None),
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
        #[cfg(unix)]
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            if let UpstreamAddress::Unix(path) = address {
                // A daemon that cannot bind then says so.
                let _best_effort = remove_stale_socket(path);
            }
            return Ok(());
        }
        Ok(Err(_)) => return Ok(()),
    };
    Err(occupied(address, stranger.as_ref()))
}

/// Returns the error for `process`, which listens at `address` and is not the fronted daemon.
fn occupied(address: &UpstreamAddress, process: Option<&ProcessHandle>) -> FrontError {
    let image = process.and_then(|process| process_image(process).ok());
    FrontError::Occupied { address: address.clone(), pid: process.map(ProcessHandle::pid), image }
}

/// Returns the process that listens at the address, to which `upstream` is a connection, as far as the system names it.
#[cfg_attr(not(unix), allow(unused_variables, reason = "Windows names no process"))]
fn listener_of(address: &UpstreamAddress, upstream: Option<&Upstream>) -> Option<ProcessHandle> {
    match address {
        #[cfg(unix)]
        UpstreamAddress::Unix(_) => Some(peer_of(upstream?.unix_socket()?, PidfdPolicy::Use).ok()?.process),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        UpstreamAddress::Tcp(address) => port::listener_of(*address, None).ok()?,
        #[allow(unreachable_patterns, reason = "Linux names both")]
        _ => None,
    }
}

/// The fronted daemon, as the server connects to it.
pub(super) struct FrontedBackend(pub(super) Arc<Fronted>);

impl Backend for FrontedBackend {
    fn connect(&self) -> Connecting {
        let fronted = Arc::clone(&self.0);
        Box::pin(async move { fronted.connect().await })
    }
}
