use crate::{FAILED_TIMEOUT, Rules, TIMEOUT, each_is_found, judge, only};
use running_process_acceptance::Daemon;
use std::collections::BTreeSet;
use std::process::Command;

const DAEMON: &str = env!("CARGO_BIN_EXE_conformance-daemon");

/// The rules that the daemon can break.
const RULES: Rules = &[
    ("header-in-one-read", &["framing-one-and-a-half"]),
    ("body-in-one-read", &["framing-one-and-a-half"]),
    ("rest-lost", &["framing-two-in-one-write", "probe-pipelined"]),
    ("small-buffer", &["framing-cap-reached"]),
    ("cap-unchecked", &["framing-cap-exceeded", "framing-length-max"]),
    ("empty-frame-skipped", &["framing-empty-body"]),
    ("framing-version-unchecked", &["framing-other-version"]),
    ("unknown-field-fatal", &["fields-unknown"]),
    ("unknown-fixed-fatal", &["fields-unknown"]),
    ("first-value-wins", &["fields-last-wins"]),
    ("fields-in-order", &["fields-any-order"]),
    ("damage-ignored", &["fields-cut-off", "fields-varint-too-long", "fields-not-utf-8"]),
    ("envelope-version-unchecked", &["fields-envelope-version"]),
    ("kind-unchecked", &["fields-kind-unknown"]),
    ("probe-nonce", &["probe-answered"]),
    ("probe-id", &["probe-id"]),
    ("probe-trace-context", &["probe-trace-context"]),
    ("probe-length", &["probe-nonce-empty", "probe-nonce-short", "probe-nonce-long"]),
    ("probe-kind", &["probe-kind"]),
    ("probe-encoding", &["probe-encoding"]),
    ("probe-version", &["probe-envelope-version"]),
    ("probe-size", &["probe-body-4097"]),
    ("probe-ends", &["probe-again"]),
    ("probe-decides", &["probe-then-request"]),
    ("parent-pid", &["identity-pid", "identity-file-agrees"]),
    ("no-digest", &["identity-decodes"]),
    ("short-digest", &["identity-digest-length"]),
    ("other-path", &["identity-endpoint"]),
    ("id-truncated", &["request-id", "probe-id"]),
    ("id-zero-ignored", &["request-id"]),
    ("response-kind", &["framing-one-write"]),
    ("response-protocol", &["framing-one-write"]),
    ("response-version", &["framing-one-write"]),
    ("empty-unanswered", &["request-empty-answer"]),
    ("burst-cut", &["request-pipelined-1000"]),
    ("refusal-protocol", &["refusal-handler-failed"]),
    ("refusal-empty", &["refusal-handler-failed"]),
    ("failure-ends", &["refusal-goes-on"]),
    ("failure-silent", &["refusal-handler-failed"]),
    ("unserved-answered", &["refusal-unserved-protocol"]),
    ("first-party-answered", &["refusal-first-party"]),
    ("encoding-ignored", &["encoding-of-request"]),
    ("past-deadline", &["deadline-passed"]),
    ("deadline-truncated", &["deadline-far"]),
    ("deadline-unwatched", &["deadline-passes"]),
    ("tag-1000", &["encoding-not-listed"]),
    ("answer-encoded", &["encoding-not-listed"]),
    ("notice", &["event-notice-not-asked"]),
    ("event-after-response", &["event-before-response"]),
    ("event-id", &["event-before-response", "event-id"]),
    ("event-order", &["event-before-response"]),
    ("cancel-ignored", &["cancel-in-flight"]),
    ("cancel-ends", &["cancel-goes-on", "cancel-unknown-id"]),
    ("cancel-unknown-ends", &["cancel-unknown-id"]),
    ("cancel-answered", &["cancel-goes-on", "cancel-unknown-id"]),
    ("cancel-protocol", &["cancel-under-control", "cancel-under-another-protocol"]),
    ("cancel-all", &["cancel-one-of-two"]),
    ("half-close-ends", &["request-half-close"]),
    ("end-unnoticed", &["cancel-by-end"]),
    ("one-connection", &["cancel-of-another-connection"]),
    ("write-under-lock", &["hostile-slow-reader"]),
];

fn start(arguments: &[&str]) -> Daemon {
    Daemon::start(|socket, identity_file| {
        let mut command = Command::new(DAEMON);
        command.arg("--socket").arg(socket).arg("--identity").arg(identity_file).args(arguments);
        command
    })
}

/// Returns the cases that a daemon does not pass.
fn not_passed(daemon: &Daemon, arguments: &[&str]) -> BTreeSet<(String, String)> {
    let identity_file = daemon.identity_file.to_str().unwrap();
    judge(DAEMON, &[&["--socket", &daemon.socket, "--identity", identity_file], arguments].concat())
}

#[test]
fn a_daemon_on_bytes_passes_every_case() {
    assert_eq!(not_passed(&start(&[]), &["--timeout", TIMEOUT]), BTreeSet::new());
}

#[test]
fn each_broken_daemon_is_found() {
    each_is_found(DAEMON, RULES, |rule, cases| {
        let daemon = start(&["--break", rule]);
        not_passed(&daemon, &[&["--timeout", FAILED_TIMEOUT], &only(cases)[..]].concat())
    });
}
