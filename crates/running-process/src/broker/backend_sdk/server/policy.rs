//! What a server decides the same way on threads and on tokio: whom and what it serves, and what failures become.

use super::budget::{Account, Budget};
use super::callback::{self, Callback};
use super::config::{ServerConfig, ServerTrouble};
use super::handler::HandlerError;
use super::hooks::{Authorize, Detector};
use super::over_capacity::{self, Place};
use super::peer::PeerCredentials;
use super::telemetry::{Fact, Observation};
use crate::broker::backend_sdk::mux::BackendEndpointMux;
use crate::broker::backend_sdk::proto::connection::ConnectionConfig;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::server_connection::{Call, ServerConnection};
use crate::broker::protocol::{FrameRef, FramingError, Refusal, RefusalReason};
use prost::Message;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How much of an error's text goes to the peer, in bytes.
const LONGEST_MESSAGE: usize = 1024;

/// How much is read from a connection at once, in bytes.
pub(in super::super) const READ_BYTES: usize = 64 * 1024;

/// Longest time for which a peer may take nothing of what waits to be written to it, once the server is stopped.
pub(in super::super) const STALLED: Duration = Duration::from_secs(1);

/// How long cancelled calls have to tell their clients so, once the server's patience has ended.
pub(in super::super) const LAST_WORDS: Duration = Duration::from_millis(500);

/// A server's daemon, its handlers `H`, and what all of its connections share.
pub(in super::super) struct Service<H> {
    pub(in super::super) mux: Arc<BackendEndpointMux<Detector>>,
    pub(in super::super) handlers: BTreeMap<u32, H>,
    pub(in super::super) authorize: Authorize,
    pub(in super::super) observation: Observation,
    pub(in super::super) config: ServerConfig,
    pub(in super::super) budget: Budget,
}

/// What is known of a connection's peer besides its bytes.
#[derive(Debug)]
pub(in super::super) struct Peer {
    pub(in super::super) credentials: PeerCredentials,
    /// The refusal of all its requests, whatever the daemon's rule says.
    over_capacity: Option<Refusal>,
    /// What the daemon's rule said of it; asked once, when first needed.
    verdict: Option<Result<(), Refusal>>,
    pub(super) account: Account,
    /// Number of bytes that the account is charged with.
    pub(super) charged: usize,
    /// Number of those bytes that were noted.
    pub(super) noted: usize,
}

impl Peer {
    pub(in super::super) fn new(credentials: PeerCredentials, over_capacity: Option<Refusal>) -> Self {
        Self { credentials, over_capacity, verdict: None, account: Account::default(), charged: 0, noted: 0 }
    }

    /// Serves nothing of it from now on.
    pub(in super::super) fn refuse(&mut self, refusal: Refusal) {
        self.over_capacity = Some(refusal);
    }

    /// Returns whether the daemon has said that it serves this peer; until then it is a stranger, whatever it sends.
    pub(in super::super) fn is_served(&self) -> bool {
        matches!(self.verdict, Some(Ok(())))
    }

    /// Returns whether it has asked for something, and was told that it is not served or that the server is full.
    pub(in super::super) fn is_refused(&self) -> bool {
        matches!(self.verdict, Some(Err(_)))
    }
}

/// The peer of a request, and whether the answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Caller {
    pub(in super::super) peer: PeerCredentials,
    pub(in super::super) waits: bool,
}

/// What becomes of a request that may be served.
pub(in super::super) struct Admission<'a, H> {
    pub(in super::super) handler: &'a H,
    /// When nobody waits for the answer any more.
    pub(in super::super) deadline: Option<Instant>,
}

impl<H> Service<H> {
    pub(in super::super) fn connection(&self, place: Place, now: Instant) -> ServerConnection<Detector> {
        let config: ConnectionConfig = match place {
            Place::Served => self.config.connection.clone(),
            Place::OverCapacity(_) => over_capacity::demands(&self.config.connection),
        };
        let mut connection =
            ServerConnection::new(Arc::clone(&self.mux), config, self.config.enough_output, now);
        connection.fence();
        connection
    }

    /// A connection was accepted beyond the limit.
    pub(in super::super) fn too_many_connections(&self) -> ServerTrouble {
        ServerTrouble::TooManyConnections { max_connections: self.config.max_connections }
    }

    /// Returns the peer of a connection that has this place.
    pub(in super::super) fn peer(&self, credentials: PeerCredentials, place: Place) -> Peer {
        let refusal = || {
            let ServerConfig { max_connections, retry_after, .. } = self.config;
            let message = format!("{max_connections} connections are open, which is the limit");
            Refusal::new(RefusalReason::Overloaded, message).retry_after(retry_after)
        };
        Peer::new(credentials, place.is_over_capacity().then(refusal))
    }

    /// Whether `peer` is served at all, beyond probes.
    pub(in super::super) fn authorize(&self, peer: &mut Peer) -> Result<(), Refusal> {
        if let Some(refusal) = &peer.over_capacity {
            return peer.verdict.insert(Err(refusal.clone())).clone();
        }
        let credentials = peer.credentials;
        peer.verdict.get_or_insert_with(|| self.ask_rule(credentials)).clone()
    }

    fn ask_rule(&self, peer: PeerCredentials) -> Result<(), Refusal> {
        let Some(verdict) = callback::run(|| (self.authorize)(&peer)) else {
            self.panicked_in(Callback::Authorize, peer);
            return Err(Refusal::new(RefusalReason::NotAuthorized, "the daemon's rule panicked"));
        };
        verdict.map_err(|source| {
            let refusal = Refusal::new(RefusalReason::NotAuthorized, clipped(source.to_string()));
            self.observation.trouble_of(peer, &ServerTrouble::NotAuthorized { peer, source });
            refusal
        })
    }

    /// Whether and how `request`, which came at `now`, is served.
    pub(in super::super) fn admit(
        &self,
        request: &FrameRef<'_>,
        now: Instant,
        peer: &mut Peer,
    ) -> Result<Admission<'_, H>, Refusal> {
        self.authorize(peer)?;
        // The mux lets only served protocols through, and these are the ones with a handler.
        let handler = self.handlers.get(&request.payload_protocol);
        let handler = handler.ok_or_else(|| Refusal::new(RefusalReason::UnservedProtocol, ""))?;
        let deadline = match request.deadline_unix_ms {
            0 => None,
            unix_ms => match left_until(unix_ms) {
                Duration::ZERO => {
                    return Err(Refusal::new(
                        RefusalReason::DeadlinePassed,
                        "it had passed when the request came",
                    ));
                }
                left => now.checked_add(left),
            },
        };
        Ok(Admission { handler, deadline })
    }

    /// How many requests of one connection are served at once. While half of all places are taken, nobody gets a second
    /// one: a connection that floods waits for its own answers, so that the next one finds a place.
    pub(in super::super) fn max_in_flight_each(&self) -> usize {
        let crowded = self.in_flight() >= self.config.max_in_flight / 2;
        if crowded { 1 } else { self.config.connection.max_in_flight }
    }

    /// How many requests concurrent handlers work on.
    fn in_flight(&self) -> usize {
        usize::try_from(self.observation.stats().requests_in_flight()).unwrap_or(usize::MAX)
    }

    /// Gives a concurrent handler a request, until that has [ended](Fact::Ended), if not too many are served. Of several that
    /// come at once more may be refused than need to be, but no more are served than may be.
    pub(in super::super) fn begin(&self, peer: PeerCredentials) -> Result<(), Refusal> {
        let ServerConfig { max_in_flight, retry_after, .. } = self.config;
        self.observation.note(Fact::Began);
        if self.in_flight() <= max_in_flight {
            return Ok(());
        }
        self.observation.note(Fact::Ended);
        self.observation.trouble_of(peer, &ServerTrouble::TooManyRequests { max_in_flight });
        let message = format!("{max_in_flight} requests are being served");
        Err(Refusal::new(RefusalReason::Overloaded, message).retry_after(retry_after))
    }

    /// Returns the refusal of a request for which no thread can be made.
    pub(in super::super) fn no_thread(&self, error: io::Error) -> Refusal {
        self.observation.trouble(&ServerTrouble::NoThread(error));
        let refusal = Refusal::new(RefusalReason::Overloaded, "the daemon can make no more threads");
        refusal.retry_after(self.config.retry_after)
    }

    /// Returns what the peer is told of a handler that failed. The observer is told as well, unless the handler refuses on
    /// purpose, or `caller` does not wait any more: then an error is how a handler ends early.
    pub(in super::super) fn failed(
        &self,
        payload_protocol: u32,
        error: HandlerError,
        caller: impl FnOnce() -> Caller,
    ) -> Refusal {
        match error.downcast::<Refusal>() {
            Ok(refusal) => *refusal,
            Err(source) => {
                let Caller { peer, waits } = caller();
                let Some(message) = callback::run(|| source.to_string()) else {
                    callback::discard(source);
                    return self.panicked(peer);
                };
                let trouble = ServerTrouble::Handler { payload_protocol, source };
                if waits {
                    self.observation.trouble_of(peer, &trouble);
                }
                callback::discard(trouble);
                Refusal::new(RefusalReason::HandlerFailed, clipped(message))
            }
        }
    }

    /// Runs a handler of `payload_protocol`; returns its answer, or the refusal for its error or its panic.
    pub(in super::super) fn judge(
        &self,
        payload_protocol: u32,
        handle: impl FnOnce() -> Result<Payload, HandlerError>,
        caller: impl FnOnce() -> Caller,
    ) -> Result<Payload, Refusal> {
        match callback::run(handle) {
            Some(answer) => answer.map_err(|error| self.failed(payload_protocol, error, caller)),
            None => Err(self.panicked(caller().peer)),
        }
    }

    /// Answers `call`, which does not count as a request, with what the server has counted.
    pub(in super::super) fn tell_status(&self, call: Call<'_>) {
        let status = self.observation.stats().snapshot();
        let answered = call.respond(status.encode_to_vec());
        debug_assert!(answered.is_ok(), "it is a few hundred bytes");
    }

    /// What the peer is told of a handler that panicked.
    pub(in super::super) fn panicked(&self, peer: PeerCredentials) -> Refusal {
        self.observation.trouble_of(peer, &ServerTrouble::HandlerPanicked);
        Refusal::new(RefusalReason::HandlerFailed, "the handler panicked")
    }

    /// Notes that `callback` panicked, which was called for `peer`.
    pub(in super::super) fn panicked_in(&self, callback: Callback, peer: PeerCredentials) {
        self.observation.trouble_of(peer, &ServerTrouble::CallbackPanicked { callback });
    }

    /// An answer did not fit a frame, which the peer was told.
    pub(in super::super) fn unanswerable(
        &self,
        payload_protocol: u32,
        error: FramingError,
        peer: PeerCredentials,
    ) {
        let trouble = ServerTrouble::Handler { payload_protocol, source: error.into() };
        self.observation.trouble_of(peer, &trouble);
    }
}

/// The time from now until `unix_ms`, in milliseconds since the Unix epoch.
fn left_until(unix_ms: u64) -> Duration {
    let deadline = Duration::from_millis(unix_ms);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    deadline.saturating_sub(now)
}

fn clipped(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
    message
}
