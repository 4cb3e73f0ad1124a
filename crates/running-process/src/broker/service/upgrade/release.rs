use crate::broker::backend_lifecycle::identity::DaemonProcess;
use std::fmt;

/// Version and build of a daemon's program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Release {
    /// The version; `None` if it is not told.
    pub version: Option<String>,
    /// The build of the version; `None` if it is not told.
    pub build: Option<String>,
}

impl Release {
    /// Returns the release of `version` and `build`, where an empty text is none.
    #[must_use]
    pub fn new(version: &str, build: &str) -> Self {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self { version: text(version), build: text(build) }
    }

    /// Returns the release that the identity tells.
    #[must_use]
    pub fn of(daemon: &DaemonProcess) -> Self {
        Self::new(daemon.version().unwrap_or_default(), daemon.build().unwrap_or_default())
    }

    pub(super) fn named(&self) -> Named<'_> {
        Named { version: self.version.as_deref(), build: self.build.as_deref() }
    }
}

impl fmt::Display for Release {
    /// Formats the release for a sentence: `version 1.4.2 (build 4f2a91c)`, `an unknown version`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(formatter, "version {version}")?,
            None => formatter.write_str("an unknown version")?,
        }
        match &self.build {
            Some(build) => write!(formatter, " (build {build})"),
            None => Ok(()),
        }
    }
}

/// A release whose texts are borrowed, so that a daemon of the wanted version costs no allocation.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::service) struct Named<'a> {
    pub(super) version: Option<&'a str>,
    pub(super) build: Option<&'a str>,
}

impl<'a> Named<'a> {
    /// Returns the release of `version` and `build`, where an empty text is none.
    pub(super) fn wanted(version: &'a str, build: &'a str) -> Self {
        let text = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        Self { version: text(version), build: text(build) }
    }

    pub(super) fn running(daemon: &'a DaemonProcess) -> Self {
        Self { version: daemon.version(), build: daemon.build() }
    }
}
