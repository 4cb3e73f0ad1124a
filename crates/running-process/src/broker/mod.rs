//! The broker's parts, in the order in which they build on each other.

pub mod backend_handle;
pub mod backend_lifecycle;
pub mod backend_sdk;
pub mod protocol;
