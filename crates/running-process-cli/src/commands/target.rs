//! What `call` and `load` share: the daemon that is asked, and what may be asked of it.

use super::{identity_file, probe};
use crate::cli::TargetArgs;
use crate::failure::Failure;
use crate::failure::advice::{self, Asked};
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::backend_sdk::FrameClientError;
use running_process::broker::protocol::{FramingError, MAX_FRAME_BYTES, registry};
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

/// A daemon as its identity file describes it, and the payload protocol of the requests.
pub(super) struct Target {
    pub(super) daemon: DaemonProcess,
    pub(super) protocol: u32,
    policy: Policy,
}

impl Target {
    pub(super) fn find(arguments: &TargetArgs) -> Result<Self, Failure> {
        let protocol = arguments.protocol;
        if registry::is_first_party(protocol) {
            return Err(Failure::usage(format!(
                "payload protocol 0x{protocol:04X} belongs to the wire itself"
            ))
            .hint("name one that the daemon serves; the demo's cache is 0xF0CA"));
        }
        let daemon = identity_file::read(&arguments.identity_file)?;
        Ok(Self { daemon, protocol, policy: arguments.policy.policy() })
    }

    pub(super) fn prove(&self, deadline: Instant) -> Result<BackendHandle, Failure> {
        BackendHandle::verify(&self.daemon, self.policy.clone(), deadline).map_err(|error| {
            probe::failure(error).context("nothing was sent: the daemon did not prove itself")
        })
    }

    /// Returns the context of advice about a request; `patience` is the option that sets the wait for its response.
    pub(super) fn asked(&self, patience: &'static str) -> Asked {
        Asked { protocol: self.protocol, patience }
    }
}

/// Returns the failure of a request that no frame can carry.
pub(super) fn too_large(error: FramingError) -> Failure {
    let error = FrameClientError::Request(Arc::new(error));
    let advice = advice::request(&error, Asked { protocol: 0, patience: "" });
    Failure::new(error, advice)
}

/// One byte more than a frame carries, so that a larger payload is noticed.
pub(super) fn payload_from_stdin() -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    std::io::stdin()
        .take(MAX_FRAME_BYTES as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|error| Failure::from(error).context("the payload cannot be read from standard input"))?;
    Ok(payload)
}
