//! The comparison of a claim with the endpoint that was asked.

use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::protocol::Endpoint;
use std::fs;

/// Returns whether the endpoint in `identity` is the one that was asked, by whatever name.
pub(in crate::commands) fn leads_to(identity: &DaemonProcess, asked: &Endpoint) -> bool {
    let claimed = &identity.ipc_endpoint.path;
    let real = |path: &str| fs::canonicalize(path).ok();
    *claimed == asked.path || real(claimed).is_some_and(|claimed| real(&asked.path) == Some(claimed))
}
