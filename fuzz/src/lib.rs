//! Fuzz targets wherever bytes come in, as functions of an input.
//!
//! `ci/fuzz.sh` runs them under libFuzzer. The test `corpus` runs each on its kept inputs, in a normal build. A target does not
//! only look for panics: it asserts that bytes are conserved, that two ways agree, or that a simple model does.

pub mod corpus;
mod descriptors;
mod script;
mod stream;
mod targets;

#[path = "../../crates/running-process-cli/src/cli/values.rs"]
#[allow(dead_code, reason = "the files of services use some of them")]
mod cli;
#[path = "../../crates/running-process/src/broker/service/handover/messages.rs"]
#[allow(dead_code, reason = "a daemon uses all of it")]
mod handover_messages;
#[path = "../../crates/running-process-cli/src/service_file/document/mod.rs"]
#[allow(dead_code, reason = "the command uses all of it")]
mod service_document;
#[path = "../../crates/running-process-cli/src/commands/decode/window.rs"]
#[allow(dead_code, reason = "the command uses all of it")]
mod window;
#[path = "../../crates/running-process-cli/src/wire/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the command uses all of it")]
mod wire;

/// A function that panics if an input breaks what it asserts.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, also of its file in the corpus.
    pub name: &'static str,
    /// Runs an input.
    pub run: fn(&[u8]),
}

/// All targets.
pub static TARGETS: [Target; 18] = [
    Target { name: "poll", run: targets::poll::run },
    Target { name: "connection", run: targets::connection::run },
    Target { name: "client", run: targets::client::run },
    Target { name: "server", run: targets::server::run },
    Target { name: "session", run: targets::session::run },
    Target { name: "exchange", run: targets::exchange::run },
    Target { name: "reconnecting", run: targets::reconnecting::run },
    Target { name: "frame", run: targets::frame::run },
    Target { name: "payload", run: targets::payload::run },
    Target { name: "messages", run: targets::messages::run },
    Target { name: "probe", run: targets::probe::run },
    Target { name: "identity", run: targets::identity::message },
    Target { name: "identity_file", run: targets::identity::file },
    Target { name: "digest_entry", run: targets::digest_entry::run },
    Target { name: "handover", run: targets::handover::run },
    Target { name: "resp", run: targets::resp::run },
    Target { name: "decode", run: targets::decode::run },
    Target { name: "service_file", run: targets::service_file::run },
];
