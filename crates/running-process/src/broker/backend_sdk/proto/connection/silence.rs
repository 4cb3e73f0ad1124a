//! A peer that sends nothing, because it waits for this side to speak first: then it speaks the legacy wire.

use super::{Connection, LegacyClassification, WireState};

impl<F> Connection<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Makes a peer that sends nothing within the time for the first message one of the legacy wire.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_silent_as_legacy(&mut self) {
        self.silent_is_legacy = true;
    }

    /// Returns whether the peer has sent nothing.
    pub(crate) fn is_silent(&self) -> bool {
        self.wire == WireState::Undecided && self.input.is_empty() && !self.eof
    }

    /// Makes the peer, which [is silent](Self::is_silent), one of the legacy wire: the next event says so.
    #[cfg(feature = "tokio")]
    pub(crate) fn end_silence(&mut self) {
        self.expired = true;
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;
    use crate::broker::backend_sdk::mux::BackendEndpointMux;
    use crate::broker::backend_sdk::proto::connection::{ConnectionConfig, ConnectionError, ConnectionEvent};
    use std::sync::Arc;
    use std::time::Instant;

    fn connection(now: Instant) -> Connection<fn(&[u8]) -> LegacyClassification> {
        let detector: fn(&[u8]) -> LegacyClassification = |_| LegacyClassification::NotLegacy;
        let mux = Arc::new(BackendEndpointMux::unidentified(&[], detector));
        Connection::new(mux, ConnectionConfig::default(), now)
    }

    #[test]
    fn a_silent_peer_speaks_the_legacy_wire_once_its_time_has_passed_or_the_daemon_has_spoken() {
        let now = Instant::now();
        let legacy = |connection: &mut Connection<_>| matches!(connection.next_event(), Ok(Some(ConnectionEvent::Legacy(start))) if start.is_empty());
        let mut silent = connection(now);
        silent.take_silent_as_legacy();
        assert!(silent.is_silent() && matches!(silent.next_event(), Ok(None)));
        silent.handle_timeout(silent.deadline().unwrap());
        assert!(legacy(&mut silent) && !silent.is_silent());

        let mut spoken_to = connection(now);
        spoken_to.take_silent_as_legacy();
        spoken_to.end_silence();
        assert!(legacy(&mut spoken_to));
    }

    #[test]
    fn a_peer_is_not_silent_once_it_has_sent_or_ended_something() {
        let now = Instant::now();
        let (mut sends, mut ends) = (connection(now), connection(now));
        sends.receive(&[1][..], now);
        ends.receive_eof();
        assert!(!sends.is_silent() && !ends.is_silent());
        let mut ordinary = connection(now);
        ordinary.handle_timeout(ordinary.deadline().unwrap());
        assert!(matches!(ordinary.next_event(), Err(ConnectionError::TimedOut { .. })));
    }
}
