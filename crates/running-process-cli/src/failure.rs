//! What a command says when it cannot say yes.

pub(crate) mod advice;

use crate::output::text::safe;
use crate::output::{for_stderr, object_line};
use advice::Advice;
use serde::Serialize;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    No,
    /// The question could not be answered, and the error has been printed.
    Undecided,
}

impl Verdict {
    fn status(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Undecided => 2,
        }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        ExitCode::from(verdict.status())
    }
}

/// Why a command stopped, and what its user can do.
#[derive(Debug)]
pub(crate) struct Failure {
    advice: Advice,
    error: Box<dyn Error>,
}

/// An error that is only a sentence, with a cause or without.
#[derive(Debug)]
struct Sentence {
    text: String,
    source: Option<Box<dyn Error>>,
}

impl fmt::Display for Sentence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Error for Sentence {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref()
    }
}

/// A failure for programs, as docs/json.md describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    kind: &'static str,
    status: u8,
    error: String,
    causes: Vec<String>,
    hint: Option<Cow<'static, str>>,
}

impl Failure {
    /// Combines an error with the advice that fits it. If one of its causes is an exhausted resource of this process or of the
    /// system, the advice is about that resource.
    pub(crate) fn new(error: impl Into<Box<dyn Error>>, advice: Advice) -> Self {
        let error = error.into();
        let advice = advice::exhausted(&*error).unwrap_or(advice);
        Self { advice, error }
    }

    /// The question could not be answered.
    pub(crate) fn undecided(error: impl Into<Box<dyn Error>>) -> Self {
        Self::new(error, Advice::undecided("failed"))
    }

    /// The answer is no.
    pub(crate) fn negative(error: impl Into<Box<dyn Error>>) -> Self {
        Self::new(error, Advice::no("failed"))
    }

    /// Creates the failure of unusable arguments.
    pub(crate) fn usage(error: impl Into<Box<dyn Error>>) -> Self {
        Self::new(error, Advice::undecided("usage"))
    }

    /// Sets the name in JSON, unless the advice has a hint already, as that about an exhausted resource has.
    pub(crate) fn kind(mut self, kind: &'static str) -> Self {
        if self.advice.hint.is_none() {
            self.advice.kind = kind;
        }
        self
    }

    /// Puts a sentence before the cause.
    pub(crate) fn context(mut self, text: impl Into<String>) -> Self {
        self.error = Box::new(Sentence { text: text.into(), source: Some(self.error) });
        self
    }

    /// Sets the hint, unless the advice has one already.
    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.advice.hint.get_or_insert_with(|| hint.into());
        self
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.advice.verdict
    }

    /// Says it on standard error.
    pub(crate) fn print(&self, json: bool) -> ExitCode {
        // Where standard error is gone too, the exit status is all that is left to say.
        let _unsaid = io::stderr().write_all(&self.line(json));
        self.verdict().into()
    }

    /// Returns the failure as it is written to standard error.
    pub(crate) fn line(&self, json: bool) -> Vec<u8> {
        if json { object_line(&self.report()) } else { for_stderr(&self.to_text()).into_bytes() }
    }

    /// Returns the failure for programs.
    pub(crate) fn report(&self) -> Report {
        let Advice { kind, verdict, ref hint } = self.advice;
        Report {
            kind,
            status: verdict.status(),
            error: self.error.to_string(),
            causes: self.causes().collect(),
            hint: hint.clone(),
        }
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
        if let Some(hint) = &self.advice.hint {
            let _infallible = writeln!(text, "{cyan}hint{cyan:#}: {}", safe(hint));
        }
        text
    }
}

/// The error and its causes, on one line.
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
