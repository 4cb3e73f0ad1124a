//! The table of commands, and the call of one.

use super::call::{Call, Client, Command, lookup};
use super::error::CommandError;
use super::{keys, server};
use crate::reply;
use crate::store::Store;
use std::time::Instant;

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
    Command { name: "incrby", arity: 3, flags: &["write", "denyoom", "fast"], keys: [1, 1, 1], run: keys::incrby },
    Command { name: "decr", arity: 2, flags: &["write", "denyoom", "fast"], keys: [1, 1, 1], run: keys::decr },
    Command { name: "decrby", arity: 3, flags: &["write", "denyoom", "fast"], keys: [1, 1, 1], run: keys::decrby },
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
    Command { name: "hello", arity: -1, flags: &["noscript", "loading", "stale", "fast"], keys: NO_KEYS, run: server::hello },
    Command { name: "quit", arity: -1, flags: &["noscript", "loading", "stale", "fast"], keys: NO_KEYS, run: server::quit },
];

/// Runs one command and appends its one reply to `out`.
///
/// `arguments` begins with the command's name and is not empty.
pub(crate) fn execute(
    store: &mut Store,
    client: &mut Client,
    arguments: &[&[u8]],
    now: Instant,
    out: &mut Vec<u8>,
) {
    let result = lookup(COMMANDS, arguments[0]).ok_or(CommandError::Unknown).and_then(|command| {
        let given = i64::try_from(arguments.len()).unwrap_or(i64::MAX);
        if given < command.arity.abs() || (command.arity > 0 && given > command.arity) {
            return Err(CommandError::Arity);
        }
        store.stats.commands_processed += 1;
        (command.run)(&mut Call { store, client, arguments, table: COMMANDS, now, out })
    });
    if let Err(error) = result {
        reply::error_of_kind(out, error.kind(), &error.text(arguments));
    }
}
