//! The text of a service's file, checked.

mod entry;
mod front;
pub(super) mod units;

pub(super) use entry::Problem;
pub(crate) use front::Fronted;

use entry::{COMMAND_EXAMPLE, Entry, TILDE, command, entries, unknown_of};
use running_process::broker::service::Service;
use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// The keys of a service's file.
const KEYS: [&str; 10] = [
    "name",
    "command",
    "version",
    "build",
    "key",
    "idle_timeout",
    "environment",
    "directory",
    "log_limit",
    "front",
];

const KEY_EXAMPLE: &str = "for example key = \"/srv/project\"; leave it out for one daemon for each user";
/// A service, as its file describes it.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) service: Service,
    /// The daemon behind the one of the service, which has no command then.
    pub(super) fronted: Option<Fronted>,
}

/// Returns the service that the text describes.
pub(super) fn parse(text: &str) -> Result<Described, Problem> {
    let table = DeTable::parse(text).map_err(|error| Problem::syntax(&error))?;
    let entries = entries(table.get_ref());
    let name = entries.iter().find(|entry| entry.key == "name");
    let mut service = match name {
        Some(name) => named(name)?,
        // An unknown key may be a wrong spelling of it.
        None => entries.iter().find(|entry| !KEYS.contains(&&*entry.key)).map_or_else(
            || Err(Problem::missing("name", "add a name, for example name = \"cache\"")),
            |entry| Err(unknown(entry)),
        )?,
    };
    let mut has_command = false;
    let mut fronted = None;
    for entry in &entries {
        service = match &*entry.key {
            "name" => service,
            "command" => {
                has_command = true;
                let (program, arguments) = command(entry)?;
                service.command(program, arguments)
            }
            "front" => {
                fronted = Some((entry, front::front(entry)?));
                service
            }
            "version" => service.version(entry.release("for example version = \"1.2.0\"")?),
            "build" => service.build(entry.release("for example build = \"4f2a91c\"")?),
            "key" => service.keyed_by(entry.filled(KEY_EXAMPLE)?),
            "idle_timeout" => service.idle_timeout(idle_timeout(entry)?),
            "environment" => environment(entry)?
                .into_iter()
                .fold(service, |service, (name, value)| service.environment_variable(name, value)),
            "directory" => service.working_directory(directory(entry)?),
            "log_limit" => service.log_limit(log_limit(entry)?),
            _ => return Err(unknown(entry)),
        };
    }
    match fronted {
        Some((entry, _)) if has_command => {
            let hint = "a front is the service's daemon itself: move the command into the table `front`";
            Err(Problem::new(Some(entry.key_at), "`front` and `command` exclude each other", hint))
        }
        None if !has_command => Err(Problem::missing("command", COMMAND_EXAMPLE)),
        fronted => Ok(Described { service, fronted: fronted.map(|(_, fronted)| fronted) }),
    }
}

fn named(entry: &Entry<'_>) -> Result<Service, Problem> {
    let hint = "for example name = \"cache\"";
    Service::new(entry.filled(hint)?).map_err(|error| Problem::new(Some(entry.at), error, hint))
}

fn directory(entry: &Entry<'_>) -> Result<PathBuf, Problem> {
    let hint = "for example directory = \"/var/tmp\"; leave it out for /";
    let text = entry.filled(hint)?;
    let path = PathBuf::from(text);
    if path.is_absolute() {
        return Ok(path);
    }
    let hint = if text.starts_with('~') {
        TILDE
    } else {
        "write an absolute path: callers have other working directories"
    };
    Err(entry.problem(format_args!("{text:?} is a relative path"), hint))
}

fn idle_timeout(entry: &Entry<'_>) -> Result<Duration, Problem> {
    let hint = "for example idle_timeout = \"30m\", \"90s\" or \"1h 30m\"; leave it out for a daemon that never ends by itself";
    units::duration(entry.text(hint)?).map_err(|problem| entry.problem(problem, hint))
}

fn log_limit(entry: &Entry<'_>) -> Result<u64, Problem> {
    let hint = "for example log_limit = \"10MB\", \"512KiB\" or 10000000";
    let size = match entry.value {
        DeValue::Integer(number) if number.radix() == 10 => units::size(number.as_str()),
        DeValue::String(text) => units::size(text),
        _ => return Err(entry.wrong_type("a text or a decimal number", hint)),
    };
    size.map_err(|problem| entry.problem(problem, hint))
}

fn environment(entry: &Entry<'_>) -> Result<Vec<(String, String)>, Problem> {
    let DeValue::Table(table) = entry.value else {
        return Err(entry.wrong_type("a table", "for example environment = { RUST_LOG = \"info\" }"));
    };
    let mut variables = Vec::new();
    for variable in entries(table) {
        let name = &*variable.key;
        let problem = |problem: &str, hint: Cow<'static, str>| {
            Problem::new(Some(variable.key_at), format_args!("the variable {name:?} {problem}"), hint)
        };
        if KEYS.contains(&name) {
            let hint = format!(
                "write `{name}` above the line [environment]: all that follows that line is a variable"
            );
            return Err(problem("in `environment` has the name of a key", hint.into()));
        }
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(problem("cannot be set", "a name is not empty and has no `=`".into()));
        }
        let value = variable.text("write the value in quotes, for example RUST_LOG = \"info\"")?;
        variables.push((name.to_owned(), value.to_owned()));
    }
    Ok(variables)
}

fn unknown(entry: &Entry<'_>) -> Problem {
    let hint = match entry.value {
        DeValue::Table(_) => {
            "only `environment` and `front` are tables: the other keys stand at the top of the file, in no section"
                .into()
        }
        _ => format!("the keys are {}", KEYS.join(", ")),
    };
    unknown_of(entry, &KEYS, hint)
}
