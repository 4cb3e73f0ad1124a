//! The description of a daemon, and of its end.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

/// The program of a daemon, and everything that it is given. The daemon has no other descriptors, variables or signal
/// settings of its starter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpawnPlan<'a> {
    /// The executable, an absolute path. It is also the first of the daemon's arguments.
    pub program: &'a Path,
    /// The arguments that follow.
    pub arguments: &'a [OsString],
    /// All variables of the environment. A name is not empty and contains no `=`.
    pub environment: &'a [(OsString, OsString)],
    /// The working directory.
    pub directory: &'a Path,
    /// Standard output and standard error. The caller opens it for appending.
    pub log: &'a File,
    /// A file that becomes the daemon's descriptor 3 and stays open in the programs that the daemon runs. Windows ignores
    /// it.
    #[cfg_attr(windows, expect(dead_code, reason = "the system passes no lock to a child"))]
    pub lock: Option<&'a File>,
}

/// The end of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessEnd {
    /// It exited with this status: 0 to 255 on Unix.
    Exited(i32),
    /// A signal ended it.
    #[cfg_attr(windows, expect(dead_code, reason = "the system has no signals"))]
    Signaled {
        /// The number of the signal.
        signal: i32,
        /// The system wrote a core file.
        core: bool,
    },
    /// It ended, and the system does not tell how: the launcher was killed.
    #[cfg_attr(windows, expect(dead_code, reason = "the system always tells"))]
    Unknown,
}
