//! The open connections of a server, and the slots that it has for more.

use crate::broker::backend_sdk::proto::connection::ConnectionConfig;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Number of connections that a server keeps open beyond [`ServerConfig::max_connections`](super::ServerConfig::max_connections),
/// to answer their probes and to refuse their requests. Further ones wait in the backlog until one of these has ended.
pub const OVER_CAPACITY_CONNECTIONS: usize = 16;

/// Limit of every timeout of such a connection.
const OVER_CAPACITY_TIMEOUT: Duration = Duration::from_secs(1);

/// Shortest time for which such a connection keeps its slot while others wait for one.
const MIN_OVER_CAPACITY_TIME: Duration = Duration::from_millis(100);

/// Time for which the server waits for the end of a connection whose slot is needed.
pub const REPLACE_TIMEOUT: Duration = MIN_OVER_CAPACITY_TIME;

/// The slot of a connection, within the limit or beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Within [`max_connections`](super::ServerConfig::max_connections): the connection is served.
    Served,
    /// Beyond it, since the connection was accepted: probes are answered, and requests are refused.
    OverCapacity(Instant),
}

impl Slot {
    pub(super) fn is_over_capacity(self) -> bool {
        matches!(self, Self::OverCapacity(_))
    }
}

/// The answer to the question for a slot.
#[derive(Debug)]
pub enum SlotOffer<'a, C> {
    /// The connection that was accepted has this slot.
    Free(Slot),
    /// The slot of this connection is next. The driver drains that connection, and asks again once it is removed, or after
    /// [`REPLACE_TIMEOUT`].
    After(&'a C),
    /// Each connection beyond the limit has been open too briefly: the driver asks again after this time.
    Wait(Duration),
}

/// The open connections of a server; `C` is the driver's type for one. A driver that has accepted a connection asks for its
/// [slot](Self::slot), and accepts no other until there is one. It closes no connection for lack of a slot: a client that is
/// closed without a refusal cannot tell a full server from one that has ended.
#[derive(Debug)]
pub struct ConnectionTable<C> {
    max_connections: usize,
    next_id: u64,
    open: HashMap<u64, (Slot, C)>,
}

impl<C> ConnectionTable<C> {
    /// Returns the empty table of a server that serves `max_connections` at once.
    #[must_use]
    pub fn new(max_connections: usize) -> Self {
        Self { max_connections, next_id: 0, open: HashMap::new() }
    }

    /// Returns the slot for a connection that was accepted at `now`.
    #[must_use]
    pub fn slot(&self, now: Instant) -> SlotOffer<'_, C> {
        if self.open.len() < self.max_connections {
            return SlotOffer::Free(Slot::Served);
        }
        let beyond = self.open.values().filter_map(|(slot, connection)| match slot {
            Slot::Served => None,
            Slot::OverCapacity(since) => Some((*since, connection)),
        });
        let (mut count, mut oldest) = (0, None);
        for (since, connection) in beyond {
            count += 1;
            if oldest.is_none_or(|(oldest, _)| since < oldest) {
                oldest = Some((since, connection));
            }
        }
        match oldest {
            _ if self.open.len() - count < self.max_connections => SlotOffer::Free(Slot::Served),
            Some((since, connection)) if count >= OVER_CAPACITY_CONNECTIONS => {
                match MIN_OVER_CAPACITY_TIME.saturating_sub(now.saturating_duration_since(since)) {
                    Duration::ZERO => SlotOffer::After(connection),
                    left => SlotOffer::Wait(left),
                }
            }
            _ => SlotOffer::Free(Slot::OverCapacity(now)),
        }
    }

    /// Adds the connection that `open` makes from its id, which no other connection of this table has had.
    pub fn insert(&mut self, slot: Slot, open: impl FnOnce(u64) -> C) -> &C {
        let id = self.next_id;
        self.next_id += 1;
        &self.open.entry(id).or_insert((slot, open(id))).1
    }

    /// Removes the connection `id`, which has ended.
    pub fn remove(&mut self, id: u64) -> Option<C> {
        self.open.remove(&id).map(|(_, connection)| connection)
    }

    /// Returns the connection `id`.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&C> {
        self.open.get(&id).map(|(_, connection)| connection)
    }

    /// Returns the connection `id`, to change it.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut C> {
        self.open.get_mut(&id).map(|(_, connection)| connection)
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns whether no connection is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns the open connections, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.open.values().map(|(_, connection)| connection)
    }

    /// Returns the open connections, in no order, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut C> {
        self.open.values_mut().map(|(_, connection)| connection)
    }
}

/// Returns the limits of a connection whose peer is only told that the server is full.
pub(super) fn over_capacity_demands(config: &ConnectionConfig) -> ConnectionConfig {
    let [first_message_timeout, message_timeout, probed_timeout] =
        [config.first_message_timeout, config.message_timeout, config.probed_timeout]
            .map(|timeout| timeout.min(OVER_CAPACITY_TIMEOUT));
    let idle_timeout =
        Some(config.idle_timeout.map_or(OVER_CAPACITY_TIMEOUT, |idle| idle.min(OVER_CAPACITY_TIMEOUT)));
    ConnectionConfig {
        first_message_timeout,
        probed_timeout,
        message_timeout,
        idle_timeout,
        ..config.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(served: usize, beyond: usize, since: Instant, now: Instant) -> String {
        let mut table = ConnectionTable::new(3);
        for _ in 0..served {
            table.insert(Slot::Served, |id| id);
        }
        for late in 0..beyond {
            let since = since + Duration::from_millis(late.try_into().unwrap());
            table.insert(Slot::OverCapacity(since), |id| id);
        }
        match table.slot(now) {
            SlotOffer::Free(Slot::Served) => "served".to_owned(),
            SlotOffer::Free(Slot::OverCapacity(at)) => format!("over capacity {}", at == now),
            SlotOffer::After(id) => format!("after {id}"),
            SlotOffer::Wait(time) => format!("wait {time:?}"),
        }
    }

    #[test]
    fn slots_are_given_up_to_the_limit_then_beyond_it_and_then_by_age() {
        let since = Instant::now();
        assert_eq!(offer(0, 0, since, since), "served");
        assert_eq!(offer(2, 0, since, since), "served");
        assert_eq!(offer(2, OVER_CAPACITY_CONNECTIONS, since, since), "served");
        for beyond in 0..OVER_CAPACITY_CONNECTIONS {
            assert_eq!(offer(3, beyond, since, since), "over capacity true");
        }
        assert_eq!(offer(3, OVER_CAPACITY_CONNECTIONS, since, since), "wait 100ms");
        assert_eq!(offer(3, OVER_CAPACITY_CONNECTIONS, since, since + MIN_OVER_CAPACITY_TIME), "after 3");
    }
}
