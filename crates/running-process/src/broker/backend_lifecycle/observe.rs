//! What the operating system says of a process, without judging it.

use crate::sys;
use std::io;
use std::path::PathBuf;

/// Facts about a process at one moment, from the operating system and not from the process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessObservation {
    /// Whether a process with the pid exists and has not exited; a zombie has.
    pub alive: bool,
    /// What the file that the process runs is called now; `None` where the system does not tell or the process is gone.
    /// It is evidence for people: a genuine daemon's file may have been moved since it started.
    pub image: Option<PathBuf>,
    /// Which boot of the machine this is.
    pub boot_id: String,
}

/// Looks at the process `pid` of this machine.
///
/// # Errors
///
/// The operating system refuses to tell, which says nothing about the process.
pub fn observe(pid: u32) -> io::Result<ProcessObservation> {
    let process = sys::ProcessHandle::open(pid)?;
    let image = process.as_ref().and_then(|process| sys::process_image(process).ok());
    let alive = match process {
        Some(process) => !process.has_exited()?,
        None => false,
    };
    Ok(ProcessObservation { alive, image, boot_id: sys::boot_id()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_runs_this_test() {
        let observed = observe(std::process::id()).unwrap();
        assert!(observed.alive);
        assert_eq!(observed.image, std::env::current_exe().ok());
    }

    #[test]
    fn a_process_that_does_not_exist_is_not_alive() {
        let observed = observe(u32::MAX).unwrap();
        assert_eq!((observed.alive, observed.image), (false, None));
    }
}
