//! `doctor` on machines with a fault, each made for real.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "test code")]

mod ending;
mod files;
mod leftovers;
mod machine;
mod other_process;
mod place;
mod program;
mod sandbox;
mod sockets;
mod start;
mod text;
mod untold;
