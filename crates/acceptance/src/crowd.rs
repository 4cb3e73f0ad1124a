//! Constants of the daemon for very many connections and its clients.

use std::io;

running_process::register_payload_protocol! {
    /// The protocol that returns the payload of the request.
    pub const ECHO: u32 = 0xF0EC;
    /// The protocol that returns 64 KiB.
    pub const LARGE: u32 = 0xF0ED;
}

/// Raises the limit of open descriptors of this process as far as possible, and returns it; only Unix has one.
///
/// # Errors
///
/// The error of the system.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
        Ok(maximum.unwrap_or(u64::MAX))
    }
    #[cfg(not(unix))]
    Ok(u64::MAX)
}
