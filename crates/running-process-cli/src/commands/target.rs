//! The target of requests: a daemon and a payload protocol.

use super::{identity_file, probe};
use crate::cli::TargetArgs;
use crate::failure::Failure;
use crate::failure::advice::{self, RequestContext};
use crate::services;
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::backend_sdk::FrameClientError;
use running_process::broker::protocol::{FramingError, MAX_FRAME_BYTES, registry};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// A daemon as its identity file describes it, and the payload protocol of the requests.
pub(super) struct Target {
    identity_file: PathBuf,
    pub(super) daemon: DaemonProcess,
    pub(super) protocol: u32,
    policy: Policy,
}

impl Target {
    /// Reads the identity file.
    pub(super) fn find(arguments: &TargetArgs) -> Result<Self, Failure> {
        let protocol = arguments.protocol;
        if registry::is_first_party(protocol) {
            return Err(Failure::usage(format!(
                "payload protocol 0x{protocol:04X} is reserved for the wire itself"
            ))
            .hint("choose a protocol that the daemon serves, such as 0xF0CA of the demo's cache"));
        }
        let identity_file = services::identity_file(&arguments.identity_file)?;
        let daemon = identity_file::read(&identity_file)?;
        Ok(Self { identity_file, daemon, protocol, policy: arguments.policy.policy() })
    }

    /// Connects to the daemon that the identity file names now, and verifies it.
    pub(super) fn prove(&mut self, deadline: Instant) -> Result<BackendHandle, Failure> {
        let verify = |daemon: &DaemonProcess| BackendHandle::verify(daemon, self.policy.clone(), deadline);
        let (daemon, verified) =
            identity_file::verified(&self.identity_file, deadline, verify, |error| error)?;
        self.daemon = daemon;
        verified.map_err(|error| {
            probe::unproven(error, &self.daemon).context("nothing was sent: the daemon could not be verified")
        })
    }

    /// Returns the context of advice about a request; `timeout_option` is the option that sets the time to wait for
    /// its response.
    pub(super) fn request_context(&self, timeout_option: &'static str) -> RequestContext {
        RequestContext { protocol: self.protocol, timeout_option }
    }
}

/// Returns the failure of a request that no frame can carry.
pub(super) fn too_large(error: FramingError) -> Failure {
    let error = FrameClientError::Request(Arc::new(error));
    let advice = advice::request(&error, RequestContext { protocol: 0, timeout_option: "" });
    Failure::new(error, advice)
}

/// Reads a payload from standard input: at most one byte more than a frame carries, so that a larger one is refused.
pub(super) fn payload_from_stdin() -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    std::io::stdin()
        .take(MAX_FRAME_BYTES as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|error| Failure::from(error).context("the payload cannot be read from standard input"))?;
    Ok(payload)
}
