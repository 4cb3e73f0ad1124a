//! The requests `wait NAME` of all connections.

use std::collections::HashMap;
use std::sync::Mutex;

/// Maps each name to whether its wait has ended.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<HashMap<Vec<u8>, bool>>);

impl Waits {
    pub(crate) fn begin(&self, name: &[u8]) {
        self.0.lock().unwrap().insert(name.to_vec(), false);
    }

    pub(crate) fn end(&self, name: &[u8]) {
        self.0.lock().unwrap().insert(name.to_vec(), true);
    }

    /// Returns the answer to `ended NAME`.
    pub(crate) fn state(&self, name: &[u8]) -> &'static str {
        match self.0.lock().unwrap().get(name) {
            None => "unknown",
            Some(false) => "waiting",
            Some(true) => "cancelled",
        }
    }
}
