//! Version and build of a daemon: on the wire, in the identity file, and compared.

use crate::common::{chain, daemon};
use running_process::broker::backend_lifecycle::identity::{DaemonProcess, MAX_VERSION_BYTES};
use running_process::broker::backend_lifecycle::judge::{CheckKind, compare};
use running_process::broker::protocol;

fn with(version: &str, build: &str) -> DaemonProcess {
    daemon().with_version(version).expect("a version").with_build(build).expect("a build")
}

/// Returns tags 1005 and 1006, composed by hand from the protobuf encoding: key, length, text.
fn extension(version: &str, build: &str) -> Vec<u8> {
    let field = |key: [u8; 2], text: &str| {
        let length = u8::try_from(text.len()).expect("a test text is short");
        let length = if length < 128 { vec![length] } else { vec![length, 1] };
        [&key[..], &length, text.as_bytes()].concat()
    };
    [field([0xea, 0x3e], version), field([0xf2, 0x3e], build)].concat()
}

fn disagreements(expected: &DaemonProcess, found: &DaemonProcess) -> Vec<(CheckKind, String)> {
    let checks = compare(expected, found).into_iter().filter(|check| !check.agrees);
    checks.map(|check| (check.kind, check.to_string())).collect()
}

#[test]
fn version_and_build_follow_the_published_fields_which_stay_as_they_are() {
    let sent = with("1.4.2", "4f2a91c");
    let bytes = sent.encode();
    assert_eq!(bytes, [&daemon().encode()[..], &extension("1.4.2", "4f2a91c")].concat());
    assert_eq!(DaemonProcess::decode(&bytes).unwrap(), sent);
    assert_eq!((sent.version(), sent.build()), (Some("1.4.2"), Some("4f2a91c")));
    // A published peer skips the fields that it does not know.
    let published: protocol::DaemonProcess = prost::Message::decode(&bytes[..]).unwrap();
    assert_eq!(published, daemon().to_proto());
    assert_eq!(sent.to_proto(), daemon().to_proto());
}

#[test]
fn an_empty_version_is_none() {
    assert_eq!(with("", ""), daemon());
    assert_eq!((daemon().version(), daemon().build()), (None, None));
    let bytes = [daemon().encode(), vec![0xea, 0x3e, 0, 0xf2, 0x3e, 0]].concat();
    assert_eq!(DaemonProcess::decode(&bytes).unwrap(), daemon());
}

#[test]
fn what_is_too_long_or_not_to_be_printed_is_refused() {
    let longest = "é".repeat(MAX_VERSION_BYTES / 2);
    assert_eq!(with(&longest, &longest).version(), Some(&*longest));
    assert_eq!(DaemonProcess::decode(&with(&longest, "b").encode()).unwrap(), with(&longest, "b"));
    let too_long = "x".repeat(MAX_VERSION_BYTES + 1);
    for (text, fault) in [
        (&*too_long, "is 129 bytes, the limit is 128"),
        ("1.0\n", "is \"1.0\\n\", which has a control character"),
        ("\u{1b}[2J", "is \"\\u{1b}[2J\", which has a control character"),
    ] {
        let message = |field: &str| format!("identity field {field} {fault}");
        assert_eq!(daemon().with_version(text).unwrap_err().to_string(), message("version"));
        assert_eq!(daemon().with_build(text).unwrap_err().to_string(), message("build"));
        for (field, appended) in [("version", extension(text, "")), ("build", extension("", text))] {
            let bytes = [daemon().encode(), appended].concat();
            assert_eq!(chain(&DaemonProcess::decode(&bytes).unwrap_err()), message(field));
        }
    }
}

#[test]
fn versions_are_compared_where_the_record_tells_one() {
    let whole = with("1.4.2", "4f2a91c");
    let lines: Vec<_> = compare(&whole, &whole).iter().skip(5).map(ToString::to_string).collect();
    assert_eq!(lines, ["version is \"1.4.2\"", "build is \"4f2a91c\""]);
    // The identity file of an older daemon has neither, and matches any.
    assert_eq!(compare(&daemon(), &whole).len(), 5);
    assert_eq!(disagreements(&daemon(), &whole), []);
    assert_eq!(
        disagreements(&whole, &daemon()),
        [
            (CheckKind::Version, "version is \"\", expected \"1.4.2\"".to_owned()),
            (CheckKind::Build, "build is \"\", expected \"4f2a91c\"".to_owned()),
        ]
    );
    assert_eq!(
        disagreements(&whole, &with("1.4.3", "4f2a91c")),
        [(CheckKind::Version, "version is \"1.4.3\", expected \"1.4.2\"".to_owned())]
    );
    // The versions are compared as texts: this is another daemon.
    assert_eq!(disagreements(&with("1.0", ""), &with("1.0.0", "")).len(), 1);
}

#[cfg(feature = "host")]
#[test]
fn the_identity_file_has_version_and_build_where_there_are_any() {
    let document = serde_json::to_value(with("1.4.2", "4f2a91c")).unwrap();
    assert_eq!((&document["version"], &document["build"]), (&"1.4.2".into(), &"4f2a91c".into()));
    let read =
        |document| serde_json::from_value::<DaemonProcess>(document).map_err(|error| error.to_string());
    assert_eq!(read(document.clone()), Ok(with("1.4.2", "4f2a91c")));
    let plain = serde_json::to_value(daemon()).unwrap();
    assert_eq!((plain.get("version"), plain.get("build")), (None, None));

    let mut changed = document;
    changed["version"] = serde_json::Value::Null;
    changed["build"] = "".into();
    assert_eq!(read(changed.clone()), Ok(daemon()));
    changed["build"] = "\u{7}".into();
    assert_eq!(
        read(changed.clone()),
        Err("identity field build is \"\\u{7}\", which has a control character".to_owned())
    );
    changed["build"] = 7.into();
    assert!(read(changed).is_err_and(|error| error.starts_with("field `build`: ")));
}
