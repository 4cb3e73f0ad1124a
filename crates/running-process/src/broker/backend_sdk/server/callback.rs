//! Calls into the daemon's own code, which may panic.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A closure that a daemon gives its server, besides its handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Callback {
    /// The detector of the legacy wire.
    Detector,
    /// The rule given to `authorize`.
    Authorize,
    /// The closure given to `observe`.
    Observe,
    /// The closure given to `on_ready`.
    OnReady,
}

impl fmt::Display for Callback {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Detector => "the detector",
            Self::Authorize => "the rule of `authorize`",
            Self::Observe => "the observer",
            Self::OnReady => "`on_ready`",
        })
    }
}

/// Runs code of the daemon; `None` if it panics. No panic leaves this function, also while its thread unwinds already.
#[inline]
pub(crate) fn run<T>(code: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(value) => Some(value),
        Err(panic) => {
            discard(panic);
            None
        }
    }
}

/// Drops a value of the daemon's, whose destructor may panic.
#[cold]
pub(crate) fn discard<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        discard_panic(panic);
    }
}

/// Drops the payload of a panic. If that panics as well, leaks the payload of the second panic, because a third could follow.
fn discard_panic(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}

#[cfg(feature = "tokio")]
pub(crate) use tasks::Guarded;

#[cfg(feature = "tokio")]
mod tasks {
    use std::pin::Pin;
    use std::task::Poll;
    use {super::discard, super::run};

    /// A future of the daemon's that returns `None` if it panics when it is polled. It is dropped once it has ended, and never
    /// while a panic unwinds, so its destructor may panic as well.
    pub(crate) struct Guarded<F: ?Sized>(Option<Pin<Box<F>>>);

    impl<F: ?Sized> Guarded<F> {
        pub(crate) fn new(future: Pin<Box<F>>) -> Self {
            Self(Some(future))
        }

        /// Polls the future by `poll`.
        pub(crate) fn poll_by<T>(&mut self, poll: impl FnOnce(Pin<&mut F>) -> Poll<T>) -> Poll<Option<T>> {
            let Some(future) = &mut self.0 else { return Poll::Ready(None) };
            let output = match run(|| poll(future.as_mut())) {
                Some(Poll::Pending) => return Poll::Pending,
                Some(Poll::Ready(output)) => Some(output),
                None => None,
            };
            discard(self.0.take());
            Poll::Ready(output)
        }
    }

    impl<F: ?Sized> Drop for Guarded<F> {
        fn drop(&mut self) {
            discard(self.0.take());
        }
    }
}
