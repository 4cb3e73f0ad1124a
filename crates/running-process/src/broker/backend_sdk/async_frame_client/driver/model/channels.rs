//! tokio's channels. They are plain data, so the model checker does not see what is done with them: here every step lets
//! others run before it.

use shuttle::sync::atomic::{AtomicBool, Ordering};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

/// How much room a channel has at most, so that it runs out.
const ROOM: usize = 2;

/// One end of a channel; empty once it was used up.
#[derive(Clone, Debug)]
pub(crate) struct Stepwise<End>(Option<End>);

/// Others may run here.
pub(super) fn step() {
    // What is dropped because a test has failed is part of no model.
    if !std::thread::panicking() {
        AtomicBool::default().load(Ordering::SeqCst);
    }
}

impl<End> Deref for Stepwise<End> {
    type Target = End;

    fn deref(&self) -> &End {
        step();
        self.0.as_ref().expect("it is not used up")
    }
}

impl<End> DerefMut for Stepwise<End> {
    fn deref_mut(&mut self) -> &mut End {
        step();
        self.0.as_mut().expect("it is not used up")
    }
}

impl<End> Drop for Stepwise<End> {
    fn drop(&mut self) {
        if self.0.is_some() {
            step();
        }
    }
}

fn stepwise<Left, Right>((left, right): (Left, Right)) -> (Stepwise<Left>, Stepwise<Right>) {
    (Stepwise(Some(left)), Stepwise(Some(right)))
}

pub(crate) mod mpsc {
    use super::{ROOM, Stepwise, step, stepwise};
    use error::SendError;
    use tokio::sync::mpsc;

    pub(crate) use mpsc::error;

    pub(crate) type Sender<T> = Stepwise<mpsc::Sender<T>>;
    pub(crate) type Receiver<T> = Stepwise<mpsc::Receiver<T>>;
    pub(crate) type UnboundedSender<T> = Stepwise<mpsc::UnboundedSender<T>>;
    pub(crate) type UnboundedReceiver<T> = Stepwise<mpsc::UnboundedReceiver<T>>;

    pub(crate) fn channel<T>(room: usize) -> (Sender<T>, Receiver<T>) {
        stepwise(mpsc::channel(room.min(ROOM)))
    }

    pub(crate) fn unbounded_channel<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
        stepwise(mpsc::unbounded_channel())
    }

    impl<T> Sender<T> {
        /// The two steps that tokio's takes.
        pub(crate) async fn send(&self, value: T) -> Result<(), SendError<T>> {
            match self.reserve().await {
                Ok(permit) => {
                    step();
                    permit.send(value);
                    Ok(())
                }
                Err(_) => Err(SendError(value)),
            }
        }
    }
}

pub(crate) mod oneshot {
    use super::{Context, Pin, Poll, Stepwise, step, stepwise};
    use tokio::sync::oneshot;

    pub(crate) type Sender<T> = Stepwise<oneshot::Sender<T>>;
    pub(crate) type Receiver<T> = Stepwise<oneshot::Receiver<T>>;

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        stepwise(oneshot::channel())
    }

    impl<T> Sender<T> {
        pub(crate) fn send(mut self, value: T) -> Result<(), T> {
            step();
            self.0.take().expect("it is not used up").send(value)
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, oneshot::error::RecvError>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            Pin::new(&mut **self).poll(context)
        }
    }
}
