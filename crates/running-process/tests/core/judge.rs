//! The comparison of the expected daemon with the one that answered.

use crate::common::daemon;
use running_process::broker::backend_lifecycle::identity::{DaemonProcess, ExeDigests, IdentityError};
use running_process::broker::backend_lifecycle::judge::{CheckKind, compare};
use running_process::broker::protocol;

const SHA: [u8; 32] = [0x5a; 32];
const BLAKE: [u8; 32] = [0xb3; 32];
const OTHER: [u8; 32] = [0x07; 32];
/// Value of an absent digest.
const ABSENT: [u8; 32] = [0; 32];

fn with(change: impl FnOnce(&mut DaemonProcess)) -> DaemonProcess {
    let mut changed = daemon();
    change(&mut changed);
    changed
}

fn disagreements(expected: &DaemonProcess, found: &DaemonProcess) -> Vec<(CheckKind, String)> {
    let checks = compare(expected, found).into_iter().filter(|check| !check.agrees);
    checks.map(|check| (check.kind, check.to_string())).collect()
}

#[test]
fn the_same_daemon_agrees_in_everything() {
    let checks = compare(&daemon(), &daemon());
    let lines = checks.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        lines,
        [
            "pid is 4242",
            "executable path is \"/usr/lib/demo/daemon\"",
            &format!("executable digest is sha256:{}", "5a".repeat(32)),
            "boot id is \"6f1d8a52\"",
            "endpoint is \"demo at /run/demo.sock\"",
        ]
    );
    assert!(checks.iter().all(|check| check.agrees));
}

#[test]
fn each_difference_is_told_with_both_values() {
    let cases = [
        (with(|found| found.pid = 7), CheckKind::Pid, "pid is 7, expected 4242"),
        (
            with(|found| found.exe_path = "/tmp/d".into()),
            CheckKind::ExePath,
            "executable path is \"/tmp/d\", expected \"/usr/lib/demo/daemon\"",
        ),
        (
            with(|found| found.boot_id = "b".into()),
            CheckKind::BootId,
            "boot id is \"b\", expected \"6f1d8a52\"",
        ),
        (
            with(|found| found.ipc_endpoint.path = "/tmp/s".into()),
            CheckKind::Endpoint,
            "endpoint is \"demo at /tmp/s\", expected \"demo at /run/demo.sock\"",
        ),
        (
            with(|found| found.ipc_endpoint.namespace_id = "n".into()),
            CheckKind::Endpoint,
            "endpoint is \"n at /run/demo.sock\", expected \"demo at /run/demo.sock\"",
        ),
    ];
    for (found, kind, message) in cases {
        assert_eq!(disagreements(&daemon(), &found), [(kind, message.to_owned())]);
    }
}

#[test]
fn every_difference_is_told_and_not_only_the_first() {
    let found = with(|found| {
        found.pid = 7;
        found.exe_digests = ExeDigests::Sha256(OTHER);
        found.boot_id = "b".into();
    });
    let kinds = disagreements(&daemon(), &found).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(kinds, [CheckKind::Pid, CheckKind::ExeDigest, CheckKind::BootId]);
}

#[test]
fn when_it_started_and_how_long_it_idles_do_not_tell_daemons_apart() {
    let found = with(|found| {
        found.started_at_unix_ms += 1;
        found.idle_timeout_secs = Some(1);
    });
    assert_eq!(disagreements(&daemon(), &found), []);
}

#[test]
fn a_path_is_compared_whole_where_its_display_cannot_tell() {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        let path = |byte| std::ffi::OsString::from_vec(vec![b'/', byte]).into();
        let (one, other) =
            (with(|daemon| daemon.exe_path = path(0xfe)), with(|daemon| daemon.exe_path = path(0xff)));
        assert_eq!(disagreements(&one, &one), []);
        assert_eq!(disagreements(&one, &other).len(), 1);
        let sent = DaemonProcess::decode(&one.encode()).unwrap();
        assert_eq!(disagreements(&one, &sent), [], "it survives the wire");
    }
}

#[test]
fn digests_are_compared_where_both_sides_know_the_algorithm() {
    let (sha256, blake3) = (SHA, BLAKE);
    let both = ExeDigests::Both { sha256, blake3 };
    let cases = [
        (ExeDigests::Sha256(SHA), ExeDigests::Sha256(SHA), true),
        (ExeDigests::Sha256(SHA), ExeDigests::Sha256(OTHER), false),
        (ExeDigests::Blake3(BLAKE), ExeDigests::Blake3(BLAKE), true),
        (ExeDigests::Blake3(BLAKE), ExeDigests::Blake3(OTHER), false),
        (both, both, true),
        (both, ExeDigests::Sha256(SHA), true),
        (both, ExeDigests::Blake3(BLAKE), true),
        (both, ExeDigests::Sha256(OTHER), false),
        (both, ExeDigests::Blake3(OTHER), false),
        (both, ExeDigests::Both { sha256: OTHER, blake3 }, false),
        (both, ExeDigests::Both { sha256, blake3: OTHER }, false),
        (ExeDigests::Sha256(SHA), ExeDigests::Blake3(SHA), false),
        (ExeDigests::Both { sha256: ABSENT, blake3 }, both, true),
        (both, ExeDigests::Both { sha256: ABSENT, blake3 }, true),
        (
            ExeDigests::Both { sha256: ABSENT, blake3 },
            ExeDigests::Both { sha256: ABSENT, blake3: OTHER },
            false,
        ),
        // Two absent digests do not match.
        (ExeDigests::Sha256(ABSENT), ExeDigests::Sha256(ABSENT), false),
        (ExeDigests::Both { sha256: ABSENT, blake3 }, ExeDigests::Both { sha256, blake3: ABSENT }, false),
    ];
    for (one, other, agree) in cases {
        for (expected, found) in [(one, other), (other, one)] {
            let told = disagreements(
                &with(|daemon| daemon.exe_digests = expected),
                &with(|daemon| daemon.exe_digests = found),
            );
            let kinds = told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
            let expected_kinds = if agree { vec![] } else { vec![CheckKind::ExeDigest] };
            assert_eq!(kinds, expected_kinds, "{expected:?} and {found:?}");
        }
    }
}

#[test]
fn a_digest_that_differs_is_told_with_the_values_that_differ() {
    let (sha256, blake3) = (SHA, BLAKE);
    let expected = with(|daemon| daemon.exe_digests = ExeDigests::Both { sha256, blake3 });
    for (found, algorithm, digits) in [
        (ExeDigests::Both { sha256: OTHER, blake3 }, "sha256", "5a"),
        (ExeDigests::Both { sha256, blake3: OTHER }, "blake3", "b3"),
    ] {
        let told = disagreements(&expected, &with(|daemon| daemon.exe_digests = found));
        let message = format!(
            "executable digest is {algorithm}:{}, expected {algorithm}:{}",
            "07".repeat(32),
            digits.repeat(32)
        );
        assert_eq!(told, [(CheckKind::ExeDigest, message)]);
    }
}

#[test]
fn digests_without_a_common_algorithm_say_what_each_side_has() {
    let expected = with(|daemon| daemon.exe_digests = ExeDigests::Sha256(SHA));
    let found = with(|daemon| daemon.exe_digests = ExeDigests::Blake3(BLAKE));
    let message = "executable digest is a blake3 only, expected a sha256 only";
    assert_eq!(disagreements(&expected, &found), [(CheckKind::ExeDigest, message.into())]);
}

#[test]
fn an_identity_that_lacks_or_garbles_a_field_is_none() {
    type Change = fn(&mut protocol::DaemonProcess);
    let zeros = "identity has no digest: every digest in it is 32 zero bytes, which stand for an absent one";
    let cases: [(Change, &str); 12] = [
        (|message| message.pid = 0, "identity has no pid"),
        (|message| message.exe_path.clear(), "identity has no exe_path"),
        (|message| message.boot_id.clear(), "identity has no boot_id"),
        (|message| message.ipc_endpoint = None, "identity has no ipc_endpoint"),
        (|message| message.exe_sha256.clear(), "identity has no exe_hash"),
        (|message| message.exe_sha256.truncate(31), "identity field exe_sha256 is 31 bytes, a digest is 32"),
        (
            |message| {
                message.exe_hash_algorithm = "blake3".into();
                message.exe_hash = vec![0; 33];
            },
            "identity field exe_hash is 33 bytes, a digest is 32",
        ),
        (
            |message| {
                message.exe_sha256.clear();
                message.exe_hash_algorithm = "blake3".into();
            },
            "identity has no exe_hash",
        ),
        (|message| message.exe_sha256.fill(0), zeros),
        (
            |message| {
                message.exe_sha256.fill(0);
                message.exe_hash_algorithm = "blake3".into();
                message.exe_hash = vec![0; 32];
            },
            zeros,
        ),
        (
            |message| {
                message.exe_hash = std::mem::take(&mut message.exe_sha256);
                message.exe_hash_algorithm = "md4".into();
            },
            "identity names the digest algorithm \"md4\", \"blake3\" is known",
        ),
        (|message| message.exe_hash = std::mem::take(&mut message.exe_sha256), "identity has no exe_hash"),
    ];
    for (change, expected) in cases {
        let mut message = daemon().to_proto();
        change(&mut message);
        let error: IdentityError = DaemonProcess::try_from(message).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_digest_of_an_unknown_algorithm_is_ignored_beside_a_known_one() {
    let mut message = daemon().to_proto();
    message.exe_hash_algorithm = "md4".into();
    message.exe_hash = vec![1; 16];
    assert_eq!(DaemonProcess::try_from(message).unwrap(), daemon());
}

#[test]
fn an_identity_survives_the_wire() {
    let (sha256, blake3) = (SHA, BLAKE);
    let digests = [ExeDigests::Sha256(SHA), ExeDigests::Blake3(BLAKE), ExeDigests::Both { sha256, blake3 }];
    for (exe_digests, idle_timeout_secs) in
        digests.into_iter().flat_map(|digests| [(digests, None), (digests, Some(0)), (digests, Some(600))])
    {
        let sent = with(|daemon| {
            daemon.exe_digests = exe_digests;
            daemon.idle_timeout_secs = idle_timeout_secs;
        });
        assert_eq!(DaemonProcess::decode(&sent.encode()).unwrap(), sent);
        assert_eq!(DaemonProcess::try_from(sent.to_proto()).unwrap(), sent);
    }
}
