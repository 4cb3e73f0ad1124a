//! The identity in protobuf: both generations in one message, our own fields appended.

use super::daemon_process::DaemonProcess;
use super::digests::{BLAKE3_ALGORITHM, ExeDigest, ExeDigests};
use super::error::IdentityError;
use super::fronted::FrontedProcess;
use super::instance_id;
use super::origin::Origin;
use crate::broker::protocol;
use prost::Message;
use std::path::{Path, PathBuf};

impl DaemonProcess {
    /// Returns the identity as the message of the wire, with the digests of both generations.
    ///
    /// A path that is not UTF-8 is approximated there, and origin, version, build and the fronted daemon are not in it.
    /// [`encode`](Self::encode) carries all.
    #[must_use]
    pub fn to_proto(&self) -> protocol::DaemonProcess {
        let blake3 = self.exe_digests.blake3();
        protocol::DaemonProcess {
            pid: self.pid,
            exe_path: self.exe_path.to_string_lossy().into_owned(),
            exe_sha256: to_vec(self.exe_digests.sha256()),
            ipc_endpoint: Some(self.ipc_endpoint.clone()),
            started_at_unix_ms: self.started_at_unix_ms,
            boot_id: self.boot_id.clone(),
            idle_timeout_secs: self.idle_timeout_secs,
            exe_hash_algorithm: blake3.map_or_else(String::new, |_| BLAKE3_ALGORITHM.to_owned()),
            exe_hash: to_vec(blake3),
        }
    }

    /// Returns the identity as it is sent in a probe response, byte for byte as published peers write it.
    ///
    /// The second generation does not know `exe_sha256` and appends it for the first one.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut message = self.to_proto();
        let mut appended = protocol::DaemonProcess::default();
        if !message.exe_hash.is_empty() {
            appended.exe_sha256 = std::mem::take(&mut message.exe_sha256);
        }
        let origin = self.origin.as_ref();
        let extension = protocol::DaemonProcessExtension {
            exe_path_bytes: path_bytes(&self.exe_path),
            start_time: origin.map(|origin| origin.start_time),
            instance_id: origin.map_or_else(Vec::new, |origin| origin.instance_id.to_vec()),
            pid_namespace: origin.and_then(|origin| origin.pid_namespace),
            inherited_listener: origin.is_some_and(|origin| origin.inherited_listener),
            version: self.version.clone().unwrap_or_default(),
            build: self.build.clone().unwrap_or_default(),
            fronts: self.fronts.as_deref().map(FrontedProcess::to_proto),
        };
        let mut bytes = message.encode_to_vec();
        bytes.extend(appended.encode_to_vec());
        bytes.extend(extension.encode_to_vec());
        bytes
    }

    /// Decodes bytes that [`encode`](Self::encode) or a published peer of either generation wrote.
    ///
    /// # Errors
    ///
    /// The bytes are not protobuf, or a field is missing or malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let mut daemon = Self::try_from(protocol::DaemonProcess::decode(bytes)?)?;
        let extension = protocol::DaemonProcessExtension::decode(bytes)?;
        daemon.exe_path = exact_path(daemon.exe_path, &extension.exe_path_bytes);
        daemon.origin = Origin::from_known(
            extension.start_time,
            instance_id::from_bytes(&extension.instance_id)?,
            extension.pid_namespace,
            extension.inherited_listener,
        );
        daemon.fronts = extension.fronts.map(FrontedProcess::try_from).transpose()?.map(Box::new);
        daemon.with_version(extension.version)?.with_build(extension.build)
    }
}

/// Returns the bytes of a path that is not UTF-8; otherwise none. Only on Unix are paths bytes.
pub(super) fn path_bytes(path: &Path) -> Vec<u8> {
    match path.to_str() {
        Some(_) => Vec::new(),
        #[cfg(unix)]
        None => std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec(),
        #[cfg(not(unix))]
        None => Vec::new(),
    }
}

/// Returns the path that `bytes` name, or `approximate` if there are none or the platform's paths are not bytes.
pub(super) fn exact_path(approximate: PathBuf, bytes: &[u8]) -> PathBuf {
    match bytes {
        [] => approximate,
        #[cfg(unix)]
        bytes => PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes)),
        #[cfg(not(unix))]
        _ => approximate,
    }
}

impl TryFrom<protocol::DaemonProcess> for DaemonProcess {
    type Error = IdentityError;

    fn try_from(message: protocol::DaemonProcess) -> Result<Self, IdentityError> {
        let sha256 = digest("exe_sha256", &message.exe_sha256)?;
        let blake3 = match message.exe_hash_algorithm.as_str() {
            BLAKE3_ALGORITHM => digest("exe_hash", &message.exe_hash)?,
            _ => None,
        };
        let Some(exe_digests) = ExeDigests::from_known(sha256, blake3) else {
            return Err(match message.exe_hash_algorithm.as_str() {
                "" | BLAKE3_ALGORITHM if sha256.or(blake3).is_some() => IdentityError::ZeroDigests,
                "" | BLAKE3_ALGORITHM => IdentityError::MissingField { field: "exe_hash" },
                _ => IdentityError::UnknownDigestAlgorithm { algorithm: message.exe_hash_algorithm },
            });
        };
        if message.pid == 0 {
            return Err(IdentityError::MissingField { field: "pid" });
        }
        if message.exe_path.is_empty() {
            return Err(IdentityError::MissingField { field: "exe_path" });
        }
        if message.boot_id.is_empty() {
            return Err(IdentityError::MissingField { field: "boot_id" });
        }
        Ok(Self {
            pid: message.pid,
            exe_path: message.exe_path.into(),
            exe_digests,
            boot_id: message.boot_id,
            ipc_endpoint: message
                .ipc_endpoint
                .ok_or(IdentityError::MissingField { field: "ipc_endpoint" })?,
            started_at_unix_ms: message.started_at_unix_ms,
            idle_timeout_secs: message.idle_timeout_secs,
            origin: None,
            version: None,
            build: None,
            fronts: None,
        })
    }
}

impl FrontedProcess {
    fn to_proto(&self) -> protocol::FrontedProcess {
        protocol::FrontedProcess {
            pid: self.pid,
            start_time: self.start_time,
            exe_path: self.exe_path.to_string_lossy().into_owned(),
            exe_path_bytes: path_bytes(&self.exe_path),
            exe_blake3: self.exe_blake3.to_vec(),
        }
    }
}

impl TryFrom<protocol::FrontedProcess> for FrontedProcess {
    type Error = IdentityError;

    fn try_from(message: protocol::FrontedProcess) -> Result<Self, IdentityError> {
        if message.pid == 0 {
            return Err(IdentityError::MissingField { field: "fronts.pid" });
        }
        if message.exe_path.is_empty() {
            return Err(IdentityError::MissingField { field: "fronts.exe_path" });
        }
        Ok(Self {
            pid: message.pid,
            start_time: message.start_time,
            exe_path: exact_path(message.exe_path.into(), &message.exe_path_bytes),
            exe_blake3: digest("fronts.exe_blake3", &message.exe_blake3)?
                .ok_or(IdentityError::MissingField { field: "fronts.exe_blake3" })?,
        })
    }
}

fn to_vec(digest: Option<&ExeDigest>) -> Vec<u8> {
    digest.map_or_else(Vec::new, |digest| digest.to_vec())
}

fn digest(field: &'static str, bytes: &[u8]) -> Result<Option<ExeDigest>, IdentityError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let digest = bytes.try_into().map_err(|_| IdentityError::DigestLength { field, length: bytes.len() })?;
    Ok(Some(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_the_first_generation_is_appended_to_the_fields_of_the_second() {
        let appended = protocol::DaemonProcess { exe_sha256: vec![1; 32], ..Default::default() };
        let first = protocol::DaemonProcess {
            pid: 7,
            exe_path: "/bin/d".into(),
            ipc_endpoint: Some(protocol::Endpoint { namespace_id: "test".into(), path: "/run/d".into() }),
            boot_id: "boot".into(),
            ..appended.clone()
        };
        let encoded = |message: &protocol::DaemonProcess| {
            DaemonProcess::try_from(message.clone()).map(|daemon| daemon.encode()).unwrap()
        };
        assert_eq!(encoded(&first), first.encode_to_vec());
        let mut second = first;
        (second.exe_hash_algorithm, second.exe_hash) = (BLAKE3_ALGORITHM.to_owned(), vec![2; 32]);
        let both = encoded(&second);
        second.exe_sha256.clear();
        assert_eq!(both, [second.encode_to_vec(), appended.encode_to_vec()].concat());
    }
}
