//! The entries of a table in a service's file, and what is wrong with them.

use running_process::broker::backend_lifecycle::identity::MAX_VERSION_BYTES;
use std::borrow::Cow;
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) const COMMAND_EXAMPLE: &str = "write the program and each argument as a text of its own, for example command = [\"/usr/bin/cached\", \"--quiet\"]";
pub(super) const TILDE: &str = "`~` and variables are not expanded: write the whole path";

/// The reason why a text is not a service's.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Offset of the cause in bytes; `None` if something is missing.
    pub(crate) at: Option<usize>,
    pub(crate) text: String,
    pub(crate) hint: Cow<'static, str>,
}

impl Problem {
    pub(crate) fn new(
        at: Option<usize>,
        text: impl fmt::Display,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { at, text: text.to_string(), hint: hint.into() }
    }

    pub(crate) fn not_utf8(at: usize) -> Self {
        Self::new(Some(at), "the text is not UTF-8", "save the file as UTF-8")
    }

    pub(super) fn missing(key: &str, hint: &'static str) -> Self {
        Self::new(None, format_args!("`{key}` is missing"), hint)
    }

    pub(super) fn syntax(error: &toml::de::Error) -> Self {
        if error.message().contains("duplicate key") {
            let hint = "each key is given once: remove one of the two lines";
            return Self::new(error.span().map(|span| span.start), error.message(), hint);
        }
        let hint = "texts are written in quotes, lists as [\"a\", \"b\"]; a text with a backslash is written in single quotes";
        Self::new(error.span().map(|span| span.start), error.message(), hint)
    }
}

/// A key with its value.
pub(super) struct Entry<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) key_at: usize,
    pub(super) value: &'a DeValue<'a>,
    pub(super) at: usize,
}

/// Returns the entries in the order of the file.
pub(super) fn entries<'a>(table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let entry = |(key, value): (&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| Entry {
        key: key.get_ref().as_ref().into(),
        key_at: key.span().start,
        value: value.get_ref(),
        at: value.span().start,
    };
    let mut entries: Vec<_> = table.iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.key_at);
    entries
}

impl<'a> Entry<'a> {
    /// Returns the problem with the value; `problem` continues a sentence whose subject is the key.
    pub(super) fn problem(&self, problem: impl fmt::Display, hint: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(Some(self.at), format_args!("`{}` {problem}", self.key), hint)
    }

    /// Returns the problem that the value is not `expected`.
    pub(super) fn wrong_type(&self, expected: &str, hint: impl Into<Cow<'static, str>>) -> Problem {
        let found = match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or a time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(format_args!("is {found}, not {expected}"), hint)
    }

    /// Returns the value as a text that the system can take.
    pub(super) fn text(&self, hint: &'static str) -> Result<&'a str, Problem> {
        match self.value {
            DeValue::String(text) if text.contains('\0') => Err(self.problem("has a NUL character", hint)),
            DeValue::String(text) => Ok(text),
            _ => Err(self.wrong_type("a text", hint)),
        }
    }

    /// Returns the value as a version or build, which an identity can tell.
    pub(super) fn release(&self, hint: &'static str) -> Result<&'a str, Problem> {
        match self.text(hint)? {
            text if text.len() > MAX_VERSION_BYTES => {
                Err(self
                    .problem(format_args!("is {} bytes, the most is {MAX_VERSION_BYTES}", text.len()), hint))
            }
            text if text.contains(char::is_control) => Err(self.problem("has a control character", hint)),
            text => Ok(text),
        }
    }

    /// Returns the value as a text that is not empty.
    pub(super) fn filled(&self, hint: &'static str) -> Result<&'a str, Problem> {
        match self.text(hint)? {
            "" => Err(self.problem("is empty", hint)),
            text => Ok(text),
        }
    }
}

/// Returns the program and the arguments of a command.
pub(super) fn command<'a>(entry: &Entry<'a>) -> Result<(&'a str, Vec<&'a str>), Problem> {
    let DeValue::Array(array) = entry.value else {
        return Err(entry.wrong_type("a list of texts", COMMAND_EXAMPLE));
    };
    let mut parts = Vec::new();
    for (index, value) in array.iter().enumerate() {
        let key = format!("command[{index}]").into();
        let part = Entry { key, key_at: entry.key_at, value: value.get_ref(), at: value.span().start };
        parts.push(part.text(COMMAND_EXAMPLE)?);
        if index == 0 {
            is_program(part.filled(COMMAND_EXAMPLE)?)
                .map_err(|(problem, hint)| part.problem(problem, hint))?;
        }
    }
    if parts.is_empty() {
        return Err(entry.problem("is empty", COMMAND_EXAMPLE));
    }
    let arguments = parts.split_off(1);
    Ok((parts[0], arguments))
}

/// Checks that every caller finds the same program: an absolute path, or a name in `PATH`.
fn is_program(program: &str) -> Result<(), (String, &'static str)> {
    let path = std::path::Path::new(program);
    if path.is_absolute() || !program.contains(std::path::is_separator) {
        return Ok(());
    }
    let hint = if program.starts_with('~') {
        TILDE
    } else {
        "write an absolute path, or the name of a program in PATH: callers have other working directories"
    };
    Err((format!("{program:?} is a relative path"), hint))
}

/// Returns the problem of a key that is none of the known `keys`.
pub(super) fn unknown_of(entry: &Entry<'_>, keys: &[&str], hint: String) -> Problem {
    let nearest = keys.iter().min_by_key(|known| strsim::osa_distance(&entry.key, known));
    let nearest = nearest.map_or("", |known| *known);
    let problem = format!("unknown key {:?}, the nearest known one is `{nearest}`", entry.key);
    Problem::new(Some(entry.key_at), problem, hint)
}
