//! The closures that a daemon gives its server, besides its handlers.

use super::config::ServerTrouble;
use super::peer::{NotAuthorized, PeerCredentials};
use crate::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use crate::broker::backend_sdk::mux::LegacyClassification;
use crate::broker::protocol::Endpoint;

pub(in super::super) type Detector = Box<dyn Fn(&[u8]) -> LegacyClassification + Send + Sync>;
pub(in super::super) type Authorize =
    Box<dyn Fn(&PeerCredentials) -> Result<(), NotAuthorized> + Send + Sync>;
pub(in super::super) type Observer = Box<dyn Fn(&ServerTrouble, Option<&PeerCredentials>) + Send + Sync>;
pub(super) type ReadyHook = Box<dyn FnOnce(&DaemonProcess) + Send>;
/// Makes the identity of this process, for as long as what it asks in between says so.
pub(super) type Identify =
    Box<dyn FnOnce(Endpoint, &mut dyn FnMut() -> bool) -> Result<DaemonProcess, IdentityError> + Send>;
