//! The payload protocols for which a server takes a handler.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{SHOUT, TempEndpoint};
use running_process::broker::protocol::registry;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Checks that adding a handler panics with a message that names the payload protocol.
#[track_caller]
fn assert_refused<D>(protocol: u32, add: impl FnOnce() -> D) {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(add()))).expect_err("the handler is refused");
    let message = panic.downcast_ref::<String>().expect("a message with the protocol");
    assert!(message.contains(&format!("0x{protocol:04X}")), "{message}");
}

#[test]
fn a_protocol_has_one_handler() {
    let bind = || TestServer::bind(TempEndpoint::new().endpoint).unwrap();
    assert_refused(SHOUT, || bind().serve(SHOUT, |_| Ok(Vec::new())).serve(SHOUT, |_| Ok(Vec::new())));
    assert_refused(SHOUT, || bind().serve(SHOUT, |_| Ok(Vec::new())).serve_inline(SHOUT, |_| Ok(Vec::new())));
    assert_refused(SHOUT, || bind().serve_inline(SHOUT, |_| Ok(Vec::new())).serve(SHOUT, |_| Ok(Vec::new())));
}

#[test]
fn a_first_party_protocol_has_no_handler() {
    for protocol in [
        registry::CONTROL_PAYLOAD_PROTOCOL,
        registry::ADMIN_PAYLOAD_PROTOCOL,
        registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL,
    ] {
        let bind = || TestServer::bind(TempEndpoint::new().endpoint).unwrap();
        assert_refused(protocol, || bind().serve(protocol, |_| Ok(Vec::new())));
        assert_refused(protocol, || bind().serve_inline(protocol, |_| Ok(Vec::new())));
    }
}
