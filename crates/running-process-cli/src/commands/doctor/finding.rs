//! A finding: one state of a service that a person may have to do something about.

use super::kinds::{Fix, Kind, Severity};
use serde::Serialize;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// One finding.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) kind: &'static Kind,
    /// The label of the service.
    pub(crate) service: String,
    /// The state, in one sentence.
    pub(crate) what: String,
    /// The process that it is about.
    pub(crate) pid: Option<u32>,
    /// The file that it is about.
    pub(crate) path: Option<PathBuf>,
    /// A command line that does what the advice says.
    pub(crate) remedy: Option<String>,
    /// The last lines of the daemon's log.
    pub(crate) log: String,
}

/// A finding as JSON, which docs/json.md describes.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    event: &'static str,
    id: &'static str,
    severity: Severity,
    service: &'a str,
    what: &'a str,
    why: &'static str,
    advice: &'static str,
    remedy: Option<&'a str>,
    /// `--fix` does something about it.
    is_fixable: bool,
    /// The effect of `--fix`, or the reason why it has none.
    fix: &'static str,
    pid: Option<u32>,
    path: Option<String>,
    log: &'a str,
}

impl Finding {
    /// Creates a finding about the service `label`.
    pub(crate) fn new(kind: &'static Kind, label: &str, what: impl Display) -> Self {
        Self {
            kind,
            service: label.to_owned(),
            what: what.to_string(),
            pid: None,
            path: None,
            remedy: None,
            log: String::new(),
        }
    }

    /// Sets the process.
    pub(crate) fn pid(mut self, pid: Option<u32>) -> Self {
        self.pid = pid;
        self
    }

    /// Sets the file.
    pub(crate) fn path(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Sets the command line.
    pub(crate) fn remedy(mut self, command: impl Display) -> Self {
        self.remedy = Some(command.to_string());
        self
    }

    /// Sets the last lines of the daemon's log.
    pub(crate) fn log(mut self, log: &str) -> Self {
        log.clone_into(&mut self.log);
        self
    }

    pub(crate) fn report(&self) -> Report<'_> {
        Report {
            event: "finding",
            id: self.kind.id,
            severity: self.kind.severity,
            service: &self.service,
            what: &self.what,
            why: self.kind.why,
            advice: self.kind.advice,
            remedy: self.remedy.as_deref(),
            is_fixable: !matches!(self.kind.fix, Fix::Leaves(_)),
            fix: self.kind.fix.text(),
            pid: self.pid,
            path: self.path.as_ref().map(|path| path.display().to_string()),
            log: &self.log,
        }
    }
}
