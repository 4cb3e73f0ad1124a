//! Compares what a daemon was expected to be with what was observed. Pure: it asks nobody.

use super::identity::{DaemonProcess, ExeDigests, Origin, started};
use std::fmt;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckKind {
    /// The process id.
    Pid,
    /// The path of the executable.
    ExePath,
    /// What the executable contains.
    ExeDigest,
    /// Which boot of the machine it belongs to.
    BootId,
    /// Where it listens.
    Endpoint,
    /// When the kernel started the process.
    StartTime,
    /// Which run of the daemon it is.
    Instance,
}

impl fmt::Display for CheckKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Pid => "pid",
            Self::ExePath => "executable path",
            Self::ExeDigest => "executable digest",
            Self::BootId => "boot id",
            Self::Endpoint => "endpoint",
            Self::StartTime => "start time",
            Self::Instance => "instance",
        })
    }
}

/// One comparison and its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was compared.
    pub kind: CheckKind,
    /// The value that the caller relies on.
    pub expected: String,
    /// The value that was observed.
    pub found: String,
    /// Whether the two agree.
    pub agrees: bool,
}

impl Check {
    fn of(kind: CheckKind, expected: String, found: String) -> Self {
        let agrees = expected == found;
        Self { kind, expected, found, agrees }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, expected, found, agrees } = self;
        match (kind, agrees) {
            // Texts that the peer or the file chose.
            (CheckKind::ExePath | CheckKind::BootId | CheckKind::Endpoint, true) => {
                write!(formatter, "{kind} is {found:?}")
            }
            (CheckKind::ExePath | CheckKind::BootId | CheckKind::Endpoint, false) => {
                write!(formatter, "{kind} is {found:?}, expected {expected:?}")
            }
            (_, true) => write!(formatter, "{kind} is {found}"),
            (_, false) => write!(formatter, "{kind} is {found}, expected {expected}"),
        }
    }
}

/// Every comparison of an identity that answered with the one that was expected, in a fixed order.
///
/// Digests are compared where both sides carry the same algorithm; two identities without a common one do not agree.
/// Start time and instance are compared where the expected identity tells its origin; one that then tells none does not
/// agree.
/// The wall-clock start and the idle timeout are not compared: they do not tell processes apart.
#[must_use]
pub fn compare(expected: &DaemonProcess, found: &DaemonProcess) -> Vec<Check> {
    let mut checks = vec![
        Check::of(CheckKind::Pid, expected.pid.to_string(), found.pid.to_string()),
        Check {
            kind: CheckKind::ExePath,
            expected: expected.exe_path.display().to_string(),
            found: found.exe_path.display().to_string(),
            agrees: expected.exe_path == found.exe_path,
        },
        compare_digests(&expected.exe_digests, &found.exe_digests),
        Check::of(CheckKind::BootId, expected.boot_id.clone(), found.boot_id.clone()),
        Check {
            kind: CheckKind::Endpoint,
            expected: endpoint(expected),
            found: endpoint(found),
            agrees: expected.ipc_endpoint == found.ipc_endpoint,
        },
    ];
    if let Some(expected) = &expected.origin {
        let found = found.origin.as_ref();
        let start_time = |origin: &Origin| started(origin.start_time).to_string();
        let untold = || "not told".to_owned();
        let found_instance = found.map_or_else(untold, Origin::instance_digits);
        checks.push(Check {
            kind: CheckKind::StartTime,
            expected: start_time(expected),
            found: found.map_or_else(untold, start_time),
            agrees: found.is_some_and(|found| found.start_time == expected.start_time),
        });
        checks.push(Check::of(CheckKind::Instance, expected.instance_digits(), found_instance));
    }
    checks
}

pub(super) fn compare_digests(expected: &ExeDigests, found: &ExeDigests) -> Check {
    let pairs =
        [("blake3", expected.blake3(), found.blake3()), ("sha256", expected.sha256(), found.sha256())];
    let mut common: Vec<_> =
        pairs.into_iter().filter_map(|(name, expected, found)| Some((name, expected?, found?))).collect();
    // A digest that differs is better evidence than one that agrees.
    common.sort_by_key(|(_, expected, found)| expected == found);
    match common.first() {
        Some((name, expected, found)) => Check {
            kind: CheckKind::ExeDigest,
            expected: hex(name, *expected),
            found: hex(name, *found),
            agrees: expected == found,
        },
        None => Check {
            kind: CheckKind::ExeDigest,
            expected: algorithms(expected).to_owned(),
            found: algorithms(found).to_owned(),
            agrees: false,
        },
    }
}

fn algorithms(digests: &ExeDigests) -> &'static str {
    match digests {
        ExeDigests::Sha256(_) => "a sha256 only",
        ExeDigests::Blake3(_) => "a blake3 only",
        ExeDigests::Both { .. } => "sha256 and blake3",
    }
}

fn hex(algorithm: &str, digest: &[u8]) -> String {
    let mut text = String::with_capacity(algorithm.len() + 1 + 2 * digest.len());
    text.push_str(algorithm);
    text.push(':');
    for byte in digest {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    text
}

fn endpoint(daemon: &DaemonProcess) -> String {
    format!("{} at {}", daemon.ipc_endpoint.namespace_id, daemon.ipc_endpoint.path)
}
