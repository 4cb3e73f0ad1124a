//! Draws figures as lines of text: latencies as a histogram, and values over time.
//!
//! The module is pure: numbers and a size in, lines out. [`Glyphs`] says which characters a terminal shows.

mod glyphs;
mod histogram;
mod over_time;

pub(crate) use glyphs::Glyphs;
pub(crate) use histogram::{Bucket, MOST_BUCKETS, buckets, histogram};
pub(crate) use over_time::{History, Series, over_time, spark};
