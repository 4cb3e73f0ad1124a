//! The identity of this process, and the state of others.

use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::write_daemon_identity_file;
use running_process::broker::protocol::Endpoint;
use std::path::Path;

/// Writes the identity of this process to `identity_file`, and returns it.
pub(crate) fn write_own_identity(socket: &str, identity_file: &Path) -> DaemonProcess {
    let endpoint = Endpoint::unix_socket("adversary", socket).unwrap();
    let identity = DaemonProcess::current_process(endpoint, None).unwrap();
    write_daemon_identity_file(identity_file, &identity).unwrap();
    identity
}

/// Returns the state of a process or thread, as its letter in `proc_pid_stat(5)`.
pub(crate) fn state(stat: &str) -> Option<char> {
    let stat = std::fs::read_to_string(stat).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next()
}
