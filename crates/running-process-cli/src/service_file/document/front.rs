//! The table `front` of a service's file.

use super::entry::{Entry, Problem, TILDE, command, entries, unknown_of};
use running_process::broker::service::{UpstreamAddress, UpstreamAddressError};
use std::borrow::Cow;
use std::path::PathBuf;

/// The keys of the table.
const KEYS: [&str; 2] = ["command", "connect"];

const EXAMPLE: &str = "for example\n[front]\ncommand = [\"/usr/bin/redis-server\", \"--port\", \"6379\"]\nconnect = \"tcp:127.0.0.1:6379\"";
const CONNECT_EXAMPLE: &str =
    "for example connect = \"unix:/run/user/1000/redis.sock\" or connect = \"tcp:127.0.0.1:6379\"";

/// The daemon behind a front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fronted {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) address: UpstreamAddress,
}

pub(super) fn front(entry: &Entry<'_>) -> Result<Fronted, Problem> {
    let toml::de::DeValue::Table(table) = entry.value else {
        return Err(entry.wrong_type("a table", EXAMPLE));
    };
    let entries = entries(table);
    if let Some(unknown) = entries.iter().find(|entry| !KEYS.contains(&&*entry.key)) {
        return Err(unknown_of(unknown, &KEYS, format!("the keys of `front` are {}", KEYS.join(" and "))));
    }
    let of = |key: &str| {
        let missing = || Problem::new(Some(entry.at), format_args!("`{key}` is missing in `front`"), EXAMPLE);
        entries.iter().find(|entry| entry.key == key).ok_or_else(missing)
    };
    let (program, arguments) = command(of("command")?)?;
    Ok(Fronted {
        program: program.into(),
        arguments: arguments.into_iter().map(str::to_owned).collect(),
        address: address(of("connect")?)?,
    })
}

fn address(entry: &Entry<'_>) -> Result<UpstreamAddress, Problem> {
    let text = entry.filled(CONNECT_EXAMPLE)?;
    let hint = |error: &UpstreamAddressError| match error {
        UpstreamAddressError::NotLoopback(_) => {
            "a front connects to this machine alone: write 127.0.0.1 or [::1]"
        }
        UpstreamAddressError::Port(_) => {
            "names are not looked up: write tcp:127.0.0.1:6379 or tcp:[::1]:6379"
        }
        UpstreamAddressError::RelativePath(path) if path.starts_with('~') => TILDE,
        _ => CONNECT_EXAMPLE,
    };
    let address = text.parse().map_err(|error: UpstreamAddressError| entry.problem(&error, hint(&error)))?;
    if cfg!(windows) && matches!(address, UpstreamAddress::Unix(_)) {
        let hint: Cow<'static, str> = "fronted daemons listen at a port there".into();
        return Err(entry.problem("is a Unix socket, which Windows programs do not share", hint));
    }
    Ok(address)
}
