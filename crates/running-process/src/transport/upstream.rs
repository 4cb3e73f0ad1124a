//! Connections to a daemon behind this one.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// A connection to a daemon behind this one, over a Unix socket or a loopback port.
#[derive(Debug)]
pub(crate) enum Upstream {
    #[cfg(unix)]
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Upstream {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// The error of the system: [`io::ErrorKind::WouldBlock`] if the backlog is full, [`io::ErrorKind::Unsupported`] on Windows.
    #[cfg_attr(windows, expect(clippy::unused_async, reason = "Windows has only ports"))]
    pub(crate) async fn connect_unix(path: &Path) -> io::Result<Self> {
        #[cfg(unix)]
        return UnixStream::connect(path).await.map(Self::Unix);
        #[cfg(not(unix))]
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this system has no Unix sockets to connect to {}", path.display()),
        ))
    }

    /// Connects to a port. Small messages are sent at once.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) async fn connect_tcp(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Waits until the daemon has sent something, or has closed the connection.
    ///
    /// # Errors
    ///
    /// The error of the runtime.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => stream.readable().await,
            Self::Tcp(stream) => stream.readable().await,
        }
    }

    /// Returns the Unix socket.
    #[cfg(unix)]
    pub(crate) fn unix_socket(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        match self {
            Self::Unix(stream) => Some(std::os::fd::AsFd::as_fd(stream)),
            Self::Tcp(_) => None,
        }
    }

    /// Returns the socket, for the runtime to watch anew.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn into_socket(self) -> io::Result<std::os::fd::OwnedFd> {
        Ok(match self {
            Self::Unix(stream) => stream.into_std()?.into(),
            Self::Tcp(stream) => stream.into_std()?.into(),
        })
    }
}

macro_rules! delegate {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            #[cfg(unix)]
            Self::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Self::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Upstream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_read(context, into))
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write_vectored(context, &[IoSlice::new(bytes)]))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_shutdown(context))
    }
}
