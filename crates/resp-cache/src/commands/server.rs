//! Commands on the connection and about the server.

#![expect(clippy::unnecessary_wraps, reason = "all handlers have the type that the table needs")]

use super::call::{Call, Command, lookup};
use super::error::CommandError;
use crate::reply::Protocol;
use crate::{glob, reply, resp};
use std::fmt::Write;

/// The Redis release whose replies these are. Clients adapt what they send to it.
const REDIS_VERSION: &str = "5.0.6";

/// The settings that CONFIG GET reports, in the order of their names.
const SETTINGS: &[(&str, &str)] = &[
    ("appendonly", "no"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("proto-max-bulk-len", "536870912"),
    ("save", ""),
];

pub(super) fn ping(call: &mut Call<'_>) -> Result<(), CommandError> {
    match call.arguments {
        [_] => reply::simple(call.out, "PONG"),
        [_, message] => reply::bulk(call.out, message),
        _ => return Err(CommandError::Arity),
    }
    Ok(())
}

pub(super) fn echo(call: &mut Call<'_>) -> Result<(), CommandError> {
    reply::bulk(call.out, call.arguments[1]);
    Ok(())
}

pub(super) fn quit(call: &mut Call<'_>) -> Result<(), CommandError> {
    call.client.has_quit = true;
    reply::simple(call.out, "OK");
    Ok(())
}

/// Accepts database 0, the only one.
pub(super) fn select(call: &mut Call<'_>) -> Result<(), CommandError> {
    match resp::integer(call.arguments[1]) {
        Some(0) => reply::simple(call.out, "OK"),
        Some(_) => return Err(CommandError::DbIndexRange),
        None => return Err(CommandError::DbIndex),
    }
    Ok(())
}

/// Describes the server, in the protocol that the connection asks for. There is one user, without a password.
pub(super) fn hello(call: &mut Call<'_>) -> Result<(), CommandError> {
    let protocol = match call.arguments.get(1).map(|version| resp::integer(version)) {
        None => call.client.protocol,
        Some(Some(2)) => Protocol::Resp2,
        Some(Some(3)) => Protocol::Resp3,
        Some(Some(_)) => return Err(CommandError::ProtocolVersion),
        Some(None) => return Err(CommandError::ProtocolNumber),
    };
    let (mut name, mut rest) = (None, call.arguments.get(2..).unwrap_or_default());
    while let Some(option) = rest.first() {
        rest = match (option.to_ascii_lowercase().as_slice(), &rest[1..]) {
            (b"auth", [b"default", _, rest @ ..]) => rest,
            (b"auth", [_, _, ..]) => return Err(CommandError::Password),
            (b"setname", [wanted, rest @ ..]) => {
                name = Some(checked_name(wanted)?);
                rest
            }
            _ => return Err(CommandError::HelloOption(call.arguments.len() - rest.len())),
        };
    }
    call.client.protocol = protocol;
    call.client.name = name.unwrap_or_else(|| std::mem::take(&mut call.client.name));
    let id = i64::try_from(call.client.id).unwrap_or(i64::MAX);
    reply::map(call.out, protocol, 7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply::bulk(call.out, key.as_bytes());
        reply::bulk(call.out, value.as_bytes());
    }
    for (key, value) in [("proto", if protocol == Protocol::Resp3 { 3 } else { 2 }), ("id", id)] {
        reply::bulk(call.out, key.as_bytes());
        reply::integer(call.out, value);
    }
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        reply::bulk(call.out, key.as_bytes());
        reply::bulk(call.out, value.as_bytes());
    }
    reply::bulk(call.out, b"modules");
    reply::array(call.out, 0);
    Ok(())
}

/// Returns the name for a connection, if it has no space and no control character.
fn checked_name(name: &[u8]) -> Result<Vec<u8>, CommandError> {
    if name.iter().all(u8::is_ascii_graphic) { Ok(name.to_vec()) } else { Err(CommandError::ClientName) }
}

pub(super) fn client(call: &mut Call<'_>) -> Result<(), CommandError> {
    match (call.arguments[1].to_ascii_lowercase().as_slice(), &call.arguments[2..]) {
        (b"id", []) => reply::integer(call.out, i64::try_from(call.client.id).unwrap_or(i64::MAX)),
        (b"getname", []) => {
            let name = Some(call.client.name.as_slice()).filter(|name| !name.is_empty());
            reply::bulk_or_nil(call.out, call.client.protocol, name);
        }
        (b"setname", [name]) => {
            call.client.name = checked_name(name)?;
            reply::simple(call.out, "OK");
        }
        _ => return Err(CommandError::Subcommand),
    }
    Ok(())
}

pub(super) fn config(call: &mut Call<'_>) -> Result<(), CommandError> {
    match (call.arguments[1].to_ascii_lowercase().as_slice(), &call.arguments[2..]) {
        (b"get", [pattern]) => {
            let pattern = pattern.to_ascii_lowercase();
            let settings = SETTINGS.iter().filter(|(name, _)| glob::matches(&pattern, name.as_bytes()));
            reply::map(call.out, call.client.protocol, settings.clone().count());
            for (name, value) in settings {
                reply::bulk(call.out, name.as_bytes());
                reply::bulk(call.out, value.as_bytes());
            }
            Ok(())
        }
        (b"set", [_, _]) => Err(CommandError::ConfigParameter),
        _ => Err(CommandError::Subcommand),
    }
}

pub(super) fn command(call: &mut Call<'_>) -> Result<(), CommandError> {
    let subcommand = call.arguments.get(1).map(|word| word.to_ascii_lowercase());
    match (subcommand.as_deref(), call.arguments.get(2..).unwrap_or_default()) {
        (None, _) => {
            reply::array(call.out, call.table.len());
            for command in call.table {
                describe(call.out, call.client.protocol, command);
            }
        }
        (Some(b"count"), []) => reply::count(call.out, call.table.len()),
        (Some(b"info"), names) => {
            reply::array(call.out, names.len());
            for name in names {
                match lookup(call.table, name) {
                    Some(command) => describe(call.out, call.client.protocol, command),
                    None => reply::nil(call.out, call.client.protocol),
                }
            }
        }
        _ => return Err(CommandError::Subcommand),
    }
    Ok(())
}

fn describe(out: &mut Vec<u8>, protocol: Protocol, command: &Command) {
    reply::array(out, 6);
    reply::bulk(out, command.name.as_bytes());
    reply::integer(out, command.arity);
    reply::set(out, protocol, command.flags.len());
    for flag in command.flags {
        reply::simple(out, flag);
    }
    for position in command.keys {
        reply::integer(out, position);
    }
}

pub(super) fn info(call: &mut Call<'_>) -> Result<(), CommandError> {
    let wanted = match call.arguments {
        [_] => "default".to_owned(),
        [_, section] => String::from_utf8_lossy(section).to_ascii_lowercase(),
        _ => return Err(CommandError::Syntax),
    };
    let sections = sections(call);
    let chosen = sections.iter().filter(|(name, _)| {
        matches!(wanted.as_str(), "default" | "all" | "everything") || name.eq_ignore_ascii_case(&wanted)
    });
    let text: Vec<String> = chosen.map(|(name, body)| format!("# {name}\r\n{body}")).collect();
    reply::verbatim(call.out, call.client.protocol, &text.join("\r\n"));
    Ok(())
}

/// Returns the sections of INFO, with the fields of Redis that apply to this cache.
fn sections(call: &mut Call<'_>) -> [(&'static str, String); 5] {
    let keys = call.store.len(call.now);
    let (store, stats) = (&*call.store, call.store.stats);
    let uptime = store.uptime(call.now).as_secs();
    [
        (
            "Server",
            fields(&[
                ("redis_version", &REDIS_VERSION),
                ("redis_mode", &"standalone"),
                ("os", &std::env::consts::OS),
                ("arch_bits", &usize::BITS),
                ("process_id", &std::process::id()),
                ("uptime_in_seconds", &uptime),
                ("uptime_in_days", &(uptime / 86400)),
            ]),
        ),
        ("Clients", fields(&[("connected_clients", &stats.connected_clients), ("blocked_clients", &0)])),
        (
            // Counts keys and values only, without the overhead of the allocator and the maps.
            "Memory",
            fields(&[
                ("used_memory", &store.bytes()),
                ("used_memory_dataset", &store.bytes()),
                ("maxmemory", &0),
                ("maxmemory_policy", &"noeviction"),
            ]),
        ),
        (
            "Stats",
            fields(&[
                ("total_connections_received", &stats.connections_received),
                ("total_commands_processed", &stats.commands_processed),
                ("expired_keys", &stats.expired_keys),
                ("evicted_keys", &0),
                ("keyspace_hits", &stats.keyspace_hits),
                ("keyspace_misses", &stats.keyspace_misses),
            ]),
        ),
        ("Keyspace", if keys == 0 { String::new() } else { keyspace(call, keys) }),
    ]
}

fn keyspace(call: &Call<'_>, keys: usize) -> String {
    let lifetimes = call.store.lifetimes(call.now);
    let expires = lifetimes.len();
    let total: u128 = lifetimes.map(|left| left.as_millis()).sum();
    let average = total.checked_div(expires as u128).unwrap_or(0);
    format!("db0:keys={keys},expires={expires},avg_ttl={average}\r\n")
}

fn fields(fields: &[(&str, &dyn std::fmt::Display)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        write!(text, "{name}:{value}\r\n").expect("writing to a String does not fail");
    }
    text
}
