use super::alarm;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::oneshot::{self, Receiver};

/// The registration on a thread of its own, within the runtime. The runtime's threads for blocking work would not do: when
/// a runtime ends it waits for them, and it panics if it cannot make one.
pub(super) struct Introducing<T>(Receiver<thread::Result<T>>);

impl<T: Send + 'static> Introducing<T> {
    /// # Errors
    ///
    /// No thread can be made.
    pub(super) fn spawn(register: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (give, result) = oneshot::channel();
        let runtime = Handle::current();
        thread::Builder::new().name("running-process".to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            // The receiver may be gone already.
            let _ = give.send(catch_unwind(AssertUnwindSafe(register)));
        })?;
        Ok(Self(result))
    }

    /// Waits for the result of the registration; `None` if it has not ended when `deadline` passes.
    ///
    /// # Panics
    ///
    /// As the registration did.
    pub(super) async fn wait_until(self, deadline: Option<Instant>) -> Option<T> {
        let result = alarm::before(deadline, self.0).await?;
        result.ok().map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}
