//! The allocations of each thread, counted by an allocator that this binary has to itself.

mod allocs;
#[path = "../common/mod.rs"]
mod common;
mod idle_memory;
mod large_blocks;
mod large_frames;
#[path = "../common/tally.rs"]
mod tally;
