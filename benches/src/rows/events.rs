//! Events at full rate: a handler that sends many of them before it answers.

use super::row_of_calls;
use crate::floor::blocking;
use crate::party::{EVENTS, ours, redis, tonic};
use crate::process::is_installed;
use crate::row::{Contender, Row, Unit};

pub fn rows() -> [Row; 1] {
    [row_of_calls("events", "10,000 events of 64 B before a response", Unit::Rate, EVENTS, || {
        let mut contenders = vec![
            Contender::floor("the same wire by hand, blocking", |scratch| blocking::events(scratch).run),
            Contender::ours("serve", |scratch| ours::events(scratch, "ours").run),
            Contender::ours("AsyncServer, serve", |scratch| ours::events(scratch, "ours-tokio").run),
            Contender::other("tonic, a server stream", |scratch| tonic::events(scratch).run),
        ];
        if is_installed(redis::PROGRAM) {
            let events = |scratch: &_| redis::events(scratch).run;
            contenders.push(Contender::other("redis, PUBLISH to one subscriber", events));
        }
        contenders
    })]
}
