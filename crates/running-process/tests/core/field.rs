//! Identities of daemons in the field: bytes and files that no encoder under test produced.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::backend_lifecycle::identity::{DaemonProcess, ExeDigests};
#[cfg(feature = "host")]
use running_process::broker::backend_lifecycle::judge::compare;
use running_process::broker::backend_lifecycle::probe::EndpointProbeChallenge;
use running_process::broker::protocol::try_decode_framed_ref;
use serde_json::Value;

struct Case {
    name: String,
    has_sha256: bool,
    nonce: [u8; 32],
    identity: Vec<u8>,
    probe_response: Vec<u8>,
    file: Value,
}

fn cases() -> Vec<Case> {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/field.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 3);
    let case = |case: &Value| Case {
        name: case["name"].as_str().unwrap().to_owned(),
        has_sha256: case["digests"] != "blake3 only",
        nonce: bytes(&case["nonce_hex"]).try_into().unwrap(),
        identity: bytes(&case["identity_hex"]),
        probe_response: bytes(&case["probe_response_hex"]),
        file: case["identity_file"].clone(),
    };
    cases.iter().map(case).collect()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Returns the digest in a field of an identity file.
fn digest(field: &Value) -> [u8; 32] {
    serde_json::from_value(field.clone()).unwrap()
}

#[test]
fn an_identity_on_the_wire_has_the_digests_that_are_not_zeros() {
    for case in cases() {
        let daemon = DaemonProcess::decode(&case.identity).unwrap();
        let blake3 = digest(&case.file["exe_hash"]);
        let sha256 = digest(&case.file["legacy_exe_sha256"]);
        let expected =
            if case.has_sha256 { ExeDigests::Both { sha256, blake3 } } else { ExeDigests::Blake3(blake3) };
        assert_eq!(daemon.exe_digests, expected, "{}", case.name);
        assert_eq!(daemon.ipc_endpoint.namespace_id, case.file["ipc_endpoint"]["namespace_id"]);
        assert_eq!(daemon.origin, None);
    }
}

#[test]
fn an_answer_to_a_probe_is_the_identity_of_its_daemon() {
    for case in cases() {
        let answer = try_decode_framed_ref(&case.probe_response).unwrap().unwrap();
        assert_eq!(answer.consumed, case.probe_response.len());
        let challenge = EndpointProbeChallenge::new(case.nonce, answer.frame.request_id);
        let daemon = challenge.identity(&answer.frame).unwrap();
        assert_eq!(daemon, DaemonProcess::decode(&case.identity).unwrap(), "{}", case.name);
    }
}

#[cfg(feature = "host")]
#[test]
fn an_identity_file_agrees_with_the_answer_of_its_daemon() {
    for case in cases() {
        let recorded: DaemonProcess = serde_json::from_value(case.file).unwrap();
        let answered = DaemonProcess::decode(&case.identity).unwrap();
        let checks = compare(&recorded, &answered);
        assert!(checks.iter().all(|check| check.agrees), "{}: {checks:#?}", case.name);
    }
}

#[cfg(feature = "host")]
#[test]
fn a_file_with_zeros_in_one_field_is_read_by_the_others() {
    let case = &cases()[1];
    let read = |change: fn(&mut Value)| {
        let mut file = case.file.clone();
        // The field's name in the first generation.
        file["exe_sha256"] = file["legacy_exe_sha256"].clone();
        change(&mut file);
        serde_json::from_value::<DaemonProcess>(file)
    };
    let (blake3, sha256) = (digest(&case.file["exe_hash"]), digest(&case.file["legacy_exe_sha256"]));
    let digests = |change| read(change).unwrap().exe_digests;
    let both = ExeDigests::Both { sha256, blake3 };
    assert_eq!(digests(|file| file["exe_sha256"] = Value::from(vec![0; 32])), both);
    assert_eq!(digests(|file| file["legacy_exe_sha256"] = Value::from(vec![0; 32])), both);
    assert_eq!(digests(|file| file["exe_hash"] = Value::from(vec![0; 32])), ExeDigests::Sha256(sha256));
    let error = read(|file| {
        for field in ["exe_sha256", "legacy_exe_sha256", "exe_hash"] {
            file[field] = Value::from(vec![0; 32]);
        }
    })
    .unwrap_err();
    assert!(error.to_string().contains("identity has no digest"), "{error}");
}

#[cfg(feature = "host")]
#[test]
fn zeros_are_not_written_again() {
    for case in cases() {
        let daemon: DaemonProcess = serde_json::from_value(case.file).unwrap();
        let written = serde_json::to_value(&daemon).unwrap();
        assert_eq!(written.get("exe_sha256").is_some(), case.has_sha256, "{}", case.name);
        assert_eq!(serde_json::from_value::<DaemonProcess>(written).unwrap(), daemon);
        assert_eq!(DaemonProcess::decode(&daemon.encode()).unwrap(), daemon);
    }
}
