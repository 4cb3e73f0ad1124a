//! The methods of the servers that bring their driver.

/// The methods that the drivers of this library have as well; `$handler` is the type of their handlers.
macro_rules! driver_methods {
    ($handler:ty) => {
        /// Takes `endpoint`. Clients can connect from now on and are served once [`run`](Self::run) is called.
        ///
        /// # Errors
        ///
        /// Another daemon owns the endpoint, or something that is not a socket stands there.
        ///
        /// # Platform-specific behavior
        ///
        /// On Unix a relative path is made absolute, here and in the identity: clients have other working directories.
        pub fn bind(
            endpoint: $crate::broker::protocol::Endpoint,
        ) -> Result<Self, $crate::broker::backend_sdk::BindError> {
            let endpoint = endpoint.absolute();
            let listener = $crate::transport::LocalListener::bind(&endpoint.path)?;
            Ok(Self::from_listener(listener, endpoint))
        }

        /// Takes the socket that listens at `endpoint` and that a service manager, such as systemd, passed to this process:
        /// see [`LocalListener::inherited`](crate::broker::backend_sdk::LocalListener::inherited). The socket stays when the
        /// server ends, and the identity says that another process made it.
        ///
        /// # Errors
        ///
        /// Nothing was passed to this process, nothing that listens at the endpoint's path, or it has been taken before.
        /// On Windows always [`BindError::NotInheritable`](crate::broker::backend_sdk::BindError::NotInheritable).
        pub fn bind_inherited(
            endpoint: $crate::broker::protocol::Endpoint,
        ) -> Result<Self, $crate::broker::backend_sdk::BindError> {
            let listener = $crate::transport::LocalListener::inherited(&endpoint.path)?;
            let mut server = Self::from_listener(listener, endpoint);
            server.builder = server.builder.inherited(true);
            Ok(server)
        }

        /// Returns a server that accepts the connections of `listener`, which listens at `endpoint`.
        pub(crate) fn from_listener(
            listener: $crate::transport::LocalListener,
            endpoint: $crate::broker::protocol::Endpoint,
        ) -> Self {
            Self { listener: Some(listener), ..Self::without_listener(endpoint) }
        }

        fn builder(&self) -> &$crate::broker::backend_sdk::ServerBuilder<$handler> {
            &self.builder
        }

        fn builder_mut(&mut self) -> &mut $crate::broker::backend_sdk::ServerBuilder<$handler> {
            &mut self.builder
        }

        /// Ends the server once no connection has been open for `timeout`, and announces that in the identity. The time
        /// begins once the server is registered, and passes while the server is waited for. Default: it never ends by itself.
        ///
        /// An open connection is work, also while nothing happens there: the limit is
        /// [`idle_timeout`](crate::broker::backend_sdk::ConnectionConfig::idle_timeout) of the connections.
        ///
        /// No client loses a request by that: the server removes the identity file and the socket first, and refuses further
        /// connections. Connections that wait are served as ever, for a second at most. Then it drains, as after a
        /// [`stop`](crate::broker::backend_sdk::ServerStop::stop), and frees the endpoint when it has ended.
        ///
        /// # Platform-specific behavior
        ///
        /// On Linux a client that connects at the same moment is refused or served. On macOS and FreeBSD one that found the socket
        /// just before it was removed may have its connection reset, and on Windows one that opens the pipe just before it is closed.
        #[must_use]
        pub fn idle_exit(mut self, timeout: std::time::Duration) -> Self {
            let builder = self.builder_mut();
            builder.idle_timeout = Some(timeout);
            builder.idle_exit = Some($crate::broker::backend_sdk::server::idle_exit::IdleTimeouts::of(
                timeout,
                builder.lifecycle.is_some(),
            ));
            self
        }
    };
}
pub(super) use driver_methods;
