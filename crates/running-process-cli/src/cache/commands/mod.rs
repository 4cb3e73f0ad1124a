//! The commands of the cache: one table, and [`execute`], which looks a request up in it and runs it.
//!
//! Replies and error texts are those of Redis 5, so HELLO is an unknown command here. The options KEEPTTL and
//! GET of SET are younger and behave as in Redis 7.

mod keys;
mod server;

use super::reply;
use super::store::{IncrementError, Store};
use std::time::Instant;

/// What the cache knows of the connection that a command came on.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// As CLIENT ID tells; 0 when no Redis connection carries the command.
    pub(crate) id: u64,
    /// As CLIENT SETNAME set it; empty when it did not.
    pub(crate) name: Vec<u8>,
    /// QUIT was answered.
    pub(crate) quit: bool,
}

/// One command as its handler sees it. `arguments` starts with the command's name, and their number suits its
/// arity.
#[derive(Debug)]
struct Call<'a> {
    store: &'a mut Store,
    client: &'a mut Client,
    arguments: &'a [&'a [u8]],
    now: Instant,
    out: &'a mut Vec<u8>,
}

/// A handler appends exactly one reply, or returns an error and appends nothing.
type Handler = fn(&mut Call<'_>) -> Result<(), CommandError>;

#[derive(Debug)]
struct Command {
    name: &'static str,
    /// The number of arguments with the name, as COMMAND tells it: negative for "at least".
    arity: i64,
    flags: &'static [&'static str],
    /// Where the keys are among the arguments: first, last (negative: from the end), step; zeros for none.
    keys: [i64; 3],
    run: Handler,
}

const NO_KEYS: [i64; 3] = [0, 0, 0];

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    Command { name: "get", arity: 2, flags: &["readonly", "fast"], keys: [1, 1, 1], run: keys::get },
    Command { name: "set", arity: -3, flags: &["write", "denyoom"], keys: [1, 1, 1], run: keys::set },
    Command { name: "ping", arity: -1, flags: &["stale", "fast"], keys: NO_KEYS, run: server::ping },
    Command { name: "echo", arity: 2, flags: &["fast"], keys: NO_KEYS, run: server::echo },
    Command { name: "del", arity: -2, flags: &["write"], keys: [1, -1, 1], run: keys::del },
    Command { name: "exists", arity: -2, flags: &["readonly", "fast"], keys: [1, -1, 1], run: keys::exists },
    Command { name: "incr", arity: 2, flags: &["write", "denyoom", "fast"], keys: [1, 1, 1], run: keys::incr },
    Command { name: "mget", arity: -2, flags: &["readonly", "fast"], keys: [1, -1, 1], run: keys::mget },
    Command { name: "mset", arity: -3, flags: &["write", "denyoom"], keys: [1, -1, 2], run: keys::mset },
    Command { name: "keys", arity: 2, flags: &["readonly", "sort_for_script"], keys: NO_KEYS, run: keys::keys },
    Command { name: "ttl", arity: 2, flags: &["readonly", "random", "fast"], keys: [1, 1, 1], run: keys::ttl },
    Command { name: "dbsize", arity: 1, flags: &["readonly", "fast"], keys: NO_KEYS, run: keys::dbsize },
    Command { name: "flushdb", arity: -1, flags: &["write"], keys: NO_KEYS, run: keys::flush },
    Command { name: "flushall", arity: -1, flags: &["write"], keys: NO_KEYS, run: keys::flush },
    Command { name: "select", arity: 2, flags: &["loading", "fast"], keys: NO_KEYS, run: server::select },
    Command { name: "info", arity: -1, flags: &["random", "loading", "stale"], keys: NO_KEYS, run: server::info },
    Command { name: "config", arity: -2, flags: &["admin", "noscript", "loading", "stale"], keys: NO_KEYS, run: server::config },
    Command { name: "command", arity: -1, flags: &["random", "loading", "stale"], keys: NO_KEYS, run: server::command },
    Command { name: "client", arity: -2, flags: &["admin", "noscript"], keys: NO_KEYS, run: server::client },
    Command { name: "quit", arity: -1, flags: &["noscript", "loading", "stale", "fast"], keys: NO_KEYS, run: server::quit },
];

/// Runs one command and appends its one reply to `out`. `arguments` starts with the command's name and is not
/// empty.
pub(crate) fn execute(
    store: &mut Store,
    client: &mut Client,
    arguments: &[&[u8]],
    now: Instant,
    out: &mut Vec<u8>,
) {
    let result = lookup(arguments[0]).ok_or(CommandError::Unknown).and_then(|command| {
        let given = i64::try_from(arguments.len()).unwrap_or(i64::MAX);
        if given < command.arity.abs() || (command.arity > 0 && given > command.arity) {
            return Err(CommandError::Arity);
        }
        store.stats.commands_processed += 1;
        (command.run)(&mut Call { store, client, arguments, now, out })
    });
    if let Err(error) = result {
        reply::error(out, &error.text(arguments));
    }
}

fn lookup(name: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommandError {
    Unknown,
    Arity,
    /// MSET got a key without a value.
    MsetArity,
    Subcommand,
    Syntax,
    NotAnInteger,
    Overflow,
    ExpireTime,
    DbIndex,
    DbIndexRange,
    ClientName,
    ConfigParameter,
}

impl CommandError {
    /// The words of the error reply, without `-ERR`, for a command with these arguments.
    fn text(self, arguments: &[&[u8]]) -> Vec<u8> {
        let text: &[u8] = match self {
            Self::Unknown => return unknown_command(arguments),
            Self::Arity => {
                let name = arguments[0].to_ascii_lowercase();
                return [b"wrong number of arguments for '", &name[..], b"' command"].concat();
            }
            Self::MsetArity => b"wrong number of arguments for MSET",
            Self::Subcommand => {
                let (command, subcommand) = (arguments[0].to_ascii_uppercase(), c_string(arguments[1]));
                let start = b"Unknown subcommand or wrong number of arguments for '";
                let end: &[u8] = if command == b"CLIENT" { b" HELP" } else { b" HELP." };
                return [start, subcommand, b"'. Try ", &command, end].concat();
            }
            Self::Syntax => b"syntax error",
            Self::NotAnInteger => b"value is not an integer or out of range",
            Self::Overflow => b"increment or decrement would overflow",
            Self::ExpireTime => b"invalid expire time in set",
            Self::DbIndex => b"invalid DB index",
            Self::DbIndexRange => b"DB index is out of range",
            Self::ClientName => b"Client names cannot contain spaces, newlines or special characters.",
            Self::ConfigParameter => {
                return [b"Unsupported CONFIG parameter: ", c_string(arguments[2])].concat();
            }
        };
        text.to_vec()
    }
}

impl From<IncrementError> for CommandError {
    fn from(error: IncrementError) -> Self {
        match error {
            IncrementError::NotAnInteger => Self::NotAnInteger,
            IncrementError::Overflow => Self::Overflow,
        }
    }
}

/// Quotes the arguments until the quotes take 128 bytes.
fn unknown_command(arguments: &[&[u8]]) -> Vec<u8> {
    const LIMIT: usize = 128;
    let mut quoted = Vec::new();
    for argument in &arguments[1..] {
        if quoted.len() >= LIMIT {
            break;
        }
        let argument = c_string(argument);
        let shown = &argument[..argument.len().min(LIMIT - quoted.len())];
        quoted.extend_from_slice(&[b"`", shown, b"`, "].concat());
    }
    [b"unknown command `", c_string(arguments[0]), b"`, with args beginning with: ", &quoted].concat()
}

/// What a C function prints of an argument: all before the first NUL.
fn c_string(argument: &[u8]) -> &[u8] {
    argument.split(|&byte| byte == 0).next().unwrap_or_default()
}
