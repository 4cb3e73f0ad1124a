//! The identity of this process: in its file, and in the answers to probes.

use crate::breaks::Break;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::raw::Fields;
use serde_json::json;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The length of a SHA-1.
const SHORT_DIGEST_BYTES: usize = 20;

/// Writes the identity file and returns the identity as an answer to a probe has it.
pub(crate) fn write(socket: &str, file: &Path, broken: Option<Break>) -> Vec<u8> {
    let mut endpoint = Endpoint::unix_socket("conformance", socket).unwrap();
    // Digests the executable and asks the system for the rest.
    let mut identity = DaemonProcess::current_process(endpoint.clone(), None).unwrap();
    let mut blake3 = identity.exe_digests.blake3().unwrap().to_vec();
    let mut sha256 = identity.exe_digests.sha256().unwrap().to_vec();
    let exe_path = identity.exe_path.to_str().unwrap();
    let document = json!({
        "pid": identity.pid,
        "exe_path": exe_path,
        "exe_sha256": sha256,
        "exe_hash_algorithm": "blake3",
        "exe_hash": blake3,
        "legacy_exe_sha256": sha256,
        "boot_id": identity.boot_id,
        "ipc_endpoint": { "namespace_id": endpoint.namespace_id, "path": socket },
        "started_at_unix_ms": identity.started_at_unix_ms,
        "idle_timeout_secs": null,
    });
    // Renamed, so that a reader never sees a part of it.
    let unfinished = file.with_extension("unfinished");
    let mut options = std::fs::OpenOptions::new();
    let out = options.write(true).create_new(true).mode(0o600).open(&unfinished).unwrap();
    serde_json::to_writer(out, &document).unwrap();
    std::fs::rename(unfinished, file).unwrap();

    match broken {
        Some(Break::ParentPid) => identity.pid = std::os::unix::process::parent_id(),
        Some(Break::NoDigest) => (blake3, sha256) = (Vec::new(), Vec::new()),
        Some(Break::ShortDigest) => {
            blake3.truncate(SHORT_DIGEST_BYTES);
            sha256.truncate(SHORT_DIGEST_BYTES);
        }
        Some(Break::OtherPath) => endpoint.path.push_str(".other"),
        _ => {}
    }
    let endpoint =
        Fields::default().bytes(1, endpoint.namespace_id.as_bytes()).bytes(2, endpoint.path.as_bytes());
    Fields::default()
        .number(1, identity.pid.into())
        .bytes(2, exe_path.as_bytes())
        .bytes(3, &sha256)
        .bytes(4, &endpoint.into_bytes())
        .number(5, identity.started_at_unix_ms)
        .bytes(6, identity.boot_id.as_bytes())
        .bytes(8, if blake3.is_empty() { b"" } else { b"blake3" })
        .bytes(9, &blake3)
        .into_bytes()
}
