//! The daemon's side: it takes the place of its service, and tells its starter that it serves.

mod for_service;
pub(super) mod for_service_error;
pub(super) mod lifecycle;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
mod log_keeper;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd")))]
#[path = "log_unkept.rs"]
mod log_keeper;
mod own_start;
mod place;
