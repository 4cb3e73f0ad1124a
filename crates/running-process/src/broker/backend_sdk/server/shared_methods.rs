//! What both servers are told in the same way. The types are those in scope where the macros are used.

/// For a server with the fields `listener`, `setup`, `legacy` and `stop`.
macro_rules! shared_methods {
    () => {
        /// Takes `endpoint`. Clients can connect from now on and are served once [`run`](Self::run) is called.
        ///
        /// # Errors
        ///
        /// Another daemon owns the endpoint, or something that is not a socket stands there.
        ///
        /// # Platform-specific behavior
        ///
        /// On Unix a relative path is made absolute, here and in the identity: clients have other working directories.
        pub fn bind(endpoint: Endpoint) -> Result<Self, BindError> {
            let endpoint = endpoint.absolute();
            let listener = LocalListener::bind(&endpoint.path)?;
            Ok(Self::on(listener, endpoint, false))
        }

        /// Takes the socket that listens at `endpoint` and that a service manager, such as systemd, passed to this process:
        /// see [`LocalListener::inherited`]. The socket stays when the server ends, and the identity says that somebody else
        /// made it.
        ///
        /// # Errors
        ///
        /// Nothing was passed to this process, nothing that listens at the endpoint's path, or it has been taken before.
        /// On Windows always [`BindError::NotInheritable`].
        pub fn bind_inherited(endpoint: Endpoint) -> Result<Self, BindError> {
            let listener = LocalListener::inherited(&endpoint.path)?;
            Ok(Self::on(listener, endpoint.absolute(), true))
        }

        fn on(listener: LocalListener, endpoint: Endpoint, inherited: bool) -> Self {
            Self {
                listener,
                setup: Setup::new(endpoint, inherited),
                legacy: None,
                stop: ServerStop::default(),
            }
        }

        /// Writes the identity file at `path` once the server runs and knows who it is, and removes it when it ends. A relative
        /// path is made absolute here, so that it means the same wherever the daemon goes.
        #[must_use]
        pub fn record(mut self, path: impl Into<PathBuf>) -> Self {
            let path = path.into();
            // Without a working directory only an absolute path means anything; the other one fails when it is used.
            self.setup.record = Some(std::path::absolute(&path).unwrap_or(path));
            self
        }

        /// Asks `rule` of every connection before its first request, or before its legacy wire is served. Probes are always
        /// answered. Default: the daemon's own user is served and nobody else.
        ///
        /// The connection is locked while `rule` runs, so it must not wait: until it returns nothing else happens on that
        /// connection. If it panics, nothing of that connection is served.
        #[must_use]
        pub fn authorize(
            mut self,
            rule: impl Fn(&PeerCredentials) -> Result<(), NotAuthorized> + Send + Sync + 'static,
        ) -> Self {
            self.setup.authorize = Box::new(rule);
            self
        }

        /// Limits and deadlines.
        #[must_use]
        pub fn config(mut self, config: ServerConfig) -> Self {
            self.setup.config = config;
            self
        }

        /// Calls `ready` once clients can find this daemon: it serves, its record is written and probes are answered.
        ///
        /// `ready` has a thread of its own and may wait. Once the server is stopped it is waited for as long as connections
        /// are; then [`run`](Self::run) returns without it. If it panics the observer is told, and the server goes on.
        #[must_use]
        pub fn on_ready(mut self, ready: impl FnOnce(&DaemonProcess) + Send + 'static) -> Self {
            self.setup.ready = Box::new(ready);
            self
        }

        /// Finds out who this process is by `identify`.
        #[cfg(test)]
        pub(in crate::broker::backend_sdk) fn identify_by(
            mut self,
            identify: impl FnOnce(Endpoint, &mut dyn FnMut() -> bool) -> Result<DaemonProcess, IdentityError>
            + Send
            + 'static,
        ) -> Self {
            self.setup.identify = Box::new(identify);
            self
        }

        /// Tells `observer` of every connection that did not end well. Default: nobody is told.
        ///
        /// `observer` is called where the trouble is, often while its connection is locked, so it must not wait: until it
        /// returns nothing else happens there, and no connection is accepted if it was told of one that was not. Write to what
        /// may be full or closed without waiting and without panicking; `eprintln!` does both. A panic is counted
        /// (`callbacks_panicked` of [`stats`](Self::stats)) and costs nothing else.
        #[must_use]
        pub fn observe(self, observer: impl Fn(&ServerTrouble) + Send + Sync + 'static) -> Self {
            self.observe_with_peer(move |trouble, _| observer(trouble))
        }

        /// Tells `observer` of trouble, as [`observe`](Self::observe), and with whom it was; `None` if with no peer. It takes the place
        /// of any other observer.
        #[must_use]
        pub fn observe_with_peer(
            mut self,
            observer: impl Fn(&ServerTrouble, Option<&PeerCredentials>) + Send + Sync + 'static,
        ) -> Self {
            self.setup.observer = Box::new(observer);
            self
        }

        /// What the server counts of itself, also while it runs.
        #[must_use]
        pub fn stats(&self) -> ServerStats {
            self.setup.stats.clone()
        }

        /// Stops the server on SIGTERM, SIGINT and SIGHUP, from now until [`run`](Self::run) returns: it drains as after
        /// [`ServerStop::stop`]. Then, or once the server is dropped, these signals have their default effect again. While it
        /// drains further ones do nothing; [`ServerConfig::drain`] bounds that.
        ///
        /// A signal that this process ignores stays ignored, as under `nohup`, and one that it handles by itself is left to
        /// that handler, which then calls [`ServerStop::stop`]. The signals are the whole process's: each of its servers that
        /// asked for it is stopped.
        ///
        /// # Errors
        ///
        /// The system gives no pipe or no thread for it.
        ///
        /// # Platform-specific behavior
        ///
        /// On Windows the requests are those of the console: Ctrl-C, Ctrl-Break, closing it, logging off. A process without a
        /// console gets none. On Unix systems other than Linux, macOS and FreeBSD the error is
        /// [`Unsupported`](std::io::ErrorKind::Unsupported).
        pub fn stop_on_signals(mut self) -> std::io::Result<Self> {
            let stop = self.stop.clone();
            self.setup.signals = Some(crate::sys::OnTermination::new(move || stop.stop())?);
            Ok(self)
        }

        /// What ends [`run`](Self::run) from anywhere.
        #[must_use]
        pub fn stop_handle(&self) -> ServerStop {
            self.stop.clone()
        }
    };
}

macro_rules! debug_server {
    ($server:ident) => {
        impl std::fmt::Debug for $server {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter
                    .debug_struct(stringify!($server))
                    .field("endpoint", &self.setup.endpoint)
                    .field("record", &self.setup.record)
                    .field("served", &self.setup.handlers.keys())
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(in super::super) use {debug_server, shared_methods};
