//! One connection of a client: the one that takes requests, or a former one that still answers some.

use crate::broker::backend_sdk::proto::client_connection::RequestId;
use std::task::Waker;

/// The number of a connection among all of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct LinkName(u64);

/// The driver of one connection, as its callers see it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: LinkName,
    /// The connection has taken no request with a lower id. The first id of the next connection ends its range.
    pub(super) first_id: RequestId,
    /// Requests that the driver has taken and the callers have given up.
    pub(super) cancelled: Vec<RequestId>,
    /// The number of the last read barrier that the driver has passed.
    pub(super) passed: u64,
    /// The most descriptors that the daemon takes with one frame, as far as it has said so.
    pub(super) daemon_descriptors: u8,
    /// The driver's task, until it is woken.
    pub(super) driver: Option<Waker>,
}

impl Link {
    pub(super) fn first() -> Self {
        Self::new(LinkName(0), RequestId(1))
    }

    /// Returns the next connection, which takes the requests from `first_id` on.
    pub(super) fn next(&self, first_id: RequestId) -> Self {
        Self::new(LinkName(self.name.0 + 1), first_id)
    }

    fn new(name: LinkName, first_id: RequestId) -> Self {
        Self { name, first_id, cancelled: Vec::new(), passed: 0, daemon_descriptors: 0, driver: None }
    }
}

/// Returns whether one of the `former` connections may still answer the request `id`.
pub(super) fn is_former(former: &[Link], current: &Link, id: RequestId) -> bool {
    id < current.first_id && former.iter().any(|former| former.first_id <= id)
}
