//! Large memory is made small before it is freed, so that the allocator leaves it to the system.

use crate::common::{detectors, frame, mux, wire};
use crate::tally::tally;
use running_process::broker::backend_sdk::{ConnectionConfig, Payload, ServerConnection};
use running_process::broker::protocol::FrameKind;
use std::sync::Arc;
use std::time::Instant;

/// The largest block that is freed as it is, in bytes.
const MOST: usize = 1 << 20;

#[test]
fn a_payload_of_more_than_a_megabyte_is_made_small_first() {
    for (length, made_small) in [(1000, false), (MOST, false), (MOST + 1, true)] {
        let payload = Payload::from(vec![7; length]);
        let ((), freed) = tally(|| drop(payload));
        assert_eq!((freed.calls == 1, freed.bytes), (made_small, made_small.into()), "{length} bytes");
        assert_eq!(freed.held.unsigned_abs(), length);
    }
}

#[test]
fn a_receive_buffer_of_more_than_a_megabyte_is_made_small_first() {
    let message = wire(&frame(FrameKind::Request, 1, &vec![7; 2 * MOST]));
    for (length, made_small) in [(MOST, false), (MOST + 1, true)] {
        let now = Instant::now();
        let mut config = ConnectionConfig::default();
        config.first_message_bytes = usize::MAX;
        let mut server = ServerConnection::<_, ()>::new(Arc::new(mux(detectors::never)), config, 1, now);
        server.receive(&message[..length], now);
        let ((), freed) = tally(|| drop(server));
        assert_eq!((freed.calls == 1, freed.bytes), (made_small, made_small.into()), "{length} bytes");
    }
}
