//! Mistakes in the configuration of a server.

use super::{CONCURRENT, Handler, RequestParts, plain_builder};
use std::sync::Arc;

fn handler() -> Arc<Handler> {
    Arc::new(|_: &RequestParts| Ok(Vec::new().into()))
}

#[test]
#[should_panic(expected = "payload protocol 0x7001 has a handler already")]
fn a_second_handler_of_a_protocol_panics() {
    drop(plain_builder().serve(CONCURRENT, handler()).serve(CONCURRENT, handler()));
}

#[test]
#[should_panic(expected = "payload protocol 0x7001 has a handler already")]
fn an_inline_handler_beside_a_concurrent_one_panics() {
    drop(plain_builder().serve(CONCURRENT, handler()).serve_inline(CONCURRENT, |_| Ok(Vec::new())));
}

#[test]
#[should_panic(expected = "payload protocol 0xB232 is a first-party one")]
fn a_handler_of_a_first_party_protocol_panics() {
    drop(plain_builder().serve(0xB232, handler()));
}

#[test]
#[should_panic(expected = "payload protocol 0x0000 is a first-party one")]
fn an_inline_handler_of_a_first_party_protocol_panics() {
    drop(plain_builder().serve_inline(0, |_| Ok(Vec::new())));
}
