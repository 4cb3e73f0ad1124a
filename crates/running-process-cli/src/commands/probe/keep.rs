//! Keeps a confirmed claim as an identity file.

use super::claim::leads_to;
use crate::failure::Failure;
use crate::failure::advice::{self, Advice};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::{Policy, verify};
use running_process::broker::backend_sdk::{try_read_daemon_identity_file, write_daemon_identity_file};
use running_process::broker::protocol::Endpoint;
use std::path::Path;
use std::time::Instant;

/// Writes `identity`, which the process at `asked` claims and the kernel confirms, to `file`.
///
/// # Errors
///
/// Clients would be led to another socket, or `file` is that of another daemon that may live, or cannot be written.
pub(super) fn write(
    file: &Path,
    identity: &DaemonProcess,
    asked: &Endpoint,
    deadline: Instant,
) -> Result<(), Failure> {
    let refused = |error: String| Failure::new(error, Advice::undecided("identity_file_unwritable"));
    let claimed = &identity.ipc_endpoint.path;
    if !leads_to(identity, asked) {
        let error =
            format!("nothing was written: the identity leads clients to {claimed}, not to {}", asked.path);
        return Err(
            refused(error).hint(format!("ask at that endpoint: running-process probe --socket {claimed}"))
        );
    }
    // A file that cannot be read is not replaced either.
    if let Ok(Some(known)) = try_read_daemon_identity_file(file)
        && known != *identity
        && may_live(&known, deadline)
    {
        let error = format!(
            "nothing was written: {} is the identity file of process {}, which may live",
            file.display(),
            known.pid
        );
        return Err(refused(error).hint("give --write another file, or stop that daemon first"));
    }
    write_daemon_identity_file(file, identity).map_err(|error| {
        let advice = advice::identity_path(&error, "--write");
        Failure::new(error, advice).context(format!("the identity file {} was not written", file.display()))
    })
}

/// Returns whether the process of an identity may live, whatever answers at its endpoint.
fn may_live(known: &DaemonProcess, deadline: Instant) -> bool {
    let proof = verify(known, &Policy::lenient(), deadline).map_err(|unverified| unverified.error);
    !matches!(
        proof,
        Err(ProbeError::Gone { .. } | ProbeError::ReusedPid { .. } | ProbeError::OtherBoot { .. })
    )
}
