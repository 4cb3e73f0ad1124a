//! The address of a fronted daemon.

use crate::transport::Upstream;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The address at which a fronted daemon listens: `unix:/run/redis.sock`, `tcp:127.0.0.1:6379` or `tcp:[::1]:6379`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamAddress {
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
    /// A port of the loopback device.
    Tcp(SocketAddr),
}

/// The reason why a text is no [`UpstreamAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamAddressError {
    /// It begins with neither `unix:` nor `tcp:`.
    #[error("{0:?} begins with neither unix: nor tcp:")]
    Kind(String),
    /// The path of the socket is not absolute.
    #[error("{0:?} is a relative path")]
    RelativePath(String),
    /// The text after `tcp:` is no numeric address with a port.
    #[error("{0:?} is no numeric address with a port")]
    Port(String),
    /// The address belongs to no loopback device.
    #[error("{0} is no address of this machine alone")]
    NotLoopback(SocketAddr),
    /// The port is 0, which stands for any port.
    #[error("the port is 0")]
    NoPort,
}

impl FromStr for UpstreamAddress {
    type Err = UpstreamAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let is_absolute = PathBuf::from(path).is_absolute();
            let relative = || UpstreamAddressError::RelativePath(path.to_owned());
            return is_absolute.then(|| Self::Unix(path.into())).ok_or_else(relative);
        }
        let port = text.strip_prefix("tcp:").ok_or_else(|| UpstreamAddressError::Kind(text.to_owned()))?;
        let address: SocketAddr = port.parse().map_err(|_| UpstreamAddressError::Port(port.to_owned()))?;
        match address {
            address if !address.ip().is_loopback() => Err(UpstreamAddressError::NotLoopback(address)),
            address if address.port() == 0 => Err(UpstreamAddressError::NoPort),
            address => Ok(Self::Tcp(address)),
        }
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp(address) => write!(formatter, "tcp:{address}"),
        }
    }
}

impl UpstreamAddress {
    pub(super) async fn connect(&self) -> io::Result<Upstream> {
        match self {
            Self::Unix(path) => Upstream::connect_unix(path).await,
            Self::Tcp(address) => Upstream::connect_tcp(*address).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_as_it_is_written() {
        let unix = if cfg!(windows) { r"unix:C:\r.sock" } else { "unix:/tmp/r.sock" };
        for text in [unix, "tcp:127.0.0.1:6379", "tcp:127.0.0.2:1", "tcp:[::1]:65535"] {
            assert_eq!(text.parse::<UpstreamAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn only_absolute_paths_and_loopback_ports_are_addresses() {
        let error = |text: &str| text.parse::<UpstreamAddress>().unwrap_err().to_string();
        for (text, words) in [
            ("", "neither unix: nor tcp:"),
            ("/tmp/r.sock", "neither unix: nor tcp:"),
            ("unix:r.sock", "\"r.sock\" is a relative path"),
            ("unix:", "\"\" is a relative path"),
            ("tcp:localhost:6379", "no numeric address with a port"),
            ("tcp:6379", "no numeric address with a port"),
            ("tcp:127.0.0.1", "no numeric address with a port"),
            ("tcp:127.0.0.1:65536", "no numeric address with a port"),
            ("tcp:0.0.0.0:6379", "no address of this machine alone"),
            ("tcp:192.0.2.1:80", "192.0.2.1:80 is no address of this machine alone"),
            ("tcp:[::]:80", "no address of this machine alone"),
            ("tcp:127.0.0.1:0", "the port is 0"),
        ] {
            assert!(error(text).contains(words), "{text}: {}", error(text));
        }
    }
}
