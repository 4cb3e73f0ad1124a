//! Real daemon processes, used from outside by clients and tools.

mod accept_errors;
mod calls;
mod examples;
mod inherited;
mod mixed_wires;
mod reconnect;
mod redis;
mod socat;
mod start;
