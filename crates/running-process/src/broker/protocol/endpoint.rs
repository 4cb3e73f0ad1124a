//! Constructors of [`Endpoint`]: a socket's path, or a pipe's bare name.

use super::generated::Endpoint;

/// The prefix of the name of every pipe on the local machine of Windows. It is added when the pipe is opened.
pub const WINDOWS_PIPE_PREFIX: &str = r"\\.\pipe\";

/// The reason why a name cannot be an endpoint's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointNameError {
    /// The name is empty.
    #[error("endpoint name is empty")]
    Empty,
    /// The name carries the pipe prefix, which is added when the pipe is opened.
    #[error("endpoint name {got:?} already carries the \\\\.\\pipe\\ prefix; pass the bare name")]
    PrefixedPipeName {
        /// The name as it was given.
        got: String,
    },
    /// The name contains a NUL byte, which no operating system accepts.
    #[error("endpoint name {got:?} contains a NUL byte")]
    ContainsNul {
        /// The name as it was given.
        got: String,
    },
}

/// ```
/// use running_process::Endpoint;
///
/// let socket = Endpoint::unix_socket("my-daemon", "/run/user/1000/my-daemon/socket")?;
/// assert_eq!(socket.path, "/run/user/1000/my-daemon/socket");
///
/// let pipe = Endpoint::windows_pipe("my-daemon", "my-daemon-1000")?; // the prefix is added when it is opened
/// assert_eq!(pipe.path, "my-daemon-1000");
/// assert!(Endpoint::windows_pipe("my-daemon", r"\\.\pipe\my-daemon").is_err());
/// # Ok::<_, running_process::broker::protocol::EndpointNameError>(())
/// ```
impl Endpoint {
    /// Returns the endpoint of the Unix-domain socket at `path`. It can be built on every platform.
    ///
    /// # Errors
    ///
    /// The path is empty, contains NUL, or is a Windows pipe's.
    pub fn unix_socket(
        namespace_id: impl Into<String>,
        path: impl Into<String>,
    ) -> Result<Self, EndpointNameError> {
        Self::checked(namespace_id.into(), path.into())
    }

    /// Returns the endpoint of the Windows named pipe `bare_name`, without `\\.\pipe\`. It can be built on every
    /// platform.
    ///
    /// # Errors
    ///
    /// The name is empty, contains NUL, or already carries the prefix.
    pub fn windows_pipe(
        namespace_id: impl Into<String>,
        bare_name: impl Into<String>,
    ) -> Result<Self, EndpointNameError> {
        Self::checked(namespace_id.into(), bare_name.into())
    }

    fn checked(namespace_id: String, path: String) -> Result<Self, EndpointNameError> {
        if path.is_empty() {
            return Err(EndpointNameError::Empty);
        }
        if path.contains('\0') {
            return Err(EndpointNameError::ContainsNul { got: path });
        }
        if carries_pipe_prefix(&path) {
            return Err(EndpointNameError::PrefixedPipeName { got: path });
        }
        Ok(Self { namespace_id, path })
    }
}

/// Returns whether `name` carries the prefix, which Windows compares without case and with either slash.
fn carries_pipe_prefix(name: &str) -> bool {
    let normal = |byte: &u8| if *byte == b'/' { b'\\' } else { byte.to_ascii_lowercase() };
    let start = name.as_bytes().iter().map(normal).take(WINDOWS_PIPE_PREFIX.len());
    start.eq(WINDOWS_PIPE_PREFIX.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_built_on_every_platform() {
        let socket = Endpoint::unix_socket("demo", "/run/demo.sock").unwrap();
        assert_eq!((socket.namespace_id.as_str(), socket.path.as_str()), ("demo", "/run/demo.sock"));
        assert_eq!(Endpoint::windows_pipe("demo", "demo-1").unwrap().path, "demo-1");
    }

    #[test]
    fn unusable_names_are_refused() {
        type Constructor = fn(&'static str, &'static str) -> Result<Endpoint, EndpointNameError>;
        let constructors: [Constructor; 2] = [Endpoint::unix_socket, Endpoint::windows_pipe];
        for make in constructors {
            assert_eq!(make("demo", "").unwrap_err(), EndpointNameError::Empty);
            assert!(matches!(make("demo", "a\0b"), Err(EndpointNameError::ContainsNul { .. })));
            for prefixed in [r"\\.\pipe\demo", r"\\.\PIPE\demo", "//./pipe/demo", r"\\.\pipe\"] {
                assert!(matches!(make("demo", prefixed), Err(EndpointNameError::PrefixedPipeName { .. })));
            }
        }
    }

    #[test]
    fn a_name_that_only_resembles_the_prefix_is_taken() {
        for name in [r"\\.\pip", "pipe", r"demo\\.\pipe\"] {
            assert!(Endpoint::windows_pipe("demo", name).is_ok(), "{name}");
        }
    }
}
