//! Connections beyond the limit. They are told so instead of being closed without a word, which looks like a daemon that has
//! ended.

use crate::broker::backend_sdk::proto::connection::ConnectionConfig;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of connections that a server keeps open beyond [`ServerConfig::max_connections`](super::config::ServerConfig::max_connections),
/// to answer their probes and to refuse their requests. Further ones wait in the backlog until one of these has ended.
pub const OVER_CAPACITY_CONNECTIONS: usize = 16;

/// Longest time for which the peer of such a connection may keep silent, and take for a message.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shortest time for which such a connection keeps its place while others wait for one.
const KEPT: Duration = Duration::from_millis(100);

/// The place of a connection, within the limit or beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Place {
    /// Among those that are served.
    Served,
    /// Beyond the limit, since it was accepted.
    OverCapacity(Instant),
}

impl Place {
    pub(in super::super) fn is_over_capacity(self) -> bool {
        matches!(self, Self::OverCapacity(_))
    }
}

/// The place for a connection that was accepted, or the wait for one.
pub(in super::super) enum Room<L> {
    Free(Place),
    /// It gets the place of this one, once that has ended.
    After(Arc<L>),
    /// No connection has had its place for long enough yet.
    In(Duration),
}

/// Finds a place for a connection that was accepted at `now`, beside those that are `open`. Only the thread or task that
/// accepts asks this, so no two connections get the same place.
pub(in super::super) fn room<L>(
    open: &HashMap<u64, Arc<L>>,
    max_connections: usize,
    now: Instant,
    place: impl Fn(&L) -> Place,
) -> Room<L> {
    if open.len() < max_connections {
        return Room::Free(Place::Served);
    }
    let beyond = open.values().filter_map(|link| match place(link) {
        Place::Served => None,
        Place::OverCapacity(since) => Some((since, link)),
    });
    let (mut count, mut oldest) = (0, None);
    for (since, link) in beyond {
        count += 1;
        if oldest.is_none_or(|(oldest, _)| since < oldest) {
            oldest = Some((since, link));
        }
    }
    match oldest {
        _ if open.len() - count < max_connections => Room::Free(Place::Served),
        Some((since, link)) if count >= OVER_CAPACITY_CONNECTIONS => {
            match KEPT.saturating_sub(now.saturating_duration_since(since)) {
                Duration::ZERO => Room::After(Arc::clone(link)),
                left => Room::In(left),
            }
        }
        _ => Room::Free(Place::OverCapacity(now)),
    }
}

/// Time for which the server waits for the end of a connection that was told to end.
pub(in super::super) const ENDING: Duration = KEPT;

/// Returns the demands on a peer that is only told that the server is full.
pub(super) fn demands(config: &ConnectionConfig) -> ConnectionConfig {
    let [first_message, message, probed] =
        [config.first_message, config.message, config.probed].map(|patience| patience.min(PATIENCE));
    let idle = Some(config.idle.map_or(PATIENCE, |idle| idle.min(PATIENCE)));
    ConnectionConfig { first_message, probed, message, idle, ..config.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(served: u64, beyond: usize, since: Instant) -> HashMap<u64, Arc<Place>> {
        let served = (0..served).map(|id| (id, Arc::new(Place::Served)));
        let beyond = (0..beyond).map(|id| {
            let since = since + Duration::from_millis(id as u64);
            (1000 + id as u64, Arc::new(Place::OverCapacity(since)))
        });
        served.chain(beyond).collect()
    }

    #[test]
    fn places_are_given_up_to_the_limit_then_up_to_the_reserve_and_then_by_age() {
        let since = Instant::now();
        let room = |served, beyond, now| room(&open(served, beyond, since), 3, now, |place| *place);
        let is_served = |room| matches!(room, Room::Free(Place::Served));
        assert!(is_served(room(0, 0, since)) && is_served(room(2, 0, since)));
        assert!(is_served(room(2, OVER_CAPACITY_CONNECTIONS, since)), "a place has become free");
        for beyond in 0..OVER_CAPACITY_CONNECTIONS {
            assert!(matches!(room(3, beyond, since), Room::Free(Place::OverCapacity(at)) if at == since));
        }
        assert!(matches!(room(3, OVER_CAPACITY_CONNECTIONS, since), Room::In(KEPT)));
        let oldest = room(3, OVER_CAPACITY_CONNECTIONS, since + KEPT);
        assert!(matches!(oldest, Room::After(oldest) if *oldest == Place::OverCapacity(since)));
    }
}
