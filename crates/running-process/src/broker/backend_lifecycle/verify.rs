//! Verification that the process at the other end of *this* connection is the recorded one, because the kernel says so.
//!
//! An identity is public, so an answer proves nothing by itself. [`verify`] asks the kernel instead: which process
//! listens there, which one wrote the answer, when it started, what it runs, and whether it is alive after everything
//! was read. All of this happens under one deadline, and before a byte of the caller's request.

#[cfg(feature = "tokio")]
mod asynchronous;
mod blocking;
mod checks;
mod claim;
mod file;
mod fronted;
mod image;
mod outcome;
mod policy;
mod proof;
mod steps;

#[cfg(feature = "tokio")]
pub use asynchronous::verify_async;
#[cfg(feature = "tokio")]
pub(crate) use asynchronous::{verify_again_async, verify_connection_async};
pub use blocking::verify;
pub(crate) use blocking::{verify_again, verify_connection};
pub(crate) use checks::recorded_process;
pub use checks::stopped_process;
pub use claim::{Claim, ListeningProcess, verify_claim};
pub(crate) use file::FileId;
pub use fronted::verify_fronted;
pub(in crate::broker) use image::still_runs;
pub use outcome::Unverified;
pub(crate) use outcome::Verified;
pub use policy::{ImageCheck, InheritedListener, Policy, ProofLevel};
pub use proof::{ImageState, Listener, Proof, Step, StepKind, StepVerdict};
