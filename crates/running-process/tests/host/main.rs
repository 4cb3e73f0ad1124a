//! Clients, servers and the identity file, over real sockets and files.
#![cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        unused_imports,
        reason = "some cases need Linux or a Unix socket, and their helpers too"
    )
)]
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[cfg(feature = "tokio")]
mod async_closures;
#[cfg(feature = "tokio")]
mod async_server;
#[cfg(target_os = "linux")]
mod client_memory;
#[cfg(unix)]
mod connecting;
mod daemon;
mod dropped;
mod frame_client;
mod identity_file;
mod legacy_parts;
#[cfg(target_os = "linux")]
mod local_sockets;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(feature = "tokio")]
mod on_tokio;
#[cfg(unix)]
mod passed_connections;
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
mod republishing;
mod servers;
#[cfg(unix)]
mod service_end;
#[cfg(unix)]
mod stopped;
mod support;
#[cfg(all(target_os = "linux", feature = "tokio"))]
mod unread_files;
#[cfg(feature = "tokio")]
mod without_listener;
