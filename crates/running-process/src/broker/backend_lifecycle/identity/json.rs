//! The identity as the JSON object of the identity file: a superset that every generation reads.

use super::origin::instance_id_of_digits;
use super::wire::{exact_path, path_bytes};
use super::{DaemonProcess, ExeDigest, IdentityError, Origin};
use crate::broker::protocol::{self, Endpoint};

#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct IdentityDocument {
    pid: u32,
    exe_path: String,
    /// Required by the first generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exe_sha256: Option<ExeDigest>,
    /// Required by the second generation, with the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exe_hash_algorithm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exe_hash: Option<ExeDigest>,
    /// What the second generation calls the first one's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    legacy_exe_sha256: Option<ExeDigest>,
    boot_id: String,
    ipc_endpoint: Endpoint,
    started_at_unix_ms: u64,
    #[serde(default)]
    idle_timeout_secs: Option<u32>,
    /// Our own: the path where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exe_path_bytes: Vec<u8>,
    /// Our own: the origin.
    #[serde(flatten)]
    origin: OriginFields,
}

/// The origin as it stands among the fields of an identity, or alone.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(super) struct OriginFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel_start_time: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pid_namespace: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inherited_listener: Option<bool>,
}

impl From<Origin> for OriginFields {
    fn from(origin: Origin) -> Self {
        Self {
            kernel_start_time: Some(origin.start_time),
            instance_id: Some(origin.instance_digits()),
            pid_namespace: origin.pid_namespace,
            inherited_listener: Some(origin.inherited_listener),
        }
    }
}

impl OriginFields {
    fn origin(&self) -> Result<Option<Origin>, IdentityError> {
        let instance_id = self.instance_id.as_deref().map(instance_id_of_digits).transpose()?;
        let inherited_listener = self.inherited_listener.unwrap_or_default();
        Ok(Origin::from_known(self.kernel_start_time, instance_id, self.pid_namespace, inherited_listener))
    }
}

impl TryFrom<OriginFields> for Origin {
    type Error = IdentityError;

    fn try_from(fields: OriginFields) -> Result<Self, IdentityError> {
        let field = if fields.instance_id.is_none() { "instance_id" } else { "kernel_start_time" };
        fields.origin()?.ok_or(IdentityError::MissingField { field })
    }
}

impl From<DaemonProcess> for IdentityDocument {
    fn from(daemon: DaemonProcess) -> Self {
        let sha256 = daemon.exe_digests.sha256().copied();
        let message = daemon.to_proto();
        Self {
            pid: message.pid,
            exe_path: message.exe_path,
            exe_sha256: sha256,
            exe_hash_algorithm: Some(message.exe_hash_algorithm).filter(|name| !name.is_empty()),
            exe_hash: daemon.exe_digests.blake3().copied(),
            legacy_exe_sha256: sha256,
            boot_id: message.boot_id,
            exe_path_bytes: path_bytes(&daemon.exe_path),
            ipc_endpoint: daemon.ipc_endpoint,
            started_at_unix_ms: message.started_at_unix_ms,
            idle_timeout_secs: message.idle_timeout_secs,
            origin: daemon.origin.map(OriginFields::from).unwrap_or_default(),
        }
    }
}

impl TryFrom<IdentityDocument> for DaemonProcess {
    type Error = IdentityError;

    fn try_from(document: IdentityDocument) -> Result<Self, IdentityError> {
        let origin = document.origin.origin()?;
        let to_vec = |digest: Option<ExeDigest>| digest.map_or_else(Vec::new, |digest| digest.to_vec());
        let mut daemon = Self::try_from(protocol::DaemonProcess {
            pid: document.pid,
            exe_path: document.exe_path,
            exe_sha256: to_vec(document.exe_sha256.or(document.legacy_exe_sha256)),
            ipc_endpoint: Some(document.ipc_endpoint),
            started_at_unix_ms: document.started_at_unix_ms,
            boot_id: document.boot_id,
            idle_timeout_secs: document.idle_timeout_secs,
            exe_hash_algorithm: document.exe_hash_algorithm.unwrap_or_default(),
            exe_hash: to_vec(document.exe_hash),
        })?;
        daemon.exe_path = exact_path(daemon.exe_path, &document.exe_path_bytes);
        daemon.origin = origin;
        Ok(daemon)
    }
}
