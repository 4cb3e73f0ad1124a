//! The absence of a poller: pipes of Windows have no readiness, so a thread reads each connection.

use crate::broker::backend_sdk::server::sync::LocalStream;
use std::io;
use std::time::Duration;

/// No poller exists.
pub(super) enum Poller {}

#[allow(clippy::unused_self, reason = "the methods of the systems that have one")]
impl Poller {
    #[allow(clippy::unnecessary_wraps, reason = "other systems may fail")]
    pub(super) fn new() -> io::Result<Option<Self>> {
        Ok(None)
    }

    pub(super) fn watch(&self, _: &LocalStream, _: u64, _: Option<bool>, _: Option<bool>) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn wake(&self) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn poll(&self, _: Option<Duration>, _: impl FnMut(u64, u8)) -> io::Result<()> {
        match *self {}
    }
}
