//! The exchange of a probe for the fuzz targets, without a socket and with a chosen challenge.

use super::client::EndpointProbeChallenge;
use super::driver::believe;
use super::error::ProbeError;
use super::exchange::{Exchange, Writer};
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::protocol::FramingError;
use crate::sys::PidfdPolicy;
use std::fmt;

/// The client's side of one probe, which believes any writer.
pub struct ProbeExchange(Exchange<fn(Writer) -> Result<(), ProbeError>>);

impl ProbeExchange {
    /// Returns the exchange of `challenge`.
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`], which no challenge is.
    pub fn new(challenge: EndpointProbeChallenge) -> Result<Self, FramingError> {
        Exchange::of(challenge, PidfdPolicy::Use, believe as _).map(Self)
    }

    /// Returns the request.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        self.0.request()
    }

    /// Takes a piece of the answer, and returns the identity once it is complete; no bytes mean the end of the connection.
    ///
    /// # Errors
    ///
    /// The bytes so far do not begin an answer to this challenge.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<DaemonProcess>, ProbeError> {
        self.0.receive(bytes, None)
    }
}

impl fmt::Debug for ProbeExchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProbeExchange").finish_non_exhaustive()
    }
}
