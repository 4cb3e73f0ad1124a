//! The meaning of an error of accept(2): it concerns one connection, the process, or the listener.

use std::io;
use std::time::Duration;

/// Time for which accepting pauses, unless a connection ends, when the process is out of descriptors or errors repeat.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The next step of accepting after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterError {
    /// Accept the next connection.
    AtOnce,
    /// Accept nothing until a connection has ended, or for [`ACCEPT_PAUSE`].
    Pause,
}

/// The errors since the last connection that was accepted, for a driver that accepts connections.
#[derive(Debug, Default)]
pub struct AcceptErrors {
    any: bool,
}

impl AcceptErrors {
    /// Forgets the errors: a connection was accepted.
    pub fn forget(&mut self) {
        self.any = false;
    }

    /// Returns `error`, for the observer, and how accepting goes on after it. An error of one connection costs no time,
    /// unless it repeats: the connection may still wait to be accepted.
    ///
    /// # Errors
    ///
    /// The listener is broken: `error` ends the server.
    pub fn judge(&mut self, error: io::Error) -> io::Result<(io::Error, AfterError)> {
        let repeats = std::mem::replace(&mut self.any, true);
        match fault(&error) {
            Fault::Listener => Err(error),
            Fault::Connection if !repeats => Ok((error, AfterError::AtOnce)),
            Fault::Connection | Fault::Exhausted => Ok((error, AfterError::Pause)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The listener accepts no more connections.
    Listener,
    /// Accepting may work again once something else ends.
    Exhausted,
    /// The error concerns one connection.
    Connection,
}

/// Judges `error` by accept(2) of Linux, FreeBSD and macOS. Any other error, such as one of a security module or a filter, concerns
/// one connection.
#[cfg(unix)]
fn fault(error: &io::Error) -> Fault {
    use rustix::io::Errno;

    match Errno::from_io_error(error) {
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::FAULT | Errno::OPNOTSUPP) => {
            Fault::Listener
        }
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Fault::Exhausted,
        Some(_) => Fault::Connection,
        None => not_of_the_system(error),
    }
}

/// Judges `error` by the errors of `CreateNamedPipeW`, `ConnectNamedPipe` and waiting.
#[cfg(windows)]
fn fault(error: &io::Error) -> Fault {
    use windows_sys::Win32::Foundation::{
        ERROR_COMMITMENT_LIMIT, ERROR_INVALID_HANDLE, ERROR_INVALID_NAME, ERROR_INVALID_PARAMETER,
        ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_ENOUGH_QUOTA, ERROR_OUTOFMEMORY,
        ERROR_PIPE_BUSY, ERROR_TOO_MANY_OPEN_FILES,
    };

    match error.raw_os_error().map(i32::cast_unsigned) {
        Some(ERROR_INVALID_HANDLE | ERROR_INVALID_PARAMETER | ERROR_INVALID_NAME) => Fault::Listener,
        Some(
            ERROR_TOO_MANY_OPEN_FILES
            | ERROR_NOT_ENOUGH_MEMORY
            | ERROR_OUTOFMEMORY
            | ERROR_NO_SYSTEM_RESOURCES
            | ERROR_NOT_ENOUGH_QUOTA
            | ERROR_COMMITMENT_LIMIT
            | ERROR_PIPE_BUSY,
        ) => Fault::Exhausted,
        Some(_) => Fault::Connection,
        None => not_of_the_system(error),
    }
}

/// Judges an error that is not the system's. The transport reports a connection that it cannot prepare as aborted; any other
/// such error comes from a runtime that ends.
fn not_of_the_system(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionAborted => Fault::Connection,
        _ => Fault::Listener,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::io::Errno;

    /// Returns the next steps after two errors in a row.
    fn twice(errno: Errno) -> [Option<AfterError>; 2] {
        let mut errors = AcceptErrors::default();
        [(), ()].map(|()| errors.judge(errno.into()).ok().map(|(_, after)| after))
    }

    #[test]
    fn only_a_broken_listener_ends_accepting() {
        for errno in [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::FAULT, Errno::OPNOTSUPP] {
            assert_eq!(twice(errno), [None; 2], "{errno}");
        }
    }

    #[test]
    fn an_error_of_one_connection_pauses_accepting_once_it_repeats() {
        let of_connections = [
            Errno::PERM,
            Errno::ACCESS,
            Errno::PROTO,
            Errno::CONNABORTED,
            Errno::NETDOWN,
            Errno::NOPROTOOPT,
            Errno::HOSTDOWN,
            Errno::HOSTUNREACH,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
        ];
        for errno in of_connections {
            assert_eq!(twice(errno), [Some(AfterError::AtOnce), Some(AfterError::Pause)], "{errno}");
        }
        let mut errors = AcceptErrors::default();
        for _ in 0..3 {
            let (_, after) = errors.judge(io::ErrorKind::ConnectionAborted.into()).unwrap();
            assert_eq!(after, AfterError::AtOnce);
            errors.forget();
        }
    }

    #[test]
    fn a_process_that_is_out_of_a_resource_pauses_at_once() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(twice(errno), [Some(AfterError::Pause); 2], "{errno}");
        }
    }
}
