use super::release::Release;
use crate::broker::service::moment::{from_unix_ms, unix_ms};
use serde_json::{Value, json};
use std::time::SystemTime;

/// A replacement that a policy has decided, as the history of starts keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplacementRecord {
    /// When it ended.
    pub at: SystemTime,
    /// The release of the daemon that ran.
    pub from: Release,
    /// The release that the client wanted.
    pub wanted: Release,
    /// The mark of the program that was to be started: [`Candidate::mark`](super::Candidate::mark).
    pub mark: Option<String>,
    /// The release of the daemon that serves since; `None` if the replacement failed.
    pub to: Option<Release>,
}

impl ReplacementRecord {
    /// Returns the record of a replacement that ended at `at`. `to` is the release that serves since; `None` if it failed.
    #[must_use]
    pub fn new(at: SystemTime, from: Release, wanted: Release, to: Option<Release>) -> Self {
        Self { at, from, wanted, mark: None, to }
    }

    /// Sets the mark of the program that was to be started.
    #[must_use]
    pub fn mark(mut self, mark: Option<String>) -> Self {
        self.mark = mark;
        self
    }

    pub(in crate::broker::service) fn to_json(&self) -> Value {
        json!({
            "at_unix_ms": unix_ms(self.at),
            "from": release_to_json(&self.from),
            "wanted": release_to_json(&self.wanted),
            "mark": self.mark,
            "to": self.to.as_ref().map(release_to_json),
        })
    }

    pub(in crate::broker::service) fn from_json(value: &Value) -> Option<Self> {
        let release = |value: &Value| {
            value.is_object().then(|| {
                let text = |name: &str| value[name].as_str().unwrap_or_default();
                Release::new(text("version"), text("build"))
            })
        };
        Some(Self {
            at: value["at_unix_ms"].as_u64().and_then(from_unix_ms)?,
            from: release(&value["from"])?,
            wanted: release(&value["wanted"])?,
            mark: value["mark"].as_str().map(str::to_owned),
            to: release(&value["to"]),
        })
    }
}

fn release_to_json(release: &Release) -> Value {
    json!({ "version": release.version, "build": release.build })
}
