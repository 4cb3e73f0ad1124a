//! The connections that a client gets, and the daemons' ends of them.

use running_process::broker::backend_sdk::{ConnectFailure, LocalStream};
use rustix::net::sockopt::set_socket_send_buffer_size;
use std::fs;
use std::future::poll_fn;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

/// The answer to a client that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Connect,
    Fail,
    /// As [`Fail`](Self::Fail) where connecting does not wait.
    Wait,
}

#[derive(Debug)]
pub(super) enum Source {
    Pairs(Arc<Pairs>),
    Listener { path: PathBuf, listener: Option<UnixListener> },
}

impl Source {
    /// Returns a source that listens, and its path.
    pub(super) fn listening() -> (Self, String) {
        let path = std::env::temp_dir().join(format!("running-process-fuzz-{}", std::process::id()));
        let name = path.to_str().expect("the directory has a plain name").to_owned();
        let mut source = Self::Listener { path, listener: None };
        source.set(Mode::Connect);
        (source, name)
    }

    pub(super) fn set(&mut self, mode: Mode) {
        match self {
            Self::Pairs(pairs) => pairs.set(mode),
            Self::Listener { listener: Some(_), .. } if mode == Mode::Connect => {}
            Self::Listener { path, listener } => {
                *listener = None;
                if mode == Mode::Connect {
                    let _not_there = fs::remove_file(&*path);
                    let bound = UnixListener::bind(path).expect("the directory is there");
                    bound.set_nonblocking(true).expect("it is open");
                    *listener = Some(bound);
                }
            }
        }
    }

    /// Returns the daemons' ends of the connections that were made since the last call.
    pub(super) fn accept(&self) -> Vec<UnixStream> {
        match self {
            Self::Pairs(pairs) => std::mem::take(&mut pairs.state().made),
            Self::Listener { listener: None, .. } => Vec::new(),
            Self::Listener { listener: Some(listener), .. } => {
                let accepted = || listener.accept().map(|(socket, _)| socket);
                std::iter::from_fn(|| accepted().ok())
                    .inspect(|socket| socket.set_nonblocking(true).expect("it is open"))
                    .collect()
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Listener { path, .. } = self {
            let _not_there = fs::remove_file(path);
        }
    }
}

/// Pairs of sockets.
#[derive(Debug)]
pub(super) struct Pairs(Mutex<PairsState>);

#[derive(Debug)]
struct PairsState {
    mode: Mode,
    made: Vec<UnixStream>,
    /// The clients that wait.
    waiting: Vec<Waker>,
    /// The system takes few bytes that the daemon has not read.
    little_room: bool,
}

impl Pairs {
    pub(super) fn new(little_room: bool) -> Arc<Self> {
        let (made, waiting) = (Vec::new(), Vec::new());
        Arc::new(Self(Mutex::new(PairsState { mode: Mode::Connect, made, waiting, little_room })))
    }

    fn state(&self) -> MutexGuard<'_, PairsState> {
        self.0.lock().expect("no thread panics")
    }

    fn set(&self, mode: Mode) {
        let mut state = self.state();
        state.mode = mode;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Returns the client's end of a connection, as the mode says.
    pub(super) async fn connect(self: Arc<Self>) -> Result<LocalStream, ConnectFailure> {
        poll_fn(|context| {
            let mut state = self.state();
            match state.mode {
                Mode::Connect => Poll::Ready(Ok(state.pair())),
                Mode::Fail => Poll::Ready(Err(ConnectFailure::NoIdentityFile)),
                Mode::Wait => {
                    state.waiting.push(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub(super) fn pair(&self) -> LocalStream {
        self.state().pair()
    }
}

impl PairsState {
    fn pair(&mut self) -> LocalStream {
        let (ours, daemons) = UnixStream::pair().expect("a pair of sockets");
        daemons.set_nonblocking(true).expect("it is open");
        if self.little_room {
            set_socket_send_buffer_size(&ours, 1).expect("it is open");
        }
        self.made.push(daemons);
        ours.into()
    }
}
