use super::call_id::{CallId, Cancelled};
use super::calls::Calls;
use crate::broker::backend_sdk::proto::connection::{
    answering, append_payload, append_refusal, unanswerable,
};
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::send_buffer::SendBuffer;
#[cfg(feature = "host")]
use crate::broker::protocol::DecodeStopped;
use crate::broker::protocol::{DecodePayloadError, EncodingPolicy, FrameRef, FramingError, Refusal};
use std::time::Instant;

/// The meaning of a peer's bytes, or of the time, for the daemon.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerEvent<'a, T = ()> {
    /// A request to be served.
    Request(Call<'a, T>),
    /// The peer does not wait for the call any more. Unless the peer is gone, a refusal tells it the reason. The call counts as
    /// in flight until the driver answers or refuses it; nothing is sent then.
    Cancelled(Cancelled<'a, T>),
    /// A frame that no call waits for: an event or a response, a cancel of no call of this connection, or a frame of
    /// unknown kind if the connection is not strict.
    Unasked(FrameRef<'a>),
    /// A frame came whose payload cannot be decoded; if it was a request, a refusal that says so is in the output.
    Refused(DecodePayloadError),
    /// An identity probe came and its answer is in the output.
    ProbeAnswered,
    /// The connection speaks the legacy wire, and these are its first bytes.
    Legacy(Vec<u8>),
    /// The peer sends nothing more, and nothing that it sent is left over. It may still wait for its answers.
    Closed,
}

/// A request that the driver [admits](Self::admit), or answers or refuses at once. A request that is dropped instead is never
/// answered.
///
/// ```
/// use running_process::broker::backend_sdk::*;
/// use running_process::broker::protocol::{self, Frame, encode_framed, try_decode_framed};
/// use std::{sync::Arc, time::Instant};
/// # let daemon = protocol::DaemonProcess {
/// #     pid: 7, exe_path: "/bin/d".into(), exe_sha256: vec![7; 32], boot_id: "b".into(),
/// #     ipc_endpoint: Some(protocol::Endpoint::unix_socket("demo", "/run/demo.sock")?),
/// #     ..Default::default()
/// # };
/// # let daemon = daemon.try_into()?;
///
/// let mux = Arc::new(BackendEndpointMux::new(daemon, &[0xF00D], |_: &[u8]| LegacyClassification::NotLegacy));
/// let config = ConnectionConfig::default();
/// let mut connection = ServerConnection::<_, ()>::new(mux, config, 256 * 1024, Instant::now());
///
/// let request = Frame::request(0xF00D, b"ping".to_vec()).with_request_id(7);
/// connection.receive(&encode_framed(&request)?[..], Instant::now()); // what the socket has received
/// let Some(ServerEvent::Request(call)) = connection.next_event()? else { unreachable!() };
/// let call = call.admit(None); // to be answered later, without a deadline
/// assert!(connection.next_event()?.is_none());
///
/// connection.respond(call, b"PING".to_vec())?;
/// let response = try_decode_framed(connection.output())?.expect("what the socket is to send").frame;
/// assert_eq!((response.request_id, response.payload), (7, b"PING".to_vec()));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Call<'a, T = ()> {
    /// The request.
    pub frame: FrameRef<'a>,
    pub(super) output: &'a mut SendBuffer,
    pub(super) calls: &'a mut Calls<T>,
    pub(super) encodings: &'a EncodingPolicy,
    pub(super) accepted_descriptors: u8,
    pub(super) now: Instant,
}

impl<'a, T> Call<'a, T> {
    /// Returns the payload that the client sent.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.frame.payload
    }

    /// Returns when this connection was last told the time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Counts the request as in flight until it is answered or refused. Once `deadline` has passed it is cancelled. The
    /// driver converts the frame's `deadline_unix_ms`, since only it has a wall clock.
    #[must_use]
    pub fn admit(self, deadline: Option<Instant>) -> CallId
    where
        T: Default,
    {
        self.admit_with(deadline, T::default())
    }

    /// [Admits](Self::admit) the request with the driver's `data`.
    #[must_use]
    pub fn admit_with(self, deadline: Option<Instant>, data: T) -> CallId {
        self.calls.admit(&self.frame, deadline, data)
    }

    /// Returns the request with its payload decoded into `buffer`, if it came encoded. Before `buffer` grows, `grant` gets its
    /// new capacity and may refuse.
    #[cfg(feature = "host")]
    #[inline]
    pub(crate) fn decoded<'b>(
        &self,
        buffer: &'b mut Vec<u8>,
        grant: &mut dyn FnMut(usize) -> bool,
    ) -> Result<FrameRef<'b>, DecodeStopped>
    where
        'a: 'b,
    {
        self.encodings.decode_granted(self.frame, buffer, grant)
    }

    /// Answers at once.
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`], or [`FramingError::Io`] if the peer does not take the descriptors; the request was refused
    /// for it then.
    pub fn respond(self, payload: impl Into<Payload>) -> Result<(), FramingError> {
        let response = FrameRef::response_to(&self.frame, &[]);
        let response = answering(&self.frame, response, self.accepted_descriptors);
        let answered = append_payload(&self.frame, response, payload.into(), self.encodings, self.output);
        answered.inspect_err(|error| {
            append_refusal(&self.frame, &unanswerable(error), self.output);
        })
    }

    /// Refuses at once.
    pub fn refuse(self, refusal: &Refusal) {
        append_refusal(&self.frame, refusal, self.output);
    }
}
