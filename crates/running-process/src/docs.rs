//! The guides, as in the folder `docs` of the repository, and the [examples] of programs.
//!
//! This module is only in the documentation. Code cannot use it.

/// A guide with the definitions of its links first, which count instead of its own: those lead to files of the repository.
macro_rules! guide {
    ($(#[$attribute:meta])* $name:ident, $file:literal) => {
        $(#[$attribute])*
        #[doc = include_str!("docs/links.md")]
        #[doc = include_str!(concat!("../docs/", $file))]
        pub mod $name {}
    };
}

guide!(cli, "cli.md");
guide!(conformance, "conformance.md");
guide!(descriptors, "descriptors.md");
guide!(front, "front.md");
guide!(identity, "identity.md");
guide!(integrate, "integrate.md");
guide!(json, "json.md");
guide!(load, "load.md");
guide!(migrate, "migrate.md");
guide!(observe, "observe.md");
guide!(platforms, "platforms.md");
guide!(reliability, "reliability.md");
guide!(security_review, "security-review.md");
guide!(service, "service.md");
guide!(stability, "stability.md");
guide!(troubleshooting, "troubleshooting.md");
guide!(wire, "wire.md");

#[doc = include_str!("docs/links.md")]
// Its code needs the feature.
#[cfg_attr(any(not(doctest), feature = "tokio"), doc = include_str!("../docs/tokio.md"))]
pub mod tokio {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// Complete programs to copy, each with its source.
#[cfg(not(doctest))]
pub mod examples {
    macro_rules! example {
        ($name:ident, $file:literal, $summary:literal) => {
            #[doc = $summary]
            #[doc = ""]
            #[doc = "```ignore"]
            #[doc = include_str!(concat!("../examples/", $file))]
            #[doc = "```"]
            pub mod $name {}
        };
    }

    example!(adopt_legacy, "adopt_legacy.rs", "An existing accept loop that adopts the mux.");
    example!(blocking_daemon, "blocking_daemon.rs", "A daemon on threads.");
    example!(
        build_server,
        "build_server.rs",
        "A build server that gets the streams and the directory of its client."
    );
    example!(client, "client.rs", "A client that proves its daemon.");
    example!(conformance, "conformance.rs", "A daemon that can be judged by `running-process conform`.");
    example!(
        own_event_loop,
        "own_event_loop/main.rs",
        "A daemon on an event loop of its own; its other files are in `examples/own_event_loop`."
    );
    example!(proof, "proof.rs", "The steps of a proof, printed.");
    example!(service, "service.rs", "Both sides of a service with exactly one daemon.");
    example!(tokio_daemon, "tokio_daemon.rs", "A daemon on tokio.");
}
