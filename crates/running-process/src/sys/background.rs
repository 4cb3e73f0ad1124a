//! A thread beside a server or beside the tasks of a runtime, such as for work that reads or writes files.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// Runs `work` on a thread of its own, which passes the result, or the panic, to `tell`.
///
/// # Errors
///
/// No thread can be made.
pub(crate) fn spawn<T>(
    work: impl FnOnce() -> T + Send + 'static,
    tell: impl FnOnce(thread::Result<T>) + Send + 'static,
) -> io::Result<()> {
    let run = move || tell(catch_unwind(AssertUnwindSafe(work)));
    thread::Builder::new().name("running-process".to_owned()).spawn(run).map(drop)
}

#[cfg(feature = "tokio")]
pub(crate) use tasks::Background;

#[cfg(feature = "tokio")]
mod tasks {
    use std::future::poll_fn;
    use std::io;
    use std::panic::resume_unwind;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::thread;
    use tokio::runtime::Handle;
    use tokio::sync::oneshot;

    /// Work on a thread of its own, which goes on if this is dropped. The result is that of the work.
    #[derive(Debug)]
    pub(crate) struct Background<T>(oneshot::Receiver<thread::Result<T>>);

    impl<T: Send + 'static> Background<T> {
        /// Runs `work` on a thread of its own, which belongs to the runtime. It is no job for `spawn_blocking`: a runtime that ends
        /// waits for its jobs, and it panics if it cannot make a thread.
        ///
        /// # Errors
        ///
        /// No thread can be made.
        ///
        /// # Panics
        ///
        /// Outside a tokio runtime.
        pub(crate) fn spawn(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
            let ((give, result), runtime) = (oneshot::channel(), Handle::current());
            let work = move || {
                let _runtime = runtime.enter();
                work()
            };
            // The receiver may be gone already.
            super::spawn(work, move |result| drop(give.send(result)))?;
            Ok(Self(result))
        }

        /// Waits for the result, or the panic.
        pub(crate) async fn outcome(mut self) -> thread::Result<T> {
            poll_fn(|context| self.poll_outcome(context)).await
        }

        fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<thread::Result<T>> {
            let outcome = Pin::new(&mut self.0).poll(context);
            // The thread passes on whatever comes.
            outcome.map(|outcome| outcome.unwrap_or_else(|lost| Err(Box::new(lost))))
        }
    }

    /// Panics as the work did.
    impl<T: Send + 'static> Future for Background<T> {
        type Output = T;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
            self.poll_outcome(context).map(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic)))
        }
    }
}
