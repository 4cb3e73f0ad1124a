//! Messages escape the control characters and line feeds in text from a peer, a file or a file name.
#![cfg(feature = "host")]

use running_process::broker::backend_lifecycle::probe::{PeerRole, ProbeError};
use running_process::broker::backend_sdk::{
    BindError, ConnectError, DirectoryFault, FrameClientError, LockFault,
};
use running_process::broker::protocol::{Refusal, RefusalReason};
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Text that moves the cursor, begins a line, changes the text's direction, and hides a part of it.
const HOSTILE: &str = "/tmp/x\u{1b}[99A\u{9b}J\nerror: \u{202e}no\u{2066}\u{200b}\u{e0041}\u{2028}\u{7f}";

#[track_caller]
fn is_harmless(error: &dyn Error) {
    let text = error.to_string();
    let hostile = |char: char| HOSTILE.contains(char) && !char.is_ascii_graphic() && char != ' ';
    assert!(!text.contains(hostile), "{text:?}");
    assert!(text.contains("/tmp/x"), "{text}");
}

#[test]
fn names_of_endpoints_are_quoted() {
    let path = || HOSTILE.to_owned();
    let source = || Arc::new(io::Error::from(io::ErrorKind::Other));
    for error in [
        ConnectError::NotFound { path: path() },
        ConnectError::Refused { path: path() },
        ConnectError::BacklogFull { path: path() },
        ConnectError::NotASocket { path: path() },
        ConnectError::PermissionDenied { path: path(), source: source() },
        ConnectError::Io { path: path(), source: source() },
    ] {
        is_harmless(&error);
    }
    for error in [
        BindError::InUse { path: path() },
        BindError::HeldByChild { path: path(), pid: Some(7) },
        BindError::Directory { path: path(), fault: DirectoryFault::WritableByOthers { mode: 0o777 } },
        BindError::Lock { path: path(), fault: LockFault::ForeignOwner { owner: 0 } },
        BindError::NotASocket { path: path() },
        BindError::NotALock { path: path() },
        BindError::NoDirectory { path: path() },
        BindError::PermissionDenied { path: path(), source: source() },
        BindError::InheritedElsewhere { path: path(), passed: vec![path().into()] },
        BindError::AlreadyInherited { path: path() },
        BindError::NotInheritable { path: path() },
        BindError::Io { path: path(), source: source() },
    ] {
        is_harmless(&error);
    }
}

#[test]
fn what_an_impostor_or_a_record_says_is_quoted() {
    let text = || HOSTILE.to_owned();
    for error in [
        ProbeError::EndpointMismatch { asked: text(), recorded: text() },
        ProbeError::OtherBoot { recorded: text(), current: text() },
        ProbeError::Impostor { role: PeerRole::Writer, pid: 1, image: Some(HOSTILE.into()), expected: 2 },
    ] {
        is_harmless(&error);
    }
}

#[test]
fn the_text_of_a_refusal_is_quoted() {
    let refusal = Refusal::new(RefusalReason::HandlerFailed, HOSTILE);
    is_harmless(&refusal);
    assert!(FrameClientError::Refused(refusal).source().is_some());
}

#[test]
fn a_timeout_is_told_as_it_was_given() {
    let told = |timeout| FrameClientError::TimedOut { timeout }.to_string();
    assert_eq!(told(Duration::from_millis(500)), "no answer within 500ms");
    assert_eq!(told(Duration::from_micros(300)), "no answer within 300µs");
}
