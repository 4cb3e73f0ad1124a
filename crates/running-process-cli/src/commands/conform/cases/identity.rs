//! The identity in the response to a probe.

use crate::commands::conform::case::Case;
use crate::commands::conform::protobuf::{FieldValue, fields};
use crate::commands::conform::trial::{Fault, Trial, check};

const IDENTITY: &str = "Identity";

pub(super) static CASES: &[Case] = &[
    Case::must(
        "identity-decodes",
        IDENTITY,
        "The identity is a message with pid, path, boot, endpoint, digest.",
        |trial| {
            let identity = Identity::of(trial)?;
            let expected = "an identity with pid, exe_path, boot_id, ipc_endpoint and a digest";
            let missing = [
                ("pid (1)", identity.pid == 0),
                ("exe_path (2)", identity.exe_path.is_empty()),
                ("ipc_endpoint (4)", identity.endpoint.is_none()),
                ("boot_id (6)", identity.boot_id.is_empty()),
                ("exe_sha256 (3) or exe_hash (9)", identity.sha256.is_empty() && identity.blake3.is_empty()),
            ];
            let missing: Vec<&str> =
                missing.iter().filter(|(_, is_missing)| *is_missing).map(|(name, _)| *name).collect();
            check(missing.is_empty(), expected, || format!("none of: {}", missing.join(", ")))
        },
    ),
    Case::must(
        "identity-zero-digest",
        IDENTITY,
        "A digest of 32 zeros is written by older daemons only.",
        |trial| {
            let identity = Identity::of(trial)?;
            let versions = [(&identity.sha256, "SHA-256"), (&identity.blake3, "BLAKE3")];
            let written: Vec<&str> =
                versions.iter().filter(|(digest, _)| !digest.is_empty()).map(|(_, name)| *name).collect();
            trial.note(format!("the identity has {}", written.join(" and ")));
            let is_zero = |digest: &[u8]| !digest.is_empty() && digest.iter().all(|byte| *byte == 0);
            check(
                !is_zero(&identity.sha256) && !is_zero(&identity.blake3),
                "digests that are not zeros",
                || "zeros, which count as absent".to_owned(),
            )
        },
    )
    .note(),
];

/// The fields of an identity.
#[derive(Debug, Default)]
struct Identity {
    pid: u64,
    exe_path: String,
    sha256: Vec<u8>,
    endpoint: Option<(String, String)>,
    boot_id: String,
    algorithm: String,
    blake3: Vec<u8>,
}

impl Identity {
    /// Probes the daemon and decodes its identity.
    fn of(trial: &Trial<'_>) -> Result<Self, Fault> {
        let encoded = trial.connect()?.probe(1, [7; 32])?;
        Self::decode(&encoded).map_err(|reason| Fault::new("an identity behind the nonce", reason))
    }

    fn decode(encoded: &[u8]) -> Result<Self, String> {
        let mut identity = Self::default();
        for field in fields(encoded)? {
            let wrong = || format!("the field with the tag {} has another type", field.tag);
            let text = |value: &FieldValue| {
                let text = value.bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
                text.ok_or_else(wrong)
            };
            let content = |value: &FieldValue| value.bytes().map(<[u8]>::to_vec).ok_or_else(wrong);
            match field.tag {
                1 => identity.pid = field.value.number().ok_or_else(wrong)?,
                2 => identity.exe_path = text(&field.value)?,
                3 => identity.sha256 = content(&field.value)?,
                4 => {
                    let (mut namespace, mut path) = (String::new(), String::new());
                    for field in fields(field.value.bytes().ok_or_else(wrong)?)? {
                        match field.tag {
                            1 => namespace = text(&field.value)?,
                            2 => path = text(&field.value)?,
                            _ => {}
                        }
                    }
                    identity.endpoint = Some((namespace, path));
                }
                6 => identity.boot_id = text(&field.value)?,
                8 => identity.algorithm = text(&field.value)?,
                9 => identity.blake3 = content(&field.value)?,
                _ => {}
            }
        }
        Ok(identity)
    }
}
