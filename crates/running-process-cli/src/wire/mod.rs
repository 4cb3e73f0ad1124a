//! Explains a captured stream of frames byte by byte.
//!
//! The module is pure: bytes in, values out. [`annotate_frame`] explains one frame, so that a capture of any size takes the
//! memory of its largest frame; [`wanted`] returns the number of bytes that a frame needs.
//!
//! **The spans of an [`AnnotatedFrame`] cover every byte exactly once, in order**, for any bytes. A frame has no error exactly
//! if the library's decoder accepts it.
//!
//! [`render`] shows a frame as lines of text, [`json`] as an object, [`summarize`] as one line.

mod annotation;
mod extent;
mod frame;
pub(crate) mod json;
mod problem;
mod protobuf;
pub(crate) mod render;
mod schema;
mod summary;
#[cfg(test)]
mod tests;
mod totals;
mod value;
mod walk;
mod wire_type;

pub(crate) use annotation::AnnotatedFrame;
pub(crate) use extent::{Wanted, wanted};
pub(crate) use frame::{annotate, annotate_frame};
pub(crate) use render::{Layout, Palette};
pub(crate) use summary::summarize;
pub(crate) use totals::Totals;
pub(crate) use value::{counted, grouped};
