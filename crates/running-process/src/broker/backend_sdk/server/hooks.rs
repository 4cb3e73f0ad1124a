//! The closures that a daemon gives its server, besides its handlers.

use super::config::ServeError;
use super::peer::{NotAuthorized, PeerCredentials};
use crate::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use crate::broker::backend_sdk::mux::LegacyClassification;
use crate::broker::protocol::Endpoint;

pub(crate) type Detector = Box<dyn Fn(&[u8]) -> LegacyClassification + Send + Sync>;
pub(crate) type Authorize = Box<dyn Fn(&PeerCredentials) -> Result<(), NotAuthorized> + Send + Sync>;
pub(crate) type Observer = Box<dyn Fn(&ServeError, Option<&PeerCredentials>) + Send + Sync>;
pub(super) type ReadyHook = Box<dyn FnOnce(&DaemonProcess) + Send>;
/// Makes the identity of this process. It gives up once its second argument returns `false`.
pub(super) type Identify =
    Box<dyn FnOnce(Endpoint, &(dyn Fn() -> bool + Sync)) -> Result<DaemonProcess, IdentityError> + Send>;
