//! One call of a command, and the entry of a command in the table.

use super::error::CommandError;
use crate::reply::Protocol;
use crate::store::Store;
use std::time::Instant;

/// The cache's state of the connection that a command came on.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// The answer of CLIENT ID; 0 for a command that came in a frame.
    pub(crate) id: u64,
    /// The name that CLIENT SETNAME set; empty without one.
    pub(crate) name: Vec<u8>,
    /// The protocol that HELLO chose.
    pub(crate) protocol: Protocol,
    /// Set once QUIT was answered.
    pub(crate) has_quit: bool,
}

/// The input and output of a command's handler.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) store: &'a mut Store,
    pub(super) client: &'a mut Client,
    /// The command's name and its arguments; their number suits the command's arity.
    pub(super) arguments: &'a [&'a [u8]],
    /// All commands, which COMMAND describes.
    pub(super) table: &'static [Command],
    pub(super) now: Instant,
    pub(super) out: &'a mut Vec<u8>,
}

/// Appends exactly one reply, or returns an error and appends nothing.
type Handler = fn(&mut Call<'_>) -> Result<(), CommandError>;

/// One entry of the table of commands.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    /// Number of arguments with the name, as COMMAND reports it: negative for a minimum.
    pub(super) arity: i64,
    pub(super) flags: &'static [&'static str],
    /// Positions of the keys among the arguments: first, last (negative: from the end), step; zeros for no keys.
    pub(super) keys: [i64; 3],
    pub(super) run: Handler,
}

/// Returns the command with that name, in any case.
pub(super) fn lookup(table: &'static [Command], name: &[u8]) -> Option<&'static Command> {
    table.iter().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
}
