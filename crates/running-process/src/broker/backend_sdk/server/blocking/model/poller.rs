//! A poller of connections in memory, edge-triggered as the system's.

use super::events::{HUNG_UP, READ_CLOSED, READABLE, WRITABLE};
use super::model::stream::LocalStream;
use crate::broker::backend_sdk::model_check::wire::{Change, Connection, Watcher, Wire};
use crate::broker::backend_sdk::server::sync::{Condvar, Mutex, MutexGuard, thread};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// A shorter time passes at once, a longer one never.
const SHORT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Poller(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    watched: BTreeMap<u64, Watched>,
    /// Connections that have changed since they were reported.
    changed: VecDeque<u64>,
    woken: bool,
}

struct Watched {
    connection: Arc<Connection>,
    writing: bool,
}

impl Poller {
    #[allow(clippy::unnecessary_wraps, reason = "the system's may fail")]
    pub(super) fn new() -> io::Result<Option<Self>> {
        Ok(Some(Self::default()))
    }

    #[allow(clippy::unnecessary_wraps, reason = "the system's may fail")]
    pub(super) fn watch(
        &self,
        stream: &LocalStream,
        id: u64,
        before: Option<bool>,
        after: Option<bool>,
    ) -> io::Result<()> {
        let (connection, shared) = (Arc::clone(stream.connection()), Arc::clone(&self.0));
        let mut state = self.0.state();
        let removed = state.watched.remove(&id);
        let is_known = after.is_none() || removed.map(|watched| watched.writing) == before;
        assert!(is_known, "a connection is watched once, and the caller knows how");
        if let Some(writing) = after {
            state.watched.insert(id, Watched { connection, writing });
        }
        drop(state);
        let watch = after.map(|_| Watcher(Arc::new(move |change| shared.note(id, change))));
        stream.connection().wire().watcher = watch;
        // If nothing has, the poll finds no event.
        self.0.note(id, Change::Arrived);
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps, reason = "the system's may fail")]
    pub(super) fn wake(&self) -> io::Result<()> {
        self.0.state().woken = true;
        self.0.changed.notify_all();
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps, reason = "the system's may fail")]
    pub(super) fn poll(&self, timeout: Option<Duration>, mut ready: impl FnMut(u64, u8)) -> io::Result<()> {
        loop {
            let mut state = self.0.state();
            while state.changed.is_empty() && !state.woken {
                if timeout.is_some_and(|timeout| timeout < SHORT) {
                    drop(state);
                    thread::yield_now();
                    return Ok(());
                }
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let woken = std::mem::take(&mut state.woken);
            let changed = std::mem::take(&mut state.changed);
            let watched = changed.into_iter().filter_map(|id| {
                let Watched { connection, writing } = state.watched.get(&id)?;
                Some((id, Arc::clone(connection), *writing))
            });
            let watched: Vec<_> = watched.collect();
            drop(state);
            let events: Vec<_> = watched
                .into_iter()
                .map(|(id, connection, writing)| (id, events(&connection.wire(), writing)))
                .filter(|(_, events)| *events != 0)
                .collect();
            if woken || !events.is_empty() {
                events.into_iter().for_each(|(id, events)| ready(id, events));
                return Ok(());
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: u64, change: Change) {
        let mut state = self.state();
        let is_watched =
            state.watched.get(&id).is_some_and(|watched| change == Change::Arrived || watched.writing);
        if is_watched && !state.changed.contains(&id) {
            state.changed.push_back(id);
            drop(state);
            self.changed.notify_all();
        }
    }
}

fn events(wire: &Wire, writing: bool) -> u8 {
    let is = |condition: bool, bit| if condition { bit } else { 0 };
    is(wire.is_readable(), READABLE)
        | is(wire.ended || wire.gone || wire.disconnected, READ_CLOSED)
        | is(writing && LocalStream::has_room(wire), WRITABLE)
        | is(wire.gone || wire.disconnected, HUNG_UP)
}
