//! What a command says when it cannot say yes.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    No,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Yes => ExitCode::SUCCESS,
            Verdict::No => ExitCode::from(1),
        }
    }
}

/// Why a command stopped, and what its user can do.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    error: Box<dyn Error>,
    hint: Option<String>,
}

/// An error that is only a sentence, with a cause or without.
#[derive(Debug)]
struct Sentence {
    text: String,
    source: Option<Box<dyn Error>>,
}

impl std::fmt::Display for Sentence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Error for Sentence {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref()
    }
}

impl Failure {
    /// The question could not be answered.
    pub(crate) fn undecided(error: impl Into<Box<dyn Error>>) -> Self {
        Self { status: 2, error: error.into(), hint: None }
    }

    /// The answer is no.
    pub(crate) fn negative(error: impl Into<Box<dyn Error>>) -> Self {
        Self { status: 1, error: error.into(), hint: None }
    }

    /// Puts a sentence before the cause.
    pub(crate) fn context(mut self, text: impl Into<String>) -> Self {
        self.error = Box::new(Sentence { text: text.into(), source: Some(self.error) });
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on standard error.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if is_broken_pipe(&*self.error) {
            // Whoever read the output has seen enough of it.
            return ExitCode::SUCCESS;
        }
        let text = if json { self.to_json() } else { self.to_text() };
        // Where standard error is gone too, the exit status is all that is left to say.
        let _unsaid = anstream::stderr().write_all(text.as_bytes());
        ExitCode::from(self.status)
    }

    fn causes(&self) -> impl Iterator<Item = String> {
        std::iter::successors(self.error.source(), |cause: &&dyn Error| (**cause).source())
            .map(ToString::to_string)
    }

    fn to_text(&self) -> String {
        let red = anstyle::AnsiColor::Red.on_default().bold();
        let cyan = anstyle::AnsiColor::Cyan.on_default().bold();
        let mut text = format!("{red}error{red:#}: {}\n", self.error);
        for cause in self.causes() {
            let _infallible = writeln!(text, "  because: {cause}");
        }
        if let Some(hint) = &self.hint {
            let _infallible = writeln!(text, "{cyan}hint{cyan:#}: {hint}");
        }
        text
    }

    fn to_json(&self) -> String {
        let object = serde_json::json!({
            "schema_version": crate::output::SCHEMA_VERSION,
            "error": self.error.to_string(),
            "causes": self.causes().collect::<Vec<_>>(),
            "hint": self.hint,
        });
        format!("{object}\n")
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
    text
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::undecided(error)
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<OutputClosed>().is_some()
}

/// Standard output was closed by its reader.
#[derive(Debug)]
pub(crate) struct OutputClosed;

impl std::fmt::Display for OutputClosed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("standard output was closed")
    }
}

impl Error for OutputClosed {}
