//! Commands on keys and values.

#![expect(clippy::unnecessary_wraps, reason = "all handlers have the type that the table needs")]

use super::call::Call;
use super::error::CommandError;
use crate::reply;
use crate::resp;
use crate::store::{Condition, Expiry, Ttl};
use std::time::{Duration, Instant};

pub(super) fn get(call: &mut Call<'_>) -> Result<(), CommandError> {
    reply::bulk_or_nil(call.out, call.client.protocol, call.store.get(call.arguments[1], call.now));
    Ok(())
}

pub(super) fn set(call: &mut Call<'_>) -> Result<(), CommandError> {
    let (key, value) = (call.arguments[1], call.arguments[2]);
    let options = SetOptions::parse(&call.arguments[3..])?;
    let expiry = options.expiry(call.now)?;
    if options.get {
        reply::bulk_or_nil(call.out, call.client.protocol, call.store.get(key, call.now));
    }
    let stored = call.store.set(key, value, options.condition, expiry, call.now);
    match (options.get, stored) {
        (true, _) => {}
        (false, true) => reply::simple(call.out, "OK"),
        (false, false) => reply::nil(call.out, call.client.protocol),
    }
    Ok(())
}

#[derive(Debug, Default)]
struct SetOptions<'a> {
    condition: Condition,
    /// The last EX or PX: its unit in milliseconds and its count, not yet parsed.
    lifetime: Option<(u64, &'a [u8])>,
    keep_ttl: bool,
    get: bool,
}

impl<'a> SetOptions<'a> {
    /// Parses the options behind key and value. They may repeat but not contradict each other.
    fn parse(mut words: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        while let [word, rest @ ..] = words {
            words = rest;
            match (word.to_ascii_lowercase().as_slice(), options.condition, options.lifetime, words) {
                (b"nx", Condition::Always | Condition::IfMissing, ..) => {
                    options.condition = Condition::IfMissing;
                }
                (b"xx", Condition::Always | Condition::IfPresent, ..) => {
                    options.condition = Condition::IfPresent;
                }
                (b"get", ..) => options.get = true,
                (b"keepttl", _, None, _) => options.keep_ttl = true,
                (b"ex", _, None | Some((1000, _)), [count, rest @ ..]) if !options.keep_ttl => {
                    options.lifetime = Some((1000, count));
                    words = rest;
                }
                (b"px", _, None | Some((1, _)), [count, rest @ ..]) if !options.keep_ttl => {
                    options.lifetime = Some((1, count));
                    words = rest;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    /// Returns the expiry; refuses a time that is not in the future or that the clock cannot express.
    fn expiry(&self, now: Instant) -> Result<Expiry, CommandError> {
        let Some((unit, count)) = self.lifetime else {
            return Ok(if self.keep_ttl { Expiry::Keep } else { Expiry::Never });
        };
        let count = resp::integer(count).ok_or(CommandError::NotAnInteger)?;
        let deadline = u64::try_from(count)
            .ok()
            .filter(|&count| count > 0)
            .and_then(|count| count.checked_mul(unit))
            .and_then(|millis| now.checked_add(Duration::from_millis(millis)));
        deadline.map(Expiry::At).ok_or(CommandError::ExpireTime)
    }
}

pub(super) fn del(call: &mut Call<'_>) -> Result<(), CommandError> {
    let removed = call.arguments[1..].iter().filter(|key| call.store.remove(key, call.now)).count();
    reply::count(call.out, removed);
    Ok(())
}

/// Counts the keys that exist; a key counts as often as it is named.
pub(super) fn exists(call: &mut Call<'_>) -> Result<(), CommandError> {
    let present = call.arguments[1..].iter().filter(|key| call.store.contains(key, call.now)).count();
    reply::count(call.out, present);
    Ok(())
}

pub(super) fn incr(call: &mut Call<'_>) -> Result<(), CommandError> {
    increment(call, 1)
}

pub(super) fn incrby(call: &mut Call<'_>) -> Result<(), CommandError> {
    let by = resp::integer(call.arguments[2]).ok_or(CommandError::NotAnInteger)?;
    increment(call, by)
}

pub(super) fn decr(call: &mut Call<'_>) -> Result<(), CommandError> {
    increment(call, -1)
}

pub(super) fn decrby(call: &mut Call<'_>) -> Result<(), CommandError> {
    let by = resp::integer(call.arguments[2]).ok_or(CommandError::NotAnInteger)?;
    increment(call, by.checked_neg().ok_or(CommandError::DecrementOverflow)?)
}

fn increment(call: &mut Call<'_>, by: i64) -> Result<(), CommandError> {
    let value = call.store.increment(call.arguments[1], by, call.now)?;
    reply::integer(call.out, value);
    Ok(())
}

pub(super) fn mget(call: &mut Call<'_>) -> Result<(), CommandError> {
    let keys = &call.arguments[1..];
    reply::array(call.out, keys.len());
    for key in keys {
        reply::bulk_or_nil(call.out, call.client.protocol, call.store.get(key, call.now));
    }
    Ok(())
}

pub(super) fn mset(call: &mut Call<'_>) -> Result<(), CommandError> {
    let (pairs, rest) = call.arguments[1..].as_chunks();
    if !rest.is_empty() {
        return Err(CommandError::MsetArity);
    }
    for [key, value] in pairs {
        call.store.set(key, value, Condition::Always, Expiry::Never, call.now);
    }
    reply::simple(call.out, "OK");
    Ok(())
}

pub(super) fn keys(call: &mut Call<'_>) -> Result<(), CommandError> {
    let keys: Vec<&[u8]> = call.store.keys(call.arguments[1], call.now).collect();
    reply::array(call.out, keys.len());
    for key in keys {
        reply::bulk(call.out, key);
    }
    Ok(())
}

/// Replies with seconds, rounded to the nearest; -1 for a key without a deadline, -2 for a missing one.
pub(super) fn ttl(call: &mut Call<'_>) -> Result<(), CommandError> {
    let seconds = match call.store.ttl(call.arguments[1], call.now) {
        Ttl::Missing => -2,
        Ttl::Never => -1,
        Ttl::Left(left) => i64::try_from((left.as_millis() + 500) / 1000).unwrap_or(i64::MAX),
    };
    reply::integer(call.out, seconds);
    Ok(())
}

pub(super) fn dbsize(call: &mut Call<'_>) -> Result<(), CommandError> {
    reply::count(call.out, call.store.len(call.now));
    Ok(())
}

pub(super) fn flush(call: &mut Call<'_>) -> Result<(), CommandError> {
    match call.arguments {
        [_] => {}
        [_, mode] if mode.eq_ignore_ascii_case(b"async") => {}
        _ => return Err(CommandError::Syntax),
    }
    call.store.clear();
    reply::simple(call.out, "OK");
    Ok(())
}
