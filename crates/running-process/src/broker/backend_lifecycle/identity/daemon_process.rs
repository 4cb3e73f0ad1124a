//! The identity of a daemon.

use super::digests::ExeDigests;
use super::error::IdentityError;
use super::fronted::FrontedProcess;
use super::limits::MAX_VERSION_BYTES;
use super::origin::Origin;
use crate::broker::protocol::Endpoint;
use std::path::PathBuf;

/// The identity of a daemon: paths and fixed-size digests.
///
/// All of it is public data that any process can repeat. Only what the kernel says of the process that repeats it is a
/// proof.
///
/// ```no_run
/// use running_process::broker::backend_sdk::write_daemon_identity_file;
/// use running_process::{DaemonProcess, Endpoint};
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// // A daemon with an accept loop of its own publishes itself. `Server` does it by itself.
/// let endpoint = Endpoint::unix_socket("build", "/run/user/1000/build/socket")?;
/// let daemon = DaemonProcess::current_process(endpoint, Some(600))?;
/// write_daemon_identity_file("/run/user/1000/build/daemon.json".as_ref(), &daemon)?;
/// # Ok(()) }
/// ```
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
    pub(super) version: Option<String>,
    pub(super) build: Option<String>,
    /// The daemon to which this one relays the legacy wire; `None` if it serves that itself.
    pub fronts: Option<Box<FrontedProcess>>,
}

impl DaemonProcess {
    /// Returns the version of the daemon, at most [`MAX_VERSION_BYTES`] long; `None` if it has none, as published peers.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Returns the build of the daemon's version, at most [`MAX_VERSION_BYTES`] long; `None` if it has none, as published peers.
    #[must_use]
    pub fn build(&self) -> Option<&str> {
        self.build.as_deref()
    }

    /// Returns the identity with `version` as the version of the daemon. An empty one is none.
    ///
    /// # Errors
    ///
    /// The version is longer than [`MAX_VERSION_BYTES`], or has a control character.
    pub fn with_version(mut self, version: impl Into<String>) -> Result<Self, IdentityError> {
        self.version = checked("version", version.into())?;
        Ok(self)
    }

    /// Returns the identity with `build` as the build of the daemon's version, such as the hash of a commit. An empty one is none.
    ///
    /// # Errors
    ///
    /// The build is longer than [`MAX_VERSION_BYTES`], or has a control character.
    pub fn with_build(mut self, build: impl Into<String>) -> Result<Self, IdentityError> {
        self.build = checked("build", build.into())?;
        Ok(self)
    }

    /// Returns the identity of a daemon that relays the legacy wire to `fronted`.
    #[must_use]
    pub fn fronting(mut self, fronted: FrontedProcess) -> Self {
        self.fronts = Some(Box::new(fronted));
        self
    }

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

/// Returns the text of `field`, which people will read; `None` if it is empty.
fn checked(field: &'static str, text: String) -> Result<Option<String>, IdentityError> {
    if text.len() > MAX_VERSION_BYTES {
        return Err(IdentityError::VersionLength { field, length: text.len() });
    }
    if text.contains(char::is_control) {
        return Err(IdentityError::VersionCharacter { field, found: text });
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}
