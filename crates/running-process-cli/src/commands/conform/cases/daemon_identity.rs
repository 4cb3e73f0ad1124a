//! An identity as its fields, and the process that the kernel names.

use crate::commands::conform::fault::Fault;
use crate::commands::conform::protobuf::{Field, fields};
use crate::commands::conform::trial::Trial;
use std::io;
use std::path::PathBuf;

/// The fields of an identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) pid: u64,
    pub(super) exe_path: String,
    pub(super) sha256: Vec<u8>,
    /// The namespace and the path.
    pub(super) endpoint: Option<(String, String)>,
    pub(super) started_at_unix_ms: u64,
    pub(super) boot_id: String,
    pub(super) algorithm: String,
    pub(super) blake3: Vec<u8>,
    pub(super) inherited_listener: bool,
}

impl Identity {
    /// Probes the daemon and decodes its identity.
    pub(super) fn of(trial: &Trial<'_>) -> Result<Self, Fault> {
        let encoded = trial.connect()?.probe(1, [7; 32])?;
        Self::decode(&encoded).map_err(|reason| Fault::new("an identity behind the nonce", reason))
    }

    fn decode(encoded: &[u8]) -> Result<Self, String> {
        let mut identity = Self::default();
        for field in fields(encoded)? {
            match field.tag {
                1 => identity.pid = number(&field)?,
                2 => identity.exe_path = text(&field)?,
                3 => identity.sha256 = content(&field)?,
                4 => identity.endpoint = Some(endpoint(&content(&field)?)?),
                5 => identity.started_at_unix_ms = number(&field)?,
                6 => identity.boot_id = text(&field)?,
                8 => identity.algorithm = text(&field)?,
                9 => identity.blake3 = content(&field)?,
                1004 => identity.inherited_listener = number(&field)? != 0,
                _ => {}
            }
        }
        Ok(identity)
    }

    /// Returns the names of the digests that are there and not zero.
    pub(super) fn digests(&self) -> Vec<&'static str> {
        let is_there = |digest: &[u8]| digest.iter().any(|byte| *byte != 0);
        let digests = [(&self.sha256, "a SHA-256"), (&self.blake3, "a BLAKE3")];
        digests.into_iter().filter(|(digest, _)| is_there(digest)).map(|(_, name)| name).collect()
    }
}

fn endpoint(encoded: &[u8]) -> Result<(String, String), String> {
    let mut endpoint = (String::new(), String::new());
    for field in fields(encoded)? {
        match field.tag {
            1 => endpoint.0 = text(&field)?,
            2 => endpoint.1 = text(&field)?,
            _ => {}
        }
    }
    Ok(endpoint)
}

fn number(field: &Field) -> Result<u64, String> {
    field.value.number().ok_or_else(|| format!("the field with the tag {} is no varint", field.tag))
}

fn content(field: &Field) -> Result<Vec<u8>, String> {
    let content = field.value.bytes().map(<[u8]>::to_vec);
    content.ok_or_else(|| format!("the field with the tag {} is not length-delimited", field.tag))
}

fn text(field: &Field) -> Result<String, String> {
    String::from_utf8(content(field)?).map_err(|_| format!("the field with the tag {} is no text", field.tag))
}

/// The process that the kernel names as the peer of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) pid: u32,
}

impl Peer {
    #[cfg(target_os = "linux")]
    pub(super) fn of(trial: &Trial<'_>) -> Result<Self, Fault> {
        let expected = "a peer that the kernel names";
        let connection = trial.connect()?;
        let named = rustix::net::sockopt::socket_peercred(connection.stream());
        let named = named.map_err(|error| Fault::new(expected, error.to_string()))?;
        Ok(Self { pid: named.pid.as_raw_nonzero().get().unsigned_abs() })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn of(_trial: &Trial<'_>) -> Result<Self, Fault> {
        Err(Fault::new("a peer that the kernel names", "a system that names none"))
    }

    /// Returns the path by which the file that the process runs can be read.
    pub(super) fn executable(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.pid))
    }

    /// Returns the fault of a process whose file cannot be read.
    pub(super) fn hidden(&self, error: &io::Error) -> Fault {
        Fault::new(format!("the file that process {} runs can be read", self.pid), error.to_string())
    }
}
