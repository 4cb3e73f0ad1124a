//! Comparison of the expected identity with an observed one, without I/O.

use super::identity::{DaemonProcess, ExeDigest, ExeDigests, FrontedProcess, Origin, started};
use std::fmt;

/// The property that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckKind {
    /// The process id.
    Pid,
    /// The path of the executable.
    ExePath,
    /// The digest of the executable.
    ExeDigest,
    /// The boot of the machine.
    BootId,
    /// The endpoint of the daemon.
    Endpoint,
    /// The kernel's start time of the process.
    StartTime,
    /// The run of the daemon.
    Instance,
    /// The version of the daemon.
    Version,
    /// The build of the daemon's version.
    Build,
    /// The daemon to which this one relays the legacy wire.
    Fronted,
}

impl CheckKind {
    /// Returns whether the values are texts that the peer or the file chose.
    fn is_text(self) -> bool {
        matches!(self, Self::ExePath | Self::BootId | Self::Endpoint | Self::Version | Self::Build)
    }
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
            Self::Version => "version",
            Self::Build => "build",
            Self::Fronted => "fronted daemon",
        })
    }
}

/// One comparison and its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// The property that was compared.
    pub kind: CheckKind,
    /// The value that the caller relies on.
    pub expected: String,
    /// The value that was observed.
    pub found: String,
    /// The two values are equal.
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
            (kind, true) if kind.is_text() => {
                write!(formatter, "{kind} is {found:?}")
            }
            (kind, false) if kind.is_text() => {
                write!(formatter, "{kind} is {found:?}, expected {expected:?}")
            }
            (_, true) => write!(formatter, "{kind} is {found}"),
            (_, false) => write!(formatter, "{kind} is {found}, expected {expected}"),
        }
    }
}

/// Compares the identity in an answer with the expected one, and returns all comparisons in a fixed order.
///
/// Digests are compared where both sides carry the same algorithm, and all of those must agree; two identities without
/// a common one do not agree. A digest of 32 zero bytes is an absent one. Start time and instance are compared if the
/// expected identity has an origin, version, build and the fronted daemon if it has them; an answer without them does not agree then. The
/// wall-clock start and the idle timeout are not compared: they do not tell processes apart.
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
    for (kind, expected, found) in [
        (CheckKind::Version, expected.version(), found.version()),
        (CheckKind::Build, expected.build(), found.build()),
    ] {
        if let Some(expected) = expected {
            let agrees = found == Some(expected);
            let (expected, found) = (expected.to_owned(), found.unwrap_or_default().to_owned());
            checks.push(Check { kind, expected, found, agrees });
        }
    }
    if let Some(expected) = &expected.fronts {
        checks.push(Check {
            kind: CheckKind::Fronted,
            expected: fronted(expected),
            found: found.fronts.as_deref().map_or_else(|| "not told".to_owned(), fronted),
            agrees: found.fronts.as_ref() == Some(expected),
        });
    }
    checks
}

fn fronted(process: &FrontedProcess) -> String {
    format!("process {}, started {}", process.pid, started(process.start_time))
}

fn compare_digests(expected: &ExeDigests, found: &ExeDigests) -> Check {
    // A differing digest is better evidence than an equal one.
    let differing = common(expected, found).find(|(_, expected, found)| expected != found);
    digest_check(differing.or_else(|| common(expected, found).next()), expected, found)
}

/// Compares the digests of an image with the recorded ones. One digest tells images apart, so the first that both sides
/// have decides, BLAKE3 before SHA-256.
#[cfg_attr(not(feature = "host"), allow(dead_code, reason = "images are read with the feature `host` only"))]
pub(super) fn compare_image(expected: &ExeDigests, image: &ExeDigests) -> Check {
    digest_check(common(expected, image).next(), expected, image)
}

/// An algorithm with the expected and the found digest.
type Common<'a> = (&'static str, &'a ExeDigest, &'a ExeDigest);

/// Returns the digests that both sides have.
fn common<'a>(expected: &'a ExeDigests, found: &'a ExeDigests) -> impl Iterator<Item = Common<'a>> {
    let blake3 = expected.blake3().zip(found.blake3()).map(|(expected, found)| ("blake3", expected, found));
    let sha256 = expected.sha256().zip(found.sha256()).map(|(expected, found)| ("sha256", expected, found));
    blake3.into_iter().chain(sha256)
}

fn digest_check(common: Option<Common<'_>>, expected: &ExeDigests, found: &ExeDigests) -> Check {
    match common {
        Some((name, expected, found)) => Check {
            kind: CheckKind::ExeDigest,
            expected: hex(name, expected),
            found: hex(name, found),
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
    match (digests.sha256(), digests.blake3()) {
        (Some(_), None) => "a sha256 only",
        (None, Some(_)) => "a blake3 only",
        (Some(_), Some(_)) => "sha256 and blake3",
        (None, None) => "no digest",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_digest_tells_an_image_and_blake3_comes_first() {
        let (sha256, blake3, other, absent) = ([1; 32], [2; 32], [3; 32], [0; 32]);
        let image = ExeDigests::Both { sha256, blake3 };
        for (expected, agrees, algorithm) in [
            (image, true, "blake3:"),
            (ExeDigests::Blake3(blake3), true, "blake3:"),
            (ExeDigests::Sha256(sha256), true, "sha256:"),
            (ExeDigests::Both { sha256: absent, blake3 }, true, "blake3:"),
            (ExeDigests::Both { sha256, blake3: absent }, true, "sha256:"),
            (ExeDigests::Both { sha256: other, blake3 }, true, "blake3:"),
            (ExeDigests::Both { sha256, blake3: other }, false, "blake3:"),
            (ExeDigests::Sha256(other), false, "sha256:"),
            (ExeDigests::Both { sha256: absent, blake3: absent }, false, "sha256 and blake3"),
        ] {
            let check = compare_image(&expected, &image);
            assert_eq!(check.agrees, agrees, "{check}");
            assert!(check.found.starts_with(algorithm), "{check}");
        }
    }
}
