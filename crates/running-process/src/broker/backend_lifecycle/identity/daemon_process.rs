//! The identity of a daemon.

use super::digests::ExeDigests;
use super::origin::Origin;
use crate::broker::protocol::Endpoint;
use std::path::PathBuf;

/// The identity of a daemon: paths and fixed-size digests.
///
/// All of it is public data that any process can repeat. Only what the kernel says of the process that repeats it is a
/// proof.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonProcess {
    /// The process id, as the daemon itself sees it.
    pub pid: u32,
    /// The path of the executable.
    pub exe_path: PathBuf,
    /// Digests of the executable file.
    pub exe_digests: ExeDigests,
    /// The boot of the machine in which the process runs.
    pub boot_id: String,
    /// The endpoint at which the daemon listens.
    pub ipc_endpoint: Endpoint,
    /// Wall-clock milliseconds since the Unix epoch when the identity was made: not the kernel's start time.
    pub started_at_unix_ms: u64,
    /// Seconds without work after which the daemon exits by itself.
    pub idle_timeout_secs: Option<u32>,
    /// The run of the daemon; published peers do not record it.
    pub origin: Option<Origin>,
}

impl DaemonProcess {
    /// Returns the identity of a daemon whose listening socket was made by another process, such as a service manager.
    ///
    /// Without an [`origin`](Self::origin) this changes nothing, because clients then cannot tell.
    #[must_use]
    pub fn with_inherited_listener(mut self) -> Self {
        if let Some(origin) = &mut self.origin {
            origin.inherited_listener = true;
        }
        self
    }
}
