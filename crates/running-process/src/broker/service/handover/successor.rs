//! The start of a process as the successor of the daemon that runs.

use super::channel::{Channel, Received};
use super::messages::Message;
use super::predecessor::{END_TIMEOUT, Predecessor};
use crate::broker::backend_lifecycle::identity_file::try_read_daemon_identity_file;
use crate::broker::backend_lifecycle::verify::recorded_process;
use crate::broker::service::deadline::Deadline;
use crate::broker::service::definition::Service;
use crate::broker::service::handover_error::HandoverError;
use crate::broker::service::paths::ServicePaths;
use crate::broker::service::variables;
use crate::sys::{self, ProcessHandle};
use crate::transport::{FileIdentity, HeldLock, InstanceLock, LocalListener, LocalStream};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

/// Interval of looks at the lock of a daemon that is about to end.
const INTERVAL: Duration = Duration::from_millis(10);

/// The way in which this process succeeds the daemon that ran.
pub(in crate::broker::service) enum Succeeded {
    /// The daemon has passed its endpoint.
    Endpoint(Box<Endpoint>),
    /// The daemon has ended, and this process has its lock.
    Lock { lock: InstanceLock, replacing: InstanceLock },
}

/// The endpoint of a daemon, in the hands of its successor.
pub(in crate::broker::service) struct Endpoint {
    pub(in crate::broker::service) lock: HeldLock,
    pub(in crate::broker::service) listener: LocalListener,
    pub(super) predecessor: Predecessor,
    pub(super) replacing: InstanceLock,
}

/// Takes the endpoint `path` of `service` over from the daemon that runs, if this process was started for that; otherwise returns
/// `None`.
///
/// # Errors
///
/// The daemon that runs keeps its endpoint.
pub(in crate::broker::service) fn succeed(
    service: &Service,
    paths: &ServicePaths,
    path: &str,
) -> Result<Option<Succeeded>, HandoverError> {
    if !service.is_started() || std::env::var_os(variables::HANDOVER).is_none_or(|value| value != "1") {
        return Ok(None);
    }
    let Some(replacing) = passed_lock(paths) else { return Ok(None) };
    let deadline = Deadline::after(service.start_timeout);
    match request(paths, path, replacing, deadline) {
        Ok(endpoint) => Ok(Some(Succeeded::Endpoint(Box::new(endpoint)))),
        Err((error, replacing)) => {
            // Without the endpoint of a daemon that has ended this process starts as any other.
            let lock = lock_of_ended(paths);
            lock.map(|lock| Some(Succeeded::Lock { lock, replacing })).ok_or(error)
        }
    }
}

/// Returns the lock of the replacement, which the starter has passed.
fn passed_lock(paths: &ServicePaths) -> Option<InstanceLock> {
    let number = std::env::var(variables::LOCK).ok()?.parse().ok()?;
    let found = paths.replacing().symlink_metadata().ok()?;
    let inherited = sys::inherited_lock(number, (found.dev(), found.ino())).ok()?;
    let sys::Inherited::Lock(file) = inherited else { return None };
    InstanceLock::from_file(file, &paths.replacing()).ok()
}

/// Takes the lock of the service once the daemon has ended, which it does within a moment; `None` if it does not.
fn lock_of_ended(paths: &ServicePaths) -> Option<InstanceLock> {
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        let identity = try_read_daemon_identity_file(&paths.identity_file()).ok().flatten();
        if identity.is_some_and(|identity| recorded_process(&identity).is_ok()) {
            return None;
        }
        if let Ok(Some(lock)) = InstanceLock::try_take(&paths.lock()) {
            return Some(lock);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(INTERVAL);
    }
}

/// Asks the daemon for its endpoint.
fn request(
    paths: &ServicePaths,
    path: &str,
    replacing: InstanceLock,
    deadline: Deadline,
) -> Result<Endpoint, (HandoverError, InstanceLock)> {
    let (channel, process) = match connect(paths) {
        Ok(connected) => connected,
        Err(error) => return Err((error, replacing)),
    };
    match ask(channel, &replacing, paths, path, deadline) {
        Ok((channel, lock, listener)) => {
            let predecessor = Predecessor { channel, process };
            Ok(Endpoint { lock, listener, predecessor, replacing })
        }
        Err(error) => {
            if matches!(error, HandoverError::Ended | HandoverError::Connection(_)) {
                // Its connections end a moment before it does.
                let _ends = process.wait_exit(Some(Instant::now() + END_TIMEOUT));
            }
            Err((error, replacing))
        }
    }
}

/// Connects to the daemon, and verifies that it is the one in the identity file.
pub(super) fn connect(paths: &ServicePaths) -> Result<(Channel, ProcessHandle), HandoverError> {
    let control = paths.control();
    let path = control.to_str().ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
    let stream =
        LocalStream::connect(path).map_err(|error| HandoverError::NotReached(io::Error::other(error)))?;
    let channel = Channel::new(stream);
    let process = channel.peer()?;
    let identity = try_read_daemon_identity_file(&paths.identity_file())?;
    let recorded = identity.and_then(|identity| recorded_process(&identity).ok());
    let is_same = match &recorded {
        Some(recorded) => recorded.is_same_process(&process)?,
        None => false,
    };
    if is_same {
        return Ok((channel, process));
    }
    let expected = recorded.map(|recorded| recorded.pid());
    Err(HandoverError::OtherProcess { found: process.pid(), expected })
}

pub(super) fn ask(
    mut channel: Channel,
    replacing: &InstanceLock,
    paths: &ServicePaths,
    path: &str,
    deadline: Deadline,
) -> Result<(Channel, HeldLock, LocalListener), HandoverError> {
    channel.send(&Message::Hello, &[replacing.file().as_fd()])?;
    match channel.receive(None, deadline.instant())? {
        Received::Message(Message::Take { socket: (device, inode) }, descriptors) => {
            let [lock, socket]: [OwnedFd; 2] =
                descriptors.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            let lock = InstanceLock::from_file(File::from(lock), &paths.lock())?;
            let lock = HeldLock::borrowed(lock);
            let file = FileIdentity::from_numbers(device, inode);
            let listener = LocalListener::from_handover(path, socket, file, lock.clone())?;
            Ok((channel, lock, listener))
        }
        Received::Message(Message::Refused { reason }, _) => Err(HandoverError::Refused { reason }),
        Received::Message(message, _) => {
            let text = format!("{message:?} came as the first message");
            Err(io::Error::new(io::ErrorKind::InvalidData, text).into())
        }
        Received::End | Received::Woken => Err(HandoverError::Ended),
        Received::TimedOut => Err(HandoverError::TimedOut),
    }
}
