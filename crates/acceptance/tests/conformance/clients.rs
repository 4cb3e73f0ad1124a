use crate::{FAILED_TIMEOUT, Rules, TIMEOUT, each_is_found, judge, only};
use running_process_acceptance::installed;
use std::collections::BTreeSet;

const CLIENT: &str = env!("CARGO_BIN_EXE_conformance-client");

/// The rules that the client on bytes can break.
const RULES: Rules = &[
    // A socket takes less than 1 MiB at once; single bytes may meet in one read on a busy machine.
    ("one-read", &["answer-1-mib"]),
    ("small-buffer", &["answer-1-mib", "answer-16-mib"]),
    ("cap-unchecked", &["cap-exceeded", "cap-largest"]),
    ("framing-version-unchecked", &["framing-version"]),
    ("end-is-answer", &["end-in-body"]),
    ("unknown-field-fatal", &["answer-unknown-fields"]),
    ("unknown-fixed-fatal", &["answer-unknown-fields"]),
    ("fields-in-order", &["answer-fields-reversed"]),
    ("first-value-wins", &["answer-repeated-fields"]),
    ("damage-ignored", &["damaged-length", "damaged-varint", "damaged-wire-type"]),
    ("text-payload", &["answer-binary"]),
    ("empty-is-none", &["answer-empty"]),
    ("id-unchecked", &["response-id", "response-id-high"]),
    ("id-truncated", &["response-id-high"]),
    ("protocol-unchecked", &["response-protocol", "refusal-no-answer"]),
    ("kind-unchecked", &["response-kind-event", "event-of-no-request", "event-of-the-request"]),
    ("version-unchecked", &["response-version", "response-no-version"]),
    ("encoding-unchecked", &["encoding-unknown"]),
    ("refusal-skipped", &["refusal-ends-request"]),
    ("event-fatal", &["event-of-no-request", "event-of-another-request"]),
    ("nonce-unchecked", &["probe-nonce", "probe-nonce-end"]),
    ("nonce-fixed", &["probe-random"]),
    ("identity-unchecked", &["identity-pid", "identity-digest", "identity-endpoint"]),
    ("pid-only", &["identity-digest", "identity-boot-id", "identity-endpoint", "identity-exe-path"]),
    ("probe-fields-unchecked", &["probe-id", "probe-kind", "probe-protocol", "probe-version"]),
    ("proof-too-late", &["probe-nonce", "identity-pid"]),
    ("request-version", &["request-fields"]),
    ("request-encoded", &["request-fields"]),
    ("request-twice", &["request-once"]),
    ("request-descending", &["request-canonical"]),
    ("reserved-tag", &["request-reserved-tags"]),
    ("descriptors-unasked", &["request-descriptors"]),
];

/// Returns the cases that a good client does not pass.
fn not_passed(arguments: &[&str]) -> BTreeSet<(String, String)> {
    judge(CLIENT, &[&["--client", "--timeout", TIMEOUT, "--", CLIENT], arguments].concat())
}

fn cases<const N: usize>(outcome: &str, names: [&str; N]) -> BTreeSet<(String, String)> {
    names.map(|name| (name.to_owned(), outcome.to_owned())).into()
}

#[test]
fn the_clients_of_this_library_pass_every_case() {
    // They list no encodings, since none are compiled in.
    let skipped = cases("skipped", ["encoding-lz4", "encoding-snappy", "encoding-zstd"]);
    assert_eq!(not_passed(&["blocking"]), skipped);
    assert_eq!(not_passed(&["tokio"]), skipped);
}

#[test]
fn a_client_on_bytes_that_asks_no_kernel_passes_all_but_the_impostor() {
    let mut expected = cases("skipped", ["encoding-lz4", "encoding-snappy", "encoding-zstd", "notice-moved"]);
    expected.append(&mut cases("failed", ["impostor"]));
    assert_eq!(not_passed(&["bytes"]), expected);
}

#[test]
fn the_client_in_python_passes_all_but_the_impostor() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/client.py");
    if !installed("python3", &["--version"]) {
        return;
    }
    let arguments = ["--client", "--timeout", TIMEOUT, "--", "python3", path];
    let failed = |case: &(String, String)| case.1 == "failed";
    let failed: BTreeSet<_> = judge(CLIENT, &arguments).into_iter().filter(failed).collect();
    assert_eq!(failed, cases("failed", ["impostor"]));
}

#[test]
fn each_broken_client_is_found() {
    each_is_found(CLIENT, RULES, |rule, cases| {
        let limits = ["--client", "--timeout", FAILED_TIMEOUT];
        judge(CLIENT, &[&limits[..], &only(cases), &["--", CLIENT, "bytes", "--break", rule]].concat())
    });
}

#[test]
fn a_client_that_removes_the_socket_of_the_judge_is_judged_all_the_same() {
    let script = "rm \"$RUNNING_PROCESS_CONFORM_SOCKET\"; exit 1";
    let arguments = ["--client", "--timeout", TIMEOUT, "--only", "request-once", "--", "sh", "-c", script];
    assert_eq!(judge(CLIENT, &arguments), cases("failed", ["request-once"]));
}
