//! Everything that a client has sent in a case.

use crate::commands::conform::case::Need;
use crate::commands::conform::exchange::Exchange;
use crate::commands::conform::fault::Fault;
use crate::commands::conform::frame::{PROBE, RawFrame};

/// A frame of the client.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) frame: RawFrame,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    /// The payload protocol that the client was told.
    pub(super) protocol: u64,
    /// Complete frames, in the order in which they were read.
    pub(super) sent: Vec<Sent>,
    pub(super) exchange: Exchange,
    /// The first bytes that are no frame.
    pub(super) fault: Option<Fault>,
    /// A need of the case that this client does not meet.
    pub(super) missing: Option<Need>,
}

impl Record {
    pub(super) fn probes(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| sent.frame.protocol == PROBE)
    }

    /// Returns all frames but probes.
    pub(super) fn others(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| sent.frame.protocol != PROBE)
    }
}
