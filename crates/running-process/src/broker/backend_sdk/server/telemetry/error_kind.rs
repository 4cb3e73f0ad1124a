//! The kinds of errors of a server.

use crate::broker::backend_sdk::proto::connection::{ConnectionError, WaitingFor};
use crate::broker::backend_sdk::server::config::ServeError;
use std::io;

/// The kind of a [`ServeError`], by which it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    TooManyConnections,
    TooManyRequests,
    OutOfMemory,
    FirstMessageTooLarge,
    FirstMessageLate,
    MessageLate,
    NothingAfterProbe,
    Idle,
    ReadsTooSlowly,
    RulesBroken,
    ConnectionFailed,
    LegacyNotServed,
    NotAuthorized,
    NoThread,
    Accept,
    EndpointLost,
    Republished,
    NotRepublished,
    NotWatched,
    HandlerFailed,
    HandlerPanicked,
    CallbackPanicked,
}

impl ErrorKind {
    pub(crate) const COUNT: usize = Self::CallbackPanicked as usize + 1;

    /// The kinds that end a connection.
    pub(crate) const OF_CONNECTIONS: [Self; 10] = [
        Self::OutOfMemory,
        Self::FirstMessageTooLarge,
        Self::FirstMessageLate,
        Self::MessageLate,
        Self::NothingAfterProbe,
        Self::Idle,
        Self::ReadsTooSlowly,
        Self::RulesBroken,
        Self::ConnectionFailed,
        Self::LegacyNotServed,
    ];

    pub(crate) fn of(error: &ServeError) -> Self {
        match error {
            ServeError::TooManyConnections { .. } => Self::TooManyConnections,
            ServeError::TooManyRequests { .. } => Self::TooManyRequests,
            ServeError::OutOfMemory { .. } => Self::OutOfMemory,
            ServeError::NotAuthorized { .. } => Self::NotAuthorized,
            ServeError::NoThread(_) => Self::NoThread,
            ServeError::Accept(_) => Self::Accept,
            ServeError::EndpointLost { .. } => Self::EndpointLost,
            ServeError::Republished { .. } => Self::Republished,
            ServeError::NotRepublished { .. } => Self::NotRepublished,
            ServeError::NotWatched { .. } => Self::NotWatched,
            ServeError::Connection(error) => match error {
                ConnectionError::FirstMessageTooLarge { .. } => Self::FirstMessageTooLarge,
                ConnectionError::TimedOut { waiting_for } => match waiting_for {
                    WaitingFor::FirstMessage => Self::FirstMessageLate,
                    WaitingFor::RestOfMessage => Self::MessageLate,
                    WaitingFor::MessageAfterProbe => Self::NothingAfterProbe,
                    WaitingFor::NextMessage => Self::Idle,
                },
                ConnectionError::Mux(_)
                | ConnectionError::Refused(_)
                | ConnectionError::Descriptors(_)
                | ConnectionError::Truncated { .. } => Self::RulesBroken,
            },
            // A peer that sends too slowly is a `ConnectionError`.
            ServeError::Stream(error) if error.kind() == io::ErrorKind::TimedOut => Self::ReadsTooSlowly,
            ServeError::Stream(_) => Self::ConnectionFailed,
            ServeError::LegacyNotServed => Self::LegacyNotServed,
            ServeError::Handler { .. } => Self::HandlerFailed,
            ServeError::HandlerPanicked => Self::HandlerPanicked,
            ServeError::CallbackPanicked { .. } => Self::CallbackPanicked,
        }
    }

    /// Returns the name of the kind in tracing and metrics.
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyRequests => "too_many_requests",
            Self::OutOfMemory => "out_of_memory",
            Self::FirstMessageTooLarge => "first_message_too_large",
            Self::FirstMessageLate => "first_message_late",
            Self::MessageLate => "message_late",
            Self::NothingAfterProbe => "nothing_after_probe",
            Self::Idle => "idle",
            Self::ReadsTooSlowly => "reads_too_slowly",
            Self::RulesBroken => "rules_broken",
            Self::ConnectionFailed => "connection_failed",
            Self::LegacyNotServed => "legacy_not_served",
            Self::NotAuthorized => "not_authorized",
            Self::NoThread => "no_thread",
            Self::Accept => "accept",
            Self::EndpointLost => "endpoint_lost",
            Self::Republished => "republished",
            Self::NotRepublished => "not_republished",
            Self::NotWatched => "not_watched",
            Self::HandlerFailed => "handler_failed",
            Self::HandlerPanicked => "handler_panicked",
            Self::CallbackPanicked => "callback_panicked",
        }
    }
}
