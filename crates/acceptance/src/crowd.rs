//! What the daemon for very many connections and its clients agree on.

use std::io;

running_process::register_payload_protocol! {
    /// Answers with what it was sent.
    pub const ECHO: u32 = 0xF0EC;
    /// Answers with 64 KiB.
    pub const LARGE: u32 = 0xF0ED;
}

/// Lets this process open as many descriptors as it ever may; gives how many those are, which only Unix limits.
///
/// # Errors
///
/// What the system said.
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
