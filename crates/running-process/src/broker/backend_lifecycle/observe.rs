//! What the operating system says of a process, without judging it.

use crate::sys;
use std::io;

/// Facts about a process at one moment, from the operating system and not from the process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessObservation {
    /// Whether a process with the pid exists and has not exited; a zombie has.
    pub alive: bool,
    /// Which boot of the machine this is.
    pub boot_id: String,
}

/// Looks at the process `pid` of this machine.
///
/// # Errors
///
/// The operating system refuses to tell, which says nothing about the process.
pub fn observe(pid: u32) -> io::Result<ProcessObservation> {
    let alive = match sys::ProcessHandle::open(pid)? {
        Some(process) => !process.has_exited()?,
        None => false,
    };
    Ok(ProcessObservation { alive, boot_id: sys::boot_id()? })
}
