//! The identity of the played daemon, as published peers write it: in its file, and in the answers to probes.

use crate::commands::conform::protobuf::{bytes, varint};
use crate::failure::Failure;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::protocol::Endpoint;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const NO_DIGEST: [u8; 32] = [0; 32];

#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) pid: u32,
    pub(super) exe_path: String,
    /// The digests; an empty one is left out.
    pub(super) sha256: Vec<u8>,
    pub(super) blake3: Vec<u8>,
    pub(super) boot_id: String,
    pub(super) namespace_id: String,
    pub(super) path: String,
    pub(super) started_at_unix_ms: u64,
    /// Encoded fields behind those above.
    pub(super) others: Vec<u8>,
}

impl Identity {
    /// Returns the identity of this process, which really plays the daemon.
    pub(super) fn of_this_process() -> Result<Self, Failure> {
        let unusable = |error: String| Failure::undecided(error).context("this process has no identity");
        let endpoint = Endpoint::unix_socket("conform", "/").map_err(|error| unusable(error.to_string()))?;
        let process =
            DaemonProcess::current_process(endpoint, None).map_err(|error| unusable(error.to_string()))?;
        let exe_path =
            process.exe_path.to_str().ok_or_else(|| unusable("its path is not UTF-8".to_owned()))?;
        let digest = |digest: Option<&[u8; 32]>| digest.map(|digest| digest.to_vec()).unwrap_or_default();
        Ok(Self {
            pid: process.pid,
            exe_path: exe_path.to_owned(),
            sha256: digest(process.exe_digests.sha256()),
            blake3: digest(process.exe_digests.blake3()),
            boot_id: process.boot_id,
            namespace_id: process.ipc_endpoint.namespace_id,
            path: process.ipc_endpoint.path,
            started_at_unix_ms: process.started_at_unix_ms,
            others: Vec::new(),
        })
    }

    /// Leaves the fields of the generation that knows only SHA-256.
    pub(super) fn keep_first_generation(&mut self) {
        self.blake3.clear();
    }

    /// Leaves the fields of a daemon that chose BLAKE3 only, which fills the other digest with zeros.
    pub(super) fn keep_blake3(&mut self) {
        self.sha256 = NO_DIGEST.to_vec();
    }

    /// Returns the encoded message.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let digest = |tag, digest: &[u8]| if digest.is_empty() { Vec::new() } else { bytes(tag, digest) };
        let blake3 = match &self.blake3[..] {
            [] => Vec::new(),
            digest => [bytes(8, b"blake3"), bytes(9, digest)].concat(),
        };
        let endpoint = [bytes(1, self.namespace_id.as_bytes()), bytes(2, self.path.as_bytes())].concat();
        [
            varint(1, self.pid.into()),
            bytes(2, self.exe_path.as_bytes()),
            digest(3, &self.sha256),
            bytes(4, &endpoint),
            varint(5, self.started_at_unix_ms),
            bytes(6, self.boot_id.as_bytes()),
            blake3,
            self.others.clone(),
        ]
        .concat()
    }

    /// Writes the identity file.
    pub(super) fn write(&self, file: &Path) -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(file)?;
        file.write_all(self.document().to_string().as_bytes())
    }

    fn document(&self) -> Value {
        let mut document = json!({
            "pid": self.pid,
            "exe_path": self.exe_path,
            "boot_id": self.boot_id,
            "ipc_endpoint": { "namespace_id": self.namespace_id, "path": self.path },
            "started_at_unix_ms": self.started_at_unix_ms,
            "idle_timeout_secs": null,
        });
        if !self.blake3.is_empty() {
            document["exe_hash_algorithm"] = "blake3".into();
            document["exe_hash"] = json!(self.blake3);
            document["legacy_exe_sha256"] = json!(self.sha256);
        }
        // A daemon that chose BLAKE3 only has no field of the first generation.
        if self.sha256 != NO_DIGEST {
            document["exe_sha256"] = json!(self.sha256);
        }
        document
    }
}
