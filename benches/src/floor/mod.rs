//! The least that each row can cost: programs that do a row's work and nothing else.
//!
//! They check only what the row needs checked, know one kind of peer, and give up on everything else.

pub mod asynchronous;
pub mod blocking;
pub mod descriptor;
pub mod wire;
