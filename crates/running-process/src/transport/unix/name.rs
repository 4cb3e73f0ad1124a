//! The path of a socket.

use std::path::Path;

use rustix::net::SocketAddrUnix;

use super::super::error::NameError;

/// Longest path of a socket in bytes: the size of `sun_path` in unix(7) on Linux and unix(4) on the BSDs, less its
/// NUL.
pub(crate) const MAX_PATH_BYTES: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };

/// Returns the address of the socket at `path`, which must not be empty, contain a NUL or be too long, and must end in
/// a file name.
pub(super) fn address(path: &str) -> Result<SocketAddrUnix, NameError> {
    if path.is_empty() {
        return Err(NameError::Empty);
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(NameError::TooLong { length: path.len(), max: MAX_PATH_BYTES });
    }
    let invalid = || NameError::Invalid { name: path.to_owned() };
    if path.ends_with('/') || Path::new(path).file_name().is_none() {
        return Err(invalid());
    }
    SocketAddrUnix::new(path).map_err(|_| invalid())
}
