//! The decisions that every connection of a server shares: which peers and requests are served, and how failures end.

use super::budget::{Budget, Reservation};
use super::callback::{self, Callback};
use super::config::{ServeError, ServerConfig};
use super::connection_table::{Slot, over_capacity_demands};
use super::dispatch::{Answer, Work};
use super::handler::{Handler, HandlerError};
use super::hooks::{Authorize, Detector};
use super::lifecycle::Lifecycle;
use super::peer::PeerCredentials;
use super::phase::{DRAIN_STALL, Phase};
use super::telemetry::{Event, Telemetry};
use crate::broker::backend_sdk::mux::{BackendEndpointMux, Identification};
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::server_connection::{Call, ServerConnection};
use crate::broker::protocol::{FrameRef, FramingError, Refusal, RefusalReason};
use crate::sys::OnTermination;
use crate::transport::LocalListener;
use prost::Message;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Longest text of a refusal, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024;

/// The part of a server that all of its connections share: the mux, the handlers, the rule, the limits and the counters.
/// [`ServerBuilder::start`](super::ServerBuilder::start) makes it, and each [`ServerSession`](super::ServerSession) holds it.
pub struct ServerPolicy<H: ?Sized> {
    pub(super) mux: Arc<BackendEndpointMux<Detector>>,
    pub(super) handlers: BTreeMap<u32, Handler<H>>,
    pub(super) authorize: Authorize,
    pub(super) telemetry: Telemetry,
    pub(super) config: ServerConfig,
    pub(super) budget: Budget,
    /// Stops the server on signals until the last session has ended, unless the driver took it.
    pub(super) _signals: Option<OnTermination>,
    /// Lives until the last handler has returned.
    pub(super) lifecycle: Option<Arc<dyn Lifecycle>>,
}

/// A connection's peer, as far as it is known besides its bytes.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) credentials: PeerCredentials,
    /// The refusal of all its requests, whatever the daemon's rule says.
    refusal: Option<Refusal>,
    /// The verdict of the daemon's rule, which is asked once, when it is first needed.
    verdict: Option<Result<(), Refusal>>,
    pub(super) reservation: Reservation,
    /// Bytes that the reservation is charged with.
    pub(super) charged: usize,
    /// Bytes of those that were counted.
    pub(super) counted: usize,
}

impl Peer {
    pub(super) fn new(credentials: PeerCredentials, refusal: Option<Refusal>) -> Self {
        let reservation = Reservation::default();
        Self { credentials, refusal, verdict: None, reservation, charged: 0, counted: 0 }
    }

    /// Refuses all its requests from now on.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        (self.refusal, self.verdict) = (Some(refusal), None);
    }

    /// Returns whether the rule has decided that the daemon serves this peer.
    pub(super) fn is_served(&self) -> bool {
        matches!(self.verdict, Some(Ok(())))
    }

    /// Returns whether the peer was told that the daemon does not serve it, or that the server is full.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.verdict, Some(Err(_)))
    }
}

impl<H: ?Sized> ServerPolicy<H> {
    /// Returns the limits and timeouts of the server.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Returns whether a driver may accept from `listener`. If that was [handed over](LocalListener::is_handed_over), the server
    /// must be registered first, because until then the former process accepts. A server that ends before only drops it.
    #[must_use]
    pub fn may_accept(&self, listener: &LocalListener) -> bool {
        !listener.is_handed_over() || self.is_identified()
    }

    /// Returns whether the process is identified, and its identity file is written.
    pub(super) fn is_identified(&self) -> bool {
        self.mux.identification() == Identification::Done
    }

    /// Tells the observer of an error of the driver's own, such as one of accept(2).
    pub fn report(&self, error: &ServeError) {
        self.telemetry.error(error);
    }

    pub(super) fn connection(&self, slot: Slot, now: Instant) -> ServerConnection<Detector, Work> {
        let config = match slot {
            Slot::Served => self.config.connection.clone(),
            Slot::OverCapacity(_) => over_capacity_demands(&self.config.connection),
        };
        let mut connection =
            ServerConnection::new(Arc::clone(&self.mux), config, self.config.send_high_water, now);
        connection.limit_messages();
        connection
    }

    /// Returns the error of a connection that was accepted beyond the limit.
    pub(super) fn too_many_connections(&self) -> ServeError {
        ServeError::TooManyConnections { max_connections: self.config.max_connections }
    }

    /// Returns the peer of a connection that has this slot.
    pub(super) fn peer(&self, credentials: PeerCredentials, slot: Slot) -> Peer {
        let refusal = || {
            let ServerConfig { max_connections, retry_after, .. } = self.config;
            let message = format!("the limit of {max_connections} connections is reached");
            Refusal::new(RefusalReason::Overloaded, message).retry_after(retry_after)
        };
        Peer::new(credentials, slot.is_over_capacity().then(refusal))
    }

    /// Returns the time for which a peer may leave output unread.
    pub(super) fn write_timeout(&self, phase: Phase) -> Duration {
        let timeout = self.config.write_timeout;
        if phase < Phase::Draining { timeout } else { timeout.min(DRAIN_STALL) }
    }

    /// Decides whether `peer` is served at all, beyond probes.
    pub(super) fn authorize(&self, peer: &mut Peer) -> Result<(), Refusal> {
        if let Some(refusal) = &peer.refusal {
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
            self.telemetry.error_of(peer, &ServeError::NotAuthorized { peer, source });
            refusal
        })
    }

    /// Returns the handler of `request`, which came at `now`, and the moment at which the peer stops waiting.
    #[inline]
    pub(super) fn admit(
        &self,
        request: &FrameRef<'_>,
        now: Instant,
        peer: &mut Peer,
    ) -> Result<(&Handler<H>, Option<Instant>), Refusal> {
        if !peer.is_served() {
            self.authorize(peer)?;
        }
        // The mux lets only served protocols through, and these are the ones with a handler.
        let handler = self.handlers.get(&request.payload_protocol);
        let handler = handler.ok_or_else(|| Refusal::new(RefusalReason::UnservedProtocol, ""))?;
        let deadline = if request.deadline_unix_ms == 0 { None } else { deadline_of(request, now)? };
        Ok((handler, deadline))
    }

    /// Returns how many requests of one connection are served at once. While half of all places are taken, no connection gets a
    /// second one: a connection that floods waits for its own answers, so that the next one finds a place.
    pub(super) fn max_in_flight_each(&self) -> usize {
        let crowded = self.in_flight() >= self.config.max_in_flight / 2;
        if crowded { 1 } else { self.config.connection.max_in_flight }
    }

    /// Gives the place of the server up, unless a handler still runs. All connections have ended.
    pub(super) fn ended(&self) {
        if let Some(lifecycle) = self.lifecycle.as_ref().filter(|_| self.in_flight() == 0) {
            lifecycle.ended();
        }
    }

    /// Returns how many requests concurrent handlers work on.
    fn in_flight(&self) -> usize {
        usize::try_from(self.telemetry.stats().requests_in_flight()).unwrap_or(usize::MAX)
    }

    /// Counts a request of a concurrent handler as in flight, until it has [ended](Event::Ended), or refuses it if the server has
    /// too many. Of several requests at once it may refuse more than needed, and never too few.
    pub(super) fn begin(&self, peer: PeerCredentials) -> Result<(), Refusal> {
        let ServerConfig { max_in_flight, retry_after, .. } = self.config;
        self.telemetry.note(Event::Began);
        if self.in_flight() <= max_in_flight {
            return Ok(());
        }
        self.telemetry.note(Event::Ended);
        self.telemetry.error_of(peer, &ServeError::TooManyRequests { max_in_flight });
        let message = format!("{max_in_flight} requests are being served");
        Err(Refusal::new(RefusalReason::Overloaded, message).retry_after(retry_after))
    }

    /// Returns the refusal of a request for which the driver can make no thread, and tells the observer of `error`.
    pub fn no_thread(&self, error: io::Error) -> Refusal {
        self.telemetry.error(&ServeError::NoThread(error));
        let refusal = Refusal::new(RefusalReason::Overloaded, "the daemon can make no more threads");
        refusal.retry_after(self.config.retry_after)
    }

    /// Returns the payload of `answer`, or the refusal that the peer is told. The observer is told of a failure, unless the peer
    /// does not wait any more: an error is then how a handler ends early.
    pub(super) fn judge(
        &self,
        payload_protocol: u32,
        answer: Answer,
        peer: PeerCredentials,
        waits: bool,
    ) -> Result<Payload, Refusal> {
        match answer {
            Answer::Payload(payload) => Ok(payload),
            // A peer that still waits must not take it for an answer.
            Answer::Abandoned => Err(Refusal::new(RefusalReason::HandlerFailed, "the handler did not end")),
            Answer::Panicked => {
                self.telemetry.error_of(peer, &ServeError::HandlerPanicked);
                Err(Refusal::new(RefusalReason::HandlerFailed, "the handler panicked"))
            }
            Answer::Failed(HandlerError::Refused(refusal)) => Err(refusal),
            Answer::Failed(HandlerError::Failed(source)) => {
                let error = ServeError::Handler { payload_protocol, source };
                if waits {
                    self.telemetry.error_of(peer, &error);
                }
                callback::discard(error);
                // The text of an error can hold secrets of the daemon.
                Err(Refusal::new(RefusalReason::HandlerFailed, ""))
            }
        }
    }

    /// Answers `call`, which does not count as a request, with the counters of the server.
    pub(super) fn respond_status(&self, call: Call<'_, Work>) {
        let status = self.telemetry.stats().snapshot();
        let answered = call.respond(status.encode_to_vec());
        debug_assert!(answered.is_ok(), "it is a few hundred bytes");
    }

    /// Notes that `callback` panicked, which was called for `peer`.
    pub(super) fn panicked_in(&self, callback: Callback, peer: PeerCredentials) {
        self.telemetry.error_of(peer, &ServeError::CallbackPanicked { callback });
    }

    /// Notes that an answer did not fit a frame, as the peer was told.
    pub(super) fn unanswerable(&self, payload_protocol: u32, error: FramingError, peer: PeerCredentials) {
        let error = ServeError::Handler { payload_protocol, source: error.into() };
        self.telemetry.error_of(peer, &error);
    }
}

impl<H: ?Sized> fmt::Debug for ServerPolicy<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerPolicy")
            .field("served", &self.handlers.keys())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Returns the deadline of `request`, which came at `now` and has one; `None` if no clock can hold it.
fn deadline_of(request: &FrameRef<'_>, now: Instant) -> Result<Option<Instant>, Refusal> {
    match left_until(request.deadline_unix_ms) {
        Duration::ZERO => {
            Err(Refusal::new(RefusalReason::DeadlinePassed, "it had passed when the request came"))
        }
        left => Ok(now.checked_add(left)),
    }
}

/// Returns the time from now until `unix_ms`, in milliseconds since the Unix epoch.
fn left_until(unix_ms: u64) -> Duration {
    let deadline = Duration::from_millis(unix_ms);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    deadline.saturating_sub(now)
}

fn clipped(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|&end| message.is_char_boundary(end));
        message.truncate(end.unwrap_or_default());
    }
    message
}
