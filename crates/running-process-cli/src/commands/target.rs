//! What `call` and `load` share: the daemon that is asked, and what may be asked of it.

use super::{probe, record};
use crate::cli::TargetArgs;
use crate::failure::Failure;
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::backend_sdk::FrameClientError;
use running_process::broker::protocol::{MAX_FRAME_BYTES, Refusal, RefusalReason, registry};
use std::io::Read;
use std::time::Instant;

/// A daemon as its record names it, and the payload protocol that it is asked in.
pub(super) struct Target {
    pub(super) daemon: DaemonProcess,
    pub(super) protocol: u32,
    policy: Policy,
}

impl Target {
    pub(super) fn find(arguments: &TargetArgs) -> Result<Self, Failure> {
        let protocol = arguments.protocol;
        if registry::is_first_party(protocol) {
            return Err(Failure::undecided(format!(
                "payload protocol 0x{protocol:04X} belongs to the wire itself"
            ))
            .hint("name one that the daemon serves; the demo's cache is 0xF0CA"));
        }
        let daemon = record::read(&arguments.identity)?;
        Ok(Self { daemon, protocol, policy: arguments.policy.policy() })
    }

    pub(super) fn prove(&self, deadline: Instant) -> Result<BackendHandle, Failure> {
        BackendHandle::verify(&self.daemon, self.policy.clone(), deadline).map_err(|error| {
            probe::probe_failure(error).context("nothing was sent: the daemon did not prove itself")
        })
    }

    /// What to do about a request without a response; `patience` is the option that says how long to wait for one.
    pub(super) fn hint(&self, error: &FrameClientError, patience: &str) -> String {
        match error {
            FrameClientError::Closed => format!(
                "a daemon closes the connection on a payload protocol that it does not serve: is 0x{:04X} right?",
                self.protocol
            ),
            FrameClientError::Refused(refusal) if refusal.reason() == RefusalReason::UnservedProtocol => {
                format!(
                    "is 0x{:04X} the right payload protocol? the daemon has not run the request",
                    self.protocol
                )
            }
            FrameClientError::Refused(_) if error.may_have_run() => {
                "the daemon may have run the request, in whole or in part".to_owned()
            }
            FrameClientError::Refused(refusal) if refusal.reason() == RefusalReason::Overloaded => {
                overloaded_hint(refusal)
            }
            FrameClientError::Refused(_) => {
                "the daemon has not run the request: it does no harm to send it again".to_owned()
            }
            FrameClientError::TimedOut { .. } => {
                format!("the daemon may still run the request: wait longer with {patience}")
            }
            FrameClientError::Request(_) => too_large_hint(),
            FrameClientError::Connection(_) => {
                "the daemon does not keep to the protocol: is it up to date?".to_owned()
            }
            _ => "whether the daemon has run the request is not known".to_owned(),
        }
    }
}

/// What to do about a daemon that is full.
pub(super) fn overloaded_hint(refusal: &Refusal) -> String {
    match refusal.retry_after_ms {
        Some(ms) => format!("the daemon is full and has not run the request: try again after {ms} ms"),
        None => "the daemon is full and has not run the request: try again later".to_owned(),
    }
}

pub(super) fn too_large_hint() -> String {
    format!("a frame carries at most {MAX_FRAME_BYTES} bytes, envelope included")
}

/// One byte more than a frame carries, so that a larger payload is noticed.
pub(super) fn payload_from_stdin() -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    std::io::stdin().take(MAX_FRAME_BYTES as u64 + 1).read_to_end(&mut payload).map_err(|error| {
        Failure::undecided(error).context("the payload cannot be read from standard input")
    })?;
    Ok(payload)
}
