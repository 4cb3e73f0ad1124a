//! Programs of others with those of this library, as real processes on real sockets: every published client with every daemon
//! that its generation can meet, daemons from the field, and clients of other wires.

#![cfg(unix)]

mod buffers;
#[cfg(target_os = "linux")]
mod conformance;
#[cfg(target_os = "linux")]
mod field;
mod front;
mod legacy;
mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Daemon, Program};

const OURS: Program = Program::Ours;
const TOKIO: Program = Program::OursOnTokio;
/// Its identity carries the SHA-256 of the executable, and nothing else is understood.
const SHA256: Program = Program::Published("4.5.7");
/// Its identity carries the BLAKE3 of the executable, and nothing else is understood.
const BLAKE3: Program = Program::Published("4.10.21");

/// One module for each pair of client and daemon, with the tests that hold for each of them.
macro_rules! pairs {
    ($($name:ident: $client:ident => $daemon:ident;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn client_reads_the_identity_file_proves_the_daemon_and_is_served() {
                if wanted([$client, $daemon]) {
                    serves($client, $daemon);
                }
            }

            #[test]
            fn client_refuses_an_identity_file_that_was_altered() {
                if wanted([$client, $daemon]) {
                    refuses_altered_identity_files($client, $daemon);
                }
            }

            #[test]
            fn client_uses_an_identity_file_that_ours_read_and_wrote_again() {
                if wanted([$client, $daemon]) {
                    uses_rewritten_identity_file($client, $daemon);
                }
            }

            #[test]
            fn impostor_is_refused_if_the_client_is_ours() {
                if wanted([$client, $daemon]) {
                    meets_impostor($client, $daemon);
                }
            }
        }
    )*};
}

pairs! {
    ours_with_ours: OURS => OURS;
    ours_with_sha256_daemon: OURS => SHA256;
    ours_with_blake3_daemon: OURS => BLAKE3;
    ours_on_tokio_with_ours: TOKIO => OURS;
    ours_on_tokio_with_sha256_daemon: TOKIO => SHA256;
    ours_on_tokio_with_blake3_daemon: TOKIO => BLAKE3;
    sha256_client_with_ours: SHA256 => OURS;
    blake3_client_with_ours: BLAKE3 => OURS;
    sha256_client_with_sha256_daemon: SHA256 => SHA256;
    blake3_client_with_blake3_daemon: BLAKE3 => BLAKE3;
}

/// Returns whether both programs are there.
fn wanted(programs: [Program; 2]) -> bool {
    programs.iter().all(|program| program.is_wanted())
}

fn serves(client: Program, daemon: Program) {
    let daemon = Daemon::start(daemon);
    client.client(&daemon.identity_file()).assert_served();
    // A second client of the same daemon: nothing that the first did was left behind.
    client.client(&daemon.identity_file()).assert_served();
    let directory = daemon.stop();
    assert!(!directory.path().join("identity.json").exists(), "the daemon removes its identity file");
}

/// A change of an identity file, with its name.
type Alteration<'a> = (&'a str, &'a dyn Fn(&mut Value));

fn refuses_altered_identity_files(client: Program, program: Program) {
    let daemon = Daemon::start(program);
    let other = Daemon::start(program);
    let alterations: [Alteration<'_>; 7] = [
        ("pid of a process that runs another program", &|identity| {
            identity["pid"] = json!(std::process::id())
        }),
        ("pid of another process of the same program", &|identity| identity["pid"] = json!(other.pid())),
        ("pid that no process can have", &|identity| identity["pid"] = json!(i32::MAX)),
        ("executable path", &|identity| identity["exe_path"] = json!("/bin/sh")),
        ("executable digests", &alter_digests),
        ("boot id", &|identity| identity["boot_id"] = json!("of another boot")),
        ("endpoint of another daemon", &|identity| identity["ipc_endpoint"]["path"] = json!(other.socket())),
    ];
    for (what, alter) in alterations {
        println!("altered: {what}");
        client.client(&daemon.altered_identity_file(what, alter)).assert_failed_at("probe");
    }
    // Written again without a change, it serves: the refusals above are due to the changes.
    client.client(&daemon.altered_identity_file("unaltered", |_| ())).assert_served();
}

fn alter_digests(identity: &mut Value) {
    for field in ["exe_sha256", "legacy_exe_sha256", "exe_hash"] {
        if let Some(digest) = identity.get_mut(field) {
            *digest = json!(vec![0x5a; 32]);
        }
    }
}

fn uses_rewritten_identity_file(client: Program, daemon: Program) {
    let daemon = Daemon::start(daemon);
    let rewritten: PathBuf = daemon.identity_file().with_file_name("rewritten");
    let report = OURS.run(&[Path::new("rewrite"), &daemon.identity_file(), &rewritten], String::new());
    assert!(report.success, "{report:#?}");
    client.client(&rewritten).assert_served();
}

/// The published versions are the control: they take the impostor for the daemon, so it is a good one.
fn meets_impostor(client: Program, program: Program) {
    let daemon = Daemon::start(program);
    let _impostor = daemon.replaced_by_impostor(program);
    let report = client.client(&daemon.identity_file());
    match client {
        Program::Published(_) => report.assert_served(),
        _ => report.assert_failed_at("probe"),
    }
}

#[test]
fn published_generations_cannot_read_the_identity_files_of_one_another() {
    for (client, daemon) in [(SHA256, BLAKE3), (BLAKE3, SHA256)] {
        if wanted([client, daemon]) {
            let daemon = Daemon::start(daemon);
            client.client(&daemon.identity_file()).assert_failed_at("read");
        }
    }
}

#[test]
fn one_daemon_of_ours_serves_clients_of_every_version() {
    let daemon = Daemon::start(OURS);
    for client in [SHA256, BLAKE3, OURS, TOKIO].into_iter().filter(|client| client.is_wanted()) {
        client.client(&daemon.identity_file()).assert_served();
    }
}

/// A published version does not know refusals: it sees a response of another protocol, which is an error to it.
#[test]
fn a_refusal_costs_a_client_of_any_version_the_request_and_no_more() {
    let daemon = Daemon::start(OURS);
    for client in [SHA256, BLAKE3, OURS].into_iter().filter(|client| client.is_wanted()) {
        let error = match client {
            Program::Published(_) => "response payload_protocol 0x0000 does not match request 0x7A63",
            _ => "the daemon refused the request",
        };
        let report = client.run(&[Path::new("refused"), &daemon.identity_file()], String::new());
        let error = format!("first: {error}");
        let expected = [
            "ok read",
            "ok connect",
            &error,
            "same: pong:ping",
            "ok connect",
            "ok request",
            "new: pong:ping",
        ];
        assert!(report.success && report.lines == expected, "{client:?}: {report:#?}");
    }
}

/// The session stream is first-party to us and unknown to the published versions; they agree on all else.
#[test]
fn every_mux_answers_every_buffer_alike() {
    let buffers = buffers::all();
    let input: String = buffers.iter().map(|buffer| buffers::hex(buffer) + "\n").collect();
    let answers = |program: Program| {
        let daemon = Daemon::start(program);
        let report = program.run(&[Path::new("mux"), &daemon.identity_file()], input.clone());
        assert!(
            report.success && report.lines.len() == buffers.len() + 1,
            "{program:?}: {:?}",
            report.lines.last()
        );
        report.lines
    };
    let ours = answers(OURS);
    for published in [SHA256, BLAKE3].into_iter().filter(|published| published.is_wanted()) {
        for ((ours, theirs), buffer) in ours.iter().zip(answers(published)).skip(1).zip(&buffers) {
            let theirs = theirs.replace("unserved 0x5350", "first-party 0x5350");
            assert_eq!(*ours, theirs, "ours, {published:?}: {}", buffers::hex(buffer));
        }
    }
}
