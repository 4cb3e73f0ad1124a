//! Events of a client connection.

use crate::broker::protocol::Refusal;

/// The id of a request on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u64);

/// A frame of the daemon and its meaning to the client. `F` is [`FrameRef`](crate::broker::protocol::FrameRef) or
/// [`Frame`](crate::broker::protocol::Frame); a payload that came encoded is decoded, and its frame says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent<F> {
    /// The only response to the request.
    Response(RequestId, F),
    /// The reason why the daemon does not serve the request. No response will come, and the connection goes on.
    Refused(RequestId, Refusal),
    /// Another process serves the endpoint by now. This daemon still answers the requests in flight, and for a while later ones.
    /// It comes at most once if it was [wanted](super::ClientConnection::want_moved).
    Moved,
    /// An event of the request, which was sent with [`RequestHead::events`](super::RequestHead::events) and is in flight.
    RequestEvent(RequestId, F),
    /// Any other event of the daemon's.
    Event(F),
    /// A request or cancel of the daemon's own.
    Other(F),
}

impl<F> ClientEvent<F> {
    /// Returns the same event with another frame.
    #[cfg(feature = "host")]
    #[inline]
    pub(crate) fn map<G>(self, map: impl FnOnce(F) -> G) -> ClientEvent<G> {
        match self {
            Self::Response(request, frame) => ClientEvent::Response(request, map(frame)),
            Self::Refused(request, refusal) => ClientEvent::Refused(request, refusal),
            Self::Moved => ClientEvent::Moved,
            Self::RequestEvent(request, frame) => ClientEvent::RequestEvent(request, map(frame)),
            Self::Event(frame) => ClientEvent::Event(map(frame)),
            Self::Other(frame) => ClientEvent::Other(map(frame)),
        }
    }

    #[inline]
    pub(super) fn try_map<G, E>(self, map: impl FnOnce(F) -> Result<G, E>) -> Result<ClientEvent<G>, E> {
        Ok(match self {
            Self::Response(request, frame) => ClientEvent::Response(request, map(frame)?),
            Self::Refused(request, refusal) => ClientEvent::Refused(request, refusal),
            Self::Moved => ClientEvent::Moved,
            Self::RequestEvent(request, frame) => ClientEvent::RequestEvent(request, map(frame)?),
            Self::Event(frame) => ClientEvent::Event(map(frame)?),
            Self::Other(frame) => ClientEvent::Other(map(frame)?),
        })
    }
}
