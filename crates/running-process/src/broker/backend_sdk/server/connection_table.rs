//! The open connections of a server, and the slots that it has for more.

use super::idle_exit::{IdleExit, IdleStep, IdleTimeouts};
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

/// The open connections of a server; `C` is the driver's type for one. A driver that has accepted a connection asks for its
/// [slot](Self::slot) until there is one, and accepts no other before that. It closes no connection for lack of a slot: a client that is
/// closed without a refusal cannot tell a full server from one that has ended.
#[derive(Debug)]
pub struct ConnectionTable<C> {
    max_connections: usize,
    next_id: u64,
    open: HashMap<u64, (Slot, C)>,
    /// The end of the server when it has no work, if it is to end then.
    idle: Option<IdleExit>,
}

impl<C> ConnectionTable<C> {
    /// Returns the empty table of a server that serves `max_connections` at once.
    #[must_use]
    pub fn new(max_connections: usize) -> Self {
        Self { max_connections, next_id: 0, open: HashMap::new(), idle: None }
    }

    /// Makes the server end after this time without a connection.
    pub(super) fn with_idle_exit(mut self, timeouts: Option<IdleTimeouts>) -> Self {
        self.idle = timeouts.map(IdleExit::new);
        self
    }

    /// Notes that the server is registered at `now`, from which on it may be idle. Returns whether the thread or task that takes
    /// the [steps](Self::idle_step) is to be woken.
    pub(super) fn registered(&mut self, now: Instant) -> bool {
        self.idle.as_mut().is_some_and(|idle| idle.registered(now))
    }

    /// Notes at `now` that a connection was removed. Returns whether the thread or task that takes the
    /// [steps](Self::idle_step) is to be woken.
    pub(super) fn removed(&mut self, now: Instant) -> bool {
        self.open.is_empty() && self.idle.as_mut().is_some_and(|idle| idle.emptied(now))
    }

    /// Returns the next step of a server that ends when it is idle, at `now`.
    pub(super) fn idle_step(&mut self, now: Instant) -> IdleStep {
        let open = self.open.len();
        self.idle.as_mut().map_or(IdleStep::Wait(None), |idle| idle.step(open, now))
    }

    /// Returns the slot for a connection that was accepted, at `now`.
    ///
    /// # Errors
    ///
    /// No slot is free. The driver asks again once a connection has been removed or the server is stopped, and after this time
    /// at the latest. If the slot of another connection is next, that one is passed to `drain`, and the driver drains it.
    pub fn slot(&self, now: Instant, drain: impl FnOnce(&C)) -> Result<Slot, Duration> {
        if self.open.len() < self.max_connections {
            return Ok(Slot::Served);
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
            _ if self.open.len() - count < self.max_connections => Ok(Slot::Served),
            Some((since, connection)) if count >= OVER_CAPACITY_CONNECTIONS => {
                match MIN_OVER_CAPACITY_TIME.saturating_sub(now.saturating_duration_since(since)) {
                    Duration::ZERO => {
                        drain(connection);
                        Err(MIN_OVER_CAPACITY_TIME)
                    }
                    left => Err(left),
                }
            }
            _ => Ok(Slot::OverCapacity(now)),
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
        let mut drained = None;
        let slot = match table.slot(now, |id| drained = Some(*id)) {
            Ok(Slot::Served) => "served".to_owned(),
            Ok(Slot::OverCapacity(at)) => format!("over capacity {}", at == now),
            Err(time) => format!("wait {time:?}"),
        };
        drained.map_or(slot.clone(), |id| format!("drain {id}, {slot}"))
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
        assert_eq!(
            offer(3, OVER_CAPACITY_CONNECTIONS, since, since + MIN_OVER_CAPACITY_TIME),
            "drain 3, wait 100ms"
        );
    }
}
