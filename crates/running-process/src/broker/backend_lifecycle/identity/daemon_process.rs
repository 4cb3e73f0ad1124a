//! The identity of a daemon.

use super::digests::ExeDigests;
use super::origin::Origin;
use crate::broker::protocol::Endpoint;
use std::path::PathBuf;

/// Which process a daemon is: paths and fixed-size digests.
///
/// Everything in it is public data that any process can repeat. A proof is what the kernel says of the process that does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonProcess {
    /// The process id, as the daemon itself sees it.
    pub pid: u32,
    /// The path of the executable.
    pub exe_path: PathBuf,
    /// What the executable file contained.
    pub exe_digests: ExeDigests,
    /// Which boot of the machine the process belongs to.
    pub boot_id: String,
    /// Where the daemon listens.
    pub ipc_endpoint: Endpoint,
    /// Wall-clock milliseconds since the Unix epoch when the identity was made: not the kernel's start time.
    pub started_at_unix_ms: u64,
    /// Seconds without work after which the daemon exits by itself.
    pub idle_timeout_secs: Option<u32>,
    /// Which run of the daemon this is; published peers do not say.
    pub origin: Option<Origin>,
}

impl DaemonProcess {
    /// The identity of a daemon whose listening socket was made by another process, such as a service manager.
    ///
    /// Without an [`origin`](Self::origin) this changes nothing: clients then cannot tell.
    #[must_use]
    pub fn with_inherited_listener(mut self) -> Self {
        if let Some(origin) = &mut self.origin {
            origin.inherited_listener = true;
        }
        self
    }
}
