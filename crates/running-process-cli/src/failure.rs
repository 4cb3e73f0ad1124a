//! Failures of commands, as text and as JSON.

pub(crate) mod advice;
pub(crate) mod start;

use crate::json::object_line;
use crate::terminal::for_stderr;
use crate::text::safe;
use crate::verdict::Verdict;
use advice::Advice;
use running_process::broker::backend_sdk::FrameClientError;
use serde::Serialize;
use start::FailedStart;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

/// The reason why a command stopped, with advice for the user.
#[derive(Debug)]
pub(crate) struct Failure {
    advice: Advice,
    error: Box<dyn Error + Send + Sync>,
    /// The failed start of a daemon. It is rare, so that it takes no room in other failures.
    start: Option<Box<FailedStart>>,
    /// When the command may succeed, in milliseconds since the Unix epoch.
    until_unix_ms: Option<u64>,
}

/// An error that is a sentence, with an optional cause.
#[derive(Debug)]
struct Sentence {
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl fmt::Display for Sentence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Error for Sentence {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A failure as JSON, which docs/json.md describes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    kind: &'static str,
    status: u8,
    error: String,
    causes: Vec<String>,
    hint: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_failure: Option<Box<FailedStart>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until_unix_ms: Option<u64>,
}

impl Failure {
    /// Combines an error with advice. If one of its causes is an exhausted resource, the advice is about that resource.
    pub(crate) fn new(error: impl Into<Box<dyn Error + Send + Sync>>, advice: Advice) -> Self {
        let error = error.into();
        let advice = advice::exhausted(&*error).unwrap_or(advice);
        Self { advice, error, start: None, until_unix_ms: None }
    }

    /// Combines the error of a request with advice.
    pub(crate) fn of_request(error: FrameClientError, advice: Advice) -> Self {
        match advice::without_code(&error) {
            Some(text) => Self::new(text, advice).context(error.to_string()),
            None => Self::new(error, advice),
        }
    }

    /// Creates a failure with the verdict [`Undecided`](Verdict::Undecided).
    pub(crate) fn undecided(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(error, Advice::undecided("failed"))
    }

    /// Creates a failure with the verdict [`No`](Verdict::No).
    pub(crate) fn negative(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(error, Advice::no("failed"))
    }

    /// Creates a failure about unusable arguments.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(error, Advice::undecided("usage"))
    }

    /// Sets the name in JSON, unless the advice has a hint, as advice about an exhausted resource has.
    pub(crate) fn kind(mut self, kind: &'static str) -> Self {
        if self.advice.hint.is_none() {
            self.advice.kind = kind;
        }
        self
    }

    /// Puts a sentence before the error, which becomes its cause.
    pub(crate) fn context(mut self, text: impl Into<String>) -> Self {
        self.error = Box::new(Sentence { text: text.into(), source: Some(self.error) });
        self
    }

    /// Sets the hint, unless the advice has one already.
    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.advice.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds the failed start of a daemon.
    pub(crate) fn start(mut self, start: Option<FailedStart>) -> Self {
        self.start = start.map(Box::new);
        self
    }

    /// Adds the moment from which on the command may succeed.
    pub(crate) fn until(mut self, moment: SystemTime) -> Self {
        self.until_unix_ms = Some(start::unix_ms(moment));
        self
    }

    /// Returns the verdict.
    pub(crate) fn verdict(&self) -> Verdict {
        self.advice.verdict
    }

    /// Prints the failure on standard error and returns the exit status.
    pub(crate) fn print(&self, json: bool) -> ExitCode {
        // If standard error cannot be written either, only the exit status reports the failure.
        let _unreported = io::stderr().write_all(&self.line(json));
        self.verdict().into()
    }

    /// Formats the failure for standard error.
    pub(crate) fn line(&self, json: bool) -> Vec<u8> {
        if json { object_line(&self.report()) } else { for_stderr(&self.to_text()).into_bytes() }
    }

    /// Returns the failure as JSON.
    pub(crate) fn report(&self) -> Report {
        let Advice { kind, verdict, ref hint } = self.advice;
        Report {
            kind,
            status: verdict.status(),
            error: self.error.to_string(),
            causes: self.causes().collect(),
            hint: hint.clone(),
            start_failure: self.start.clone(),
            until_unix_ms: self.until_unix_ms,
        }
    }

    /// Returns the name in JSON.
    pub(crate) fn name(&self) -> &'static str {
        self.advice.kind
    }

    /// Formats the error with its causes on one line.
    pub(crate) fn sentence(&self) -> String {
        with_causes(&*self.error)
    }

    /// Formats the failure as a note among other output: the error with its causes on one line, and the hint on another.
    pub(crate) fn note(&self) -> String {
        let mut note = self.sentence();
        if let Some(hint) = &self.advice.hint {
            let _infallible = write!(note, "\n  hint: {}", safe(hint));
        }
        note
    }

    fn causes(&self) -> impl Iterator<Item = String> {
        std::iter::successors(self.error.source(), |cause: &&dyn Error| (**cause).source())
            .map(ToString::to_string)
    }

    fn to_text(&self) -> String {
        let red = anstyle::AnsiColor::Red.on_default().bold();
        let cyan = anstyle::AnsiColor::Cyan.on_default().bold();
        let mut text = format!("{red}error{red:#}: {}\n", safe(&self.error));
        for cause in self.causes() {
            let _infallible = writeln!(text, "  because: {}", safe(cause));
        }
        if let Some(log) =
            self.start.as_ref().map(|start| start.log_lines("    | ")).filter(|log| !log.is_empty())
        {
            let _infallible = write!(text, "  the end of its log:\n{log}");
        }
        if let Some(hint) = &self.advice.hint {
            let _infallible = writeln!(text, "{cyan}hint{cyan:#}: {}", safe(hint));
        }
        text
    }
}

/// Formats the error and its causes on one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _infallible = write!(text, ": {error}");
        cause = error.source();
    }
    safe(text).to_string()
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error, Advice::undecided("io"))
    }
}
