//! A service: its one daemon, found, started exactly once, and stopped.
//!
//! [`Service`] says what the service is, the same for both sides. A client calls [`Service::ensure`] and gets the daemon that
//! runs, or a new one, however many clients ask at once. The daemon calls `Server::for_service`.
//!
//! One lock in the service's [directory](Service::directory) decides everything: the process that holds it starts, serves or
//! drains. The lock passes from the starter to the daemon without a gap, and the system releases it when its last holder ends.

mod activation;
#[cfg(feature = "tokio")]
mod asynchronous;
mod backoff;
mod daemon;
mod deadline;
mod definition;
mod elsewhere;
mod examine;
mod files;
mod find;
mod find_error;
#[cfg(feature = "tokio")]
mod front;
#[cfg(unix)]
mod handover;
#[cfg(not(unix))]
#[path = "handover_unsupported.rs"]
mod handover;
mod handover_error;
mod held;
mod history;
mod in_process;
mod interval;
mod known;
mod leftovers;
mod moment;
mod names;
#[cfg(unix)]
mod operation;
#[cfg(not(unix))]
#[path = "operation_unsupported.rs"]
mod operation;
mod paths;
mod place_error;
mod replace;
#[cfg(test)]
#[cfg(unix)]
mod scratch;
mod service_socket;
mod start;
mod state;
mod stop;
mod upgrade;
mod variables;

pub use activation::managed_start::ManagedStart;
pub use activation::manager::{Activation, ServiceManager};
pub use daemon::for_service_error::ForServiceError;
pub use deadline::Deadline;
pub use definition::{MAX_SERVICE_NAME_BYTES, Service, ServiceNameError};
pub use elsewhere::Roots;
pub use examine::{Examination, LastFailure, ProgramState, ReplacingHolder};
pub use find_error::FindError;
#[cfg(feature = "tokio")]
pub use front::{Front, FrontError, UpstreamAddress, UpstreamAddressError};
pub use handover_error::HandoverError;
pub use history::{StartEnd, StartFailure};
pub use in_process::InProcess;
pub use known::configuration_directory;
pub use leftovers::{LeftoverChange, LeftoverError};
pub use place_error::{PlaceError, PlaceFault};
pub use replace::coordinator::Replaced;
pub use replace::replacement::Replacement;
pub use replace::replacement_step::{ReplacementStep, StopReason};
pub use service_socket::ServiceSocket;
pub use start::ends_with::EndsWith;
pub use start::ensure::Started;
pub use start::ensure_error::{EnsureError, ReplaceError};
pub use state::ServiceState;
pub use stop::{StopError, Stopped};
pub use upgrade::{
    Candidate, Decision, KeepReason, MAX_BOUND, Obstacle, RefuseReason, Release, ReplaceReason,
    ReplacementRecord, UpgradePolicy,
};
pub use variables::ROOT as ROOT_VARIABLE;
