//! Taking the listening socket that a service manager made and passed.

use std::ffi::OsStr;
use std::io;
#[cfg(any(test, target_vendor = "apple"))]
use std::os::fd::AsFd;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, getsockname, sockopt};

use super::super::error::{BindError, InheritedFault};
use super::name;
use crate::sys::{Passed, PassedDescriptors};

/// Takes the passed socket that listens at `path`. It then does not block, and children do not inherit it.
pub(super) fn take(path: &str) -> Result<OwnedFd, BindError> {
    name::address(path)?;
    let failed = |error: io::Error| BindError::Io { path: path.to_owned(), source: Arc::new(error) };
    let passed = PassedDescriptors::to_this_process()
        .map_err(|source| BindError::NotInherited { path: path.to_owned(), source })?;
    let mut candidates = Vec::new();
    for number in passed.numbers() {
        let (bound, state) = inspect(&passed.get(number)).map_err(|errno| failed(errno.into()))?;
        candidates.push(Candidate { number, bound, state });
        if state == State::Unusable(InheritedFault::NotOpen) {
            // The announced count is wrong, and may be any number.
            break;
        }
    }
    let number = choose(path, &candidates)?;
    let socket = passed.take(number, PathBuf::from(path));
    let socket = socket.ok_or_else(|| BindError::AlreadyInherited { path: path.to_owned() })?;
    prepare(&socket).map_err(|errno| failed(errno.into()))?;
    Ok(socket)
}

/// Takes the socket that listens at `path` as [`take`] does, on macOS also one that launchd passes under the name
/// `socket`.
pub(crate) fn take_passed(path: &str) -> Result<OwnedFd, BindError> {
    #[cfg(target_vendor = "apple")]
    if let Ok(sockets) = crate::sys::launchd_sockets(crate::sys::LAUNCHD_SOCKET) {
        let ours = |socket: &OwnedFd| listens_at(socket.as_fd(), Path::new(path)).unwrap_or(false);
        if let Some(socket) = sockets.into_iter().find(ours) {
            let failed =
                |errno: Errno| BindError::Io { path: path.to_owned(), source: Arc::new(errno.into()) };
            prepare(&socket).map_err(failed)?;
            return Ok(socket);
        }
    }
    take(path)
}

/// Makes the socket one that does not block and that children do not inherit.
fn prepare(socket: &OwnedFd) -> Result<(), Errno> {
    fcntl_setfd(socket, FdFlags::CLOEXEC).and_then(|()| ioctl_fionbio(socket, true))
}

/// An announced descriptor.
struct Candidate {
    number: RawFd,
    /// The path that it is bound to, if it is a Unix-domain socket with a path.
    bound: Option<PathBuf>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Listens,
    Taken,
    Unusable(InheritedFault),
}

fn inspect(passed: &Passed<'_>) -> Result<(Option<PathBuf>, State), Errno> {
    match passed {
        Passed::Free(descriptor) => inspect_descriptor(*descriptor),
        Passed::Taken(path) => Ok((Some(path.to_path_buf()), State::Taken)),
        Passed::NotOpen => Ok((None, State::Unusable(InheritedFault::NotOpen))),
        Passed::CloseOnExec => Ok((None, State::Unusable(InheritedFault::CloseOnExec))),
    }
}

/// Returns whether `socket` listens at `path`.
pub(super) fn listens_at(socket: BorrowedFd<'_>, path: &Path) -> Result<bool, Errno> {
    let (bound, state) = inspect_descriptor(socket)?;
    Ok(state == State::Listens && bound.as_deref() == Some(path))
}

fn inspect_descriptor(descriptor: BorrowedFd<'_>) -> Result<(Option<PathBuf>, State), Errno> {
    let address = match getsockname(descriptor) {
        Ok(address) => address,
        Err(Errno::NOTSOCK) => return Ok((None, State::Unusable(InheritedFault::NotASocket))),
        Err(error) => return Err(error),
    };
    if address.address_family() != AddressFamily::UNIX {
        return Ok((None, State::Unusable(InheritedFault::NotLocal)));
    }
    let address = SocketAddrUnix::try_from(address)?;
    let bound = address.path().map(|path| PathBuf::from(OsStr::from_bytes(path.to_bytes())));
    let state = if sockopt::socket_type(descriptor)? != SocketType::STREAM {
        State::Unusable(InheritedFault::NotAStream)
    } else if !listens(descriptor)? {
        State::Unusable(InheritedFault::NotListening)
    } else if bound.is_none() {
        State::Unusable(InheritedFault::NoPath)
    } else {
        State::Listens
    };
    Ok((bound, state))
}

#[cfg(not(target_vendor = "apple"))]
fn listens(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    sockopt::socket_acceptconn(socket)
}

/// Returns `true`: the system has no such option. Accepting from a socket that does not listen fails at once.
#[cfg(target_vendor = "apple")]
#[expect(clippy::unnecessary_wraps, reason = "as on the other systems")]
fn listens(_socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(true)
}

/// Returns the number of the candidate that listens at `path`, or the reason why there is none.
fn choose(path: &str, candidates: &[Candidate]) -> Result<RawFd, BindError> {
    let asked = Path::new(path);
    let path = path.to_owned();
    let mut ours: Vec<&Candidate> =
        candidates.iter().filter(|candidate| candidate.bound.as_deref() == Some(asked)).collect();
    // A connection that was accepted from the listener bears its name, too.
    ours.sort_by_key(|candidate| candidate.state != State::Listens);
    let Some(found) = ours.first() else {
        let usable = candidates.iter().filter(|candidate| !matches!(candidate.state, State::Unusable(_)));
        let passed: Vec<PathBuf> = usable.filter_map(|candidate| candidate.bound.clone()).collect();
        let fault = candidates.iter().find_map(|candidate| match candidate.state {
            State::Unusable(fault) => Some((candidate.number, fault)),
            State::Listens | State::Taken => None,
        });
        return Err(match fault {
            Some((descriptor, fault)) if passed.is_empty() => {
                BindError::InheritedUnusable { path, descriptor, fault }
            }
            _ => BindError::InheritedElsewhere { path, passed },
        });
    };
    match found.state {
        State::Listens => Ok(found.number),
        State::Taken => Err(BindError::AlreadyInherited { path }),
        State::Unusable(fault) => Err(BindError::InheritedUnusable { path, descriptor: found.number, fault }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: RawFd, bound: Option<&str>, state: State) -> Candidate {
        Candidate { number, bound: bound.map(PathBuf::from), state }
    }

    #[test]
    fn of_several_the_one_that_listens_at_the_path_is_chosen() {
        let several = [
            candidate(3, None, State::Unusable(InheritedFault::NotLocal)),
            candidate(4, Some("/run/b"), State::Unusable(InheritedFault::NotListening)),
            candidate(5, Some("/run/a"), State::Listens),
            candidate(6, Some("/run/b"), State::Listens),
            candidate(7, Some("/run/c"), State::Taken),
            candidate(8, Some("/run/d"), State::Unusable(InheritedFault::NotAStream)),
        ];
        assert_eq!(choose("/run/a", &several).unwrap(), 5);
        assert_eq!(choose("/run/b", &several).unwrap(), 6);
        assert!(matches!(choose("/run/c", &several), Err(BindError::AlreadyInherited { .. })));
        let unusable = choose("/run/d", &several);
        assert!(matches!(unusable, Err(BindError::InheritedUnusable { descriptor: 8, .. })), "{unusable:?}");
        let elsewhere = choose("/run/e", &several).unwrap_err().to_string();
        assert_eq!(
            elsewhere,
            r#"the service manager listens at "/run/a", "/run/b", "/run/c", not at "/run/e""#
        );
    }

    #[test]
    fn where_nothing_listens_the_first_fault_is_told() {
        let two = [
            candidate(3, None, State::Unusable(InheritedFault::NotLocal)),
            candidate(4, None, State::Unusable(InheritedFault::NotASocket)),
        ];
        let unusable = choose("/run/a", &two).unwrap_err().to_string();
        assert_eq!(unusable, r#"descriptor 3, passed for "/run/a", is not a Unix-domain socket"#);
    }

    /// Returns the state that `inspect_descriptor` finds, after checking the path.
    #[track_caller]
    fn state(descriptor: &impl AsFd, bound: Option<&Path>) -> State {
        let (found, state) = inspect_descriptor(descriptor.as_fd()).unwrap();
        assert_eq!(found.as_deref(), bound);
        state
    }

    #[test]
    fn a_descriptor_is_a_listener_with_a_path_or_has_a_fault() {
        use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let accepted = (UnixStream::connect(&path).unwrap(), listener.accept().unwrap().0);
        let datagram = UnixDatagram::bind(directory.path().join("d")).unwrap();
        let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(state(&listener, Some(&path)) == State::Listens);
        let faults = [
            (state(&file, None), InheritedFault::NotASocket),
            (state(&elsewhere, None), InheritedFault::NotLocal),
            (state(&datagram, Some(&directory.path().join("d"))), InheritedFault::NotAStream),
            #[cfg(not(target_vendor = "apple"))]
            (state(&accepted.1, Some(&path)), InheritedFault::NotListening),
        ];
        for (state, fault) in faults {
            assert!(state == State::Unusable(fault), "{fault}");
        }
        drop(accepted);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_listener_in_the_abstract_namespace_has_no_path() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixListener};

        let name = format!("running-process-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        assert!(state(&listener, None) == State::Unusable(InheritedFault::NoPath));
    }
}
