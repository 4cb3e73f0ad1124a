//! The identity in the response to a probe: its fields, and whether the kernel confirms them.

use super::daemon_identity::{Identity, Peer};
use crate::commands::conform::case::{Case, Need};
use crate::commands::conform::fault::{Fault, check};
use crate::commands::conform::hex::hex;
use crate::commands::conform::trial::Trial;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const IDENTITY: &str = "Identity";
const IDENTITY_FILE: &str = "Identity file";
const KERNEL: &[Need] = &[Need::Kernel];
const FILE: &[Need] = &[Need::IdentityFile];
/// Longest identity file.
const MAX_FILE: u64 = 64 * 1024;

pub(super) static CASES: &[Case] = &[
    Case::must(
        "identity-decodes",
        IDENTITY,
        "The identity has pid, executable, endpoint, boot, and a digest of the executable.",
        |trial| {
            let identity = Identity::of(trial)?;
            let missing = [
                ("pid (1)", identity.pid == 0),
                ("exe_path (2)", identity.exe_path.is_empty()),
                ("ipc_endpoint (4)", identity.endpoint.is_none()),
                ("boot_id (6)", identity.boot_id.is_empty()),
                ("a digest (3, 9)", identity.digests().is_empty()),
            ];
            let missing: Vec<&str> =
                missing.iter().filter(|(_, missing)| *missing).map(|(name, _)| *name).collect();
            check(missing.is_empty(), "an identity with these fields", || {
                format!("none of: {}", missing.join(", "))
            })
        },
    ),
    Case::must(
        "identity-digest-length",
        IDENTITY,
        "A digest has 32 bytes, and the second one says `blake3`.",
        |trial| {
            let identity = Identity::of(trial)?;
            for (digest, name) in [(&identity.sha256, "exe_sha256"), (&identity.blake3, "exe_hash")] {
                let length = digest.len();
                check(matches!(length, 0 | 32), format!("{name} of 32 bytes"), || format!("{length} bytes"))?;
            }
            let is_named = identity.blake3.is_empty() == identity.algorithm.is_empty();
            let is_known = matches!(identity.algorithm.as_str(), "" | "blake3");
            check(is_named && is_known, "exe_hash with exe_hash_algorithm `blake3`, or neither", || {
                format!(
                    "exe_hash of {} bytes, exe_hash_algorithm `{}`",
                    identity.blake3.len(),
                    identity.algorithm
                )
            })
        },
    ),
    Case::must(
        "identity-both-generations",
        IDENTITY,
        "Clients of both published generations can read the identity.",
        |trial| {
            let written = Identity::of(trial)?.digests();
            check(written.len() == 2, "a SHA-256 and a BLAKE3 of the executable", || {
                written.join(" and ") + " alone"
            })
        },
    )
    .should(),
    Case::must(
        "identity-no-zero-digest",
        IDENTITY,
        "A digest that is absent is left out, and not 32 zeros.",
        |trial| {
            let identity = Identity::of(trial)?;
            let is_zero = |digest: &[u8]| !digest.is_empty() && digest.iter().all(|byte| *byte == 0);
            for (digest, name) in [(&identity.sha256, "exe_sha256"), (&identity.blake3, "exe_hash")] {
                check(!is_zero(digest), format!("{name} absent or not zero"), || {
                    "zeros, which count as absent".into()
                })?;
            }
            Ok(())
        },
    )
    .note(),
    Case::must("identity-stable", IDENTITY, "Every connection gets the same identity.", |trial| {
        let (one, other) = (Identity::of(trial)?, Identity::of(trial)?);
        check(one == other, format!("{one:?}"), || format!("{other:?}"))
    }),
    Case::must(
        "identity-endpoint",
        IDENTITY,
        "The path of the endpoint leads to the daemon's socket.",
        |trial| {
            let path = Identity::of(trial)?.endpoint.map(|(_, path)| path).unwrap_or_default();
            let place = |path: &Path| std::fs::canonicalize(path).ok();
            let is_same =
                place(Path::new(&path)).is_some_and(|found| Some(found) == place(&trial.target.socket));
            check(is_same, format!("the path {}", trial.target.socket.display()), || path.clone())
        },
    )
    .should(),
    Case::must(
        "identity-started",
        IDENTITY,
        "The time of the start is in milliseconds, and has passed.",
        |trial| {
            let started = u128::from(Identity::of(trial)?.started_at_unix_ms);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            // Seconds or microseconds are far off. The clock may have been set back a little since.
            let is_plausible = started > now / 100 && started < now + 60_000;
            check(is_plausible, format!("a time before {now} ms"), || started.to_string())
        },
    )
    .should(),
    Case::must(
        "identity-pid",
        IDENTITY,
        "The pid is that of the process which the kernel names as the peer.",
        |trial| {
            let (identity, peer) = (Identity::of(trial)?, Peer::of(trial)?);
            if identity.inherited_listener {
                trial.note(format!("another process made the socket, as the identity says: {}", peer.pid));
                return Ok(());
            }
            check(identity.pid == u64::from(peer.pid), format!("the pid {}", peer.pid), || {
                format!("the pid {}: a proxy, a process that forked, or another namespace", identity.pid)
            })
        },
    )
    .needs(KERNEL),
    Case::must(
        "identity-executable",
        IDENTITY,
        "The path of the executable is that which the kernel knows.",
        |trial| {
            let (identity, peer) = (Identity::of(trial)?, Peer::of(trial)?);
            let known = std::fs::read_link(peer.executable()).map_err(|error| peer.hidden(&error))?;
            check(Path::new(&identity.exe_path) == known, format!("the path {}", known.display()), || {
                identity.exe_path
            })
        },
    )
    .should()
    .needs(KERNEL),
    Case::must(
        "identity-digest",
        IDENTITY,
        "Each digest is that of the file which the daemon runs.",
        |trial| {
            let (identity, peer) = (Identity::of(trial)?, Peer::of(trial)?);
            let image = std::fs::read(peer.executable()).map_err(|error| peer.hidden(&error))?;
            let is_zero = |digest: &[u8]| digest.iter().all(|byte| *byte == 0);
            if !is_zero(&identity.sha256) {
                let expected = <sha2::Sha256 as sha2::Digest>::digest(&image);
                check(
                    identity.sha256[..] == expected[..],
                    format!("the SHA-256 {}", hex(&expected)),
                    || hex(&identity.sha256),
                )?;
            }
            if !is_zero(&identity.blake3) {
                let expected = blake3::hash(&image);
                let is_right = identity.blake3[..] == expected.as_bytes()[..];
                check(
                    is_right,
                    format!("the BLAKE3 {}", hex(expected.as_bytes())),
                    || hex(&identity.blake3),
                )?;
            }
            Ok(())
        },
    )
    .needs(KERNEL),
    Case::must("identity-boot", IDENTITY, "The boot is that of this machine.", |trial| {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let (identity, boot) = (Identity::of(trial)?, boot.trim());
        check(identity.boot_id == boot, format!("the boot {boot}"), || identity.boot_id)
    })
    .needs(KERNEL),
    Case::must(
        "identity-file-agrees",
        IDENTITY_FILE,
        "The identity file has what the daemon answers.",
        |trial| {
            let (file, identity) = (read_file(trial)?, Identity::of(trial)?);
            let endpoint = identity.endpoint.clone().unwrap_or_default();
            let pairs = [
                ("pid", file["pid"] == identity.pid),
                ("exe_path", file["exe_path"] == *identity.exe_path),
                ("boot_id", file["boot_id"] == *identity.boot_id),
                ("ipc_endpoint", file["ipc_endpoint"]["path"] == *endpoint.1),
                ("exe_sha256", agrees(&file, &["exe_sha256", "legacy_exe_sha256"], &identity.sha256)),
                ("exe_hash", agrees(&file, &["exe_hash"], &identity.blake3)),
            ];
            let differing: Vec<&str> =
                pairs.iter().filter(|(_, agrees)| !agrees).map(|(name, _)| *name).collect();
            check(differing.is_empty(), "the same values as in the answer", || {
                format!("others in: {}", differing.join(", "))
            })
        },
    )
    .needs(FILE),
    Case::must(
        "identity-file-readable",
        IDENTITY_FILE,
        "The identity file is regular, short, and not for others to write.",
        |trial| {
            let Some(path) = &trial.target.identity_file else { return Ok(()) };
            let unusable = |error: std::io::Error| Fault::new("an identity file", error.to_string());
            let status = std::fs::symlink_metadata(path).map_err(unusable)?;
            check(status.is_file(), "a regular file", || "a link, or something else".to_owned())?;
            check(status.len() <= MAX_FILE, "at most 64 KiB", || format!("{} bytes", status.len()))?;
            let mode = status.permissions().mode() & 0o777;
            check(mode & 0o022 == 0, "a mode that lets no other user write", || format!("the mode {mode:o}"))
        },
    )
    .needs(FILE),
];

fn read_file(trial: &Trial<'_>) -> Result<Value, Fault> {
    let Some(path) = &trial.target.identity_file else { return Ok(Value::Null) };
    let expected = "an identity file in JSON";
    let content = std::fs::read(path).map_err(|error| Fault::new(expected, error.to_string()))?;
    serde_json::from_slice(&content).map_err(|error| Fault::new(expected, error.to_string()))
}

/// Returns whether all of these fields of the file that are there have the digest; zeros and none are the same.
fn agrees(file: &Value, names: &[&str], digest: &[u8]) -> bool {
    let digest: Vec<Value> = digest.iter().map(|byte| Value::from(*byte)).collect();
    let is_zero = |bytes: &[Value]| bytes.iter().all(|byte| *byte == 0);
    names
        .iter()
        .filter_map(|name| file[name].as_array())
        .all(|written| *written == digest || is_zero(written) && is_zero(&digest))
}
