//! The identity file: a daemon writes its identity there, and clients find it.
//!
//! The file is the [`DaemonProcess`](super::identity::DaemonProcess) as JSON, which every generation of published peers
//! reads. A program that can write the file decides which process a client talks to. So a reader takes it only from its own
//! user or root, from a regular file of bounded size that no other user can write, in a directory in which no other user
//! can replace it.

mod error;
#[cfg(unix)]
mod location;
#[cfg(not(unix))]
#[path = "identity_file/location_without_owners.rs"]
mod location;
#[cfg(unix)]
mod owner;
mod read;
mod write;

pub use error::{IdentityFileError, MAX_IDENTITY_FILE_BYTES};
pub use read::{read_daemon_identity_file, try_read_daemon_identity_file};
pub use write::{
    check_daemon_identity_path, remove_daemon_identity_file, try_remove_daemon_identity_file,
    write_daemon_identity_file,
};
pub(crate) use write::{remove_own_identity_file, write_daemon_identity_file_after};
