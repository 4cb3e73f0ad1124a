//! The broker's parts, in the order in which they build on each other.

pub mod protocol;
