//! The origin of a daemon: on the wire, in the identity file, and compared.

use crate::common::{chain, daemon};
use running_process::broker::backend_lifecycle::identity::{DaemonProcess, Origin};
use running_process::broker::backend_lifecycle::judge::{CheckKind, compare};
use running_process::broker::protocol;

const INSTANCE: [u8; 16] =
    [0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78, 0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2, 0xe1, 0xf0];

fn origin() -> Origin {
    Origin {
        start_time: 300,
        instance_id: INSTANCE,
        pid_namespace: Some(0xf000_0001),
        inherited_listener: true,
    }
}

fn with(origin: Origin) -> DaemonProcess {
    let mut daemon = daemon();
    daemon.origin = Some(origin);
    daemon
}

/// Returns tags 1001 to 1004, composed by hand from the protobuf encoding: key, then value.
fn extension() -> Vec<u8> {
    let start_time = [0xc8, 0x3e, 0xac, 0x02];
    let instance_id = [&[0xd2, 0x3e, 16][..], &INSTANCE].concat();
    let pid_namespace = [0xd8, 0x3e, 0x81, 0x80, 0x80, 0x80, 0x0f];
    let inherited_listener = [0xe0, 0x3e, 1];
    [&start_time[..], &instance_id, &pid_namespace, &inherited_listener].concat()
}

fn decoded(appended: &[u8]) -> Result<Option<Origin>, String> {
    let bytes = [&daemon().encode()[..], appended].concat();
    DaemonProcess::decode(&bytes).map(|daemon| daemon.origin).map_err(|error| chain(&error))
}

#[test]
fn the_origin_follows_the_published_fields_which_stay_as_they_are() {
    let bytes = with(origin()).encode();
    assert_eq!(bytes, [&daemon().encode()[..], &extension()].concat());
    assert_eq!(DaemonProcess::decode(&bytes).unwrap(), with(origin()));
    // A published peer skips the fields that it does not know.
    let published: protocol::DaemonProcess = prost::Message::decode(&bytes[..]).unwrap();
    assert_eq!(published, daemon().to_proto());
    assert_eq!(with(origin()).to_proto(), daemon().to_proto());
}

#[test]
fn every_origin_survives_the_wire() {
    for start_time in [0, 1, u64::MAX] {
        for pid_namespace in [None, Some(0), Some(u64::MAX)] {
            for inherited_listener in [false, true] {
                let instance_id = [0; 16];
                let sent = with(Origin { start_time, instance_id, pid_namespace, inherited_listener });
                assert_eq!(DaemonProcess::decode(&sent.encode()).unwrap(), sent);
            }
        }
    }
}

#[test]
fn start_time_and_instance_make_an_origin_and_neither_does_alone() {
    let extension = extension();
    assert_eq!(decoded(&[]), Ok(None));
    assert_eq!(decoded(&extension[..4]), Ok(None));
    assert_eq!(decoded(&extension[4..]), Ok(None));
    let least = Origin { pid_namespace: None, inherited_listener: false, ..origin() };
    assert_eq!(decoded(&extension[..4 + 19]), Ok(Some(least)));
}

#[test]
fn an_instance_id_of_another_length_is_an_error() {
    for length in [1, 15, 17] {
        let key = [0xd2, 0x3e, u8::try_from(length).unwrap()];
        let message = format!("identity field instance_id is {length} bytes, an instance id is 16");
        for start_time in [&[][..], &extension()[..4]] {
            let appended = [start_time, &key, &vec![7; length]].concat();
            assert_eq!(decoded(&appended), Err(message.clone()));
        }
    }
}

#[test]
fn a_daemon_on_an_inherited_listener_says_so_if_it_has_an_origin() {
    let own = Origin { inherited_listener: false, ..origin() };
    assert_eq!(with(own).with_inherited_listener(), with(origin()));
    assert_eq!(daemon().with_inherited_listener(), daemon());
}

#[test]
fn runs_are_compared_where_the_record_tells_one() {
    let disagreements = |expected: &DaemonProcess, found: &DaemonProcess| -> Vec<_> {
        let checks = compare(expected, found).into_iter().filter(|check| !check.agrees);
        checks.map(|check| (check.kind, check.to_string())).collect()
    };
    // The times are in the system's unit, which other tests check.
    let started = |start_time| {
        let daemon = with(Origin { start_time, ..origin() });
        compare(&daemon, &daemon).remove(5).found
    };
    let lines: Vec<_> =
        compare(&with(origin()), &with(origin())).iter().skip(5).map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [&format!("start time is {}", started(300)), "instance is 0f1e2d3c4b5a69788796a5b4c3d2e1f0"]
    );
    // The identity file of an older daemon has no origin, and matches any.
    assert_eq!(compare(&daemon(), &with(origin())).len(), 5);
    assert_eq!(disagreements(&daemon(), &with(origin())), []);
    // A daemon whose identity file has an origin also answers with it.
    assert_eq!(
        disagreements(&with(origin()), &daemon()),
        [
            (CheckKind::StartTime, format!("start time is not told, expected {}", started(300))),
            (
                CheckKind::Instance,
                "instance is not told, expected 0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned()
            ),
        ]
    );

    let later = with(Origin { start_time: 301, ..origin() });
    assert_eq!(
        disagreements(&with(origin()), &later),
        [(CheckKind::StartTime, format!("start time is {}, expected {}", started(301), started(300)))]
    );
    let restarted = with(Origin { instance_id: [0; 16], ..origin() });
    let message = format!("instance is {}, expected 0f1e2d3c4b5a69788796a5b4c3d2e1f0", "0".repeat(32));
    assert_eq!(disagreements(&with(origin()), &restarted), [(CheckKind::Instance, message)]);
    // The pid namespace and the listener do not tell runs apart.
    let elsewhere = with(Origin { pid_namespace: None, inherited_listener: false, ..origin() });
    assert_eq!(disagreements(&with(origin()), &elsewhere), []);
}

#[cfg(feature = "host")]
mod file {
    use super::*;
    use serde_json::{Value, json};

    fn read(change: impl FnOnce(&mut Value)) -> Result<Option<Origin>, String> {
        let mut document = serde_json::to_value(with(origin())).expect("JSON");
        change(&mut document);
        let daemon = serde_json::from_value::<DaemonProcess>(document);
        daemon.map(|daemon| daemon.origin).map_err(|error| error.to_string())
    }

    fn without(fields: &[&str]) -> impl FnOnce(&mut Value) {
        move |document| {
            for field in fields {
                document.as_object_mut().and_then(|fields| fields.remove(*field)).expect("it is there");
            }
        }
    }

    #[test]
    fn the_file_has_the_origin_among_its_fields() {
        let mut document = serde_json::to_value(daemon()).unwrap();
        let fields = json!({
            "kernel_start_time": 300,
            "instance_id": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
            "pid_namespace": 0xf000_0001_u64,
            "inherited_listener": true,
        });
        document.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(serde_json::to_value(with(origin())).unwrap(), document);
        assert_eq!(read(|_| ()), Ok(Some(origin())));
        let text = serde_json::to_string_pretty(&with(origin())).unwrap();
        assert_eq!(serde_json::from_str::<DaemonProcess>(&text).unwrap(), with(origin()));
    }

    #[test]
    fn a_file_may_lack_it_or_parts_of_it() {
        assert_eq!(read(without(&["kernel_start_time"])), Ok(None));
        assert_eq!(read(without(&["instance_id"])), Ok(None));
        let least = Origin { pid_namespace: None, inherited_listener: false, ..origin() };
        assert_eq!(read(without(&["pid_namespace", "inherited_listener"])), Ok(Some(least.clone())));
        let written = serde_json::to_value(with(least)).unwrap();
        assert_eq!(written.get("pid_namespace"), None);
        assert_eq!(written["inherited_listener"], false);
    }

    #[test]
    fn every_origin_survives_the_file() {
        for (start_time, pid_namespace) in [(0, None), (u64::MAX, Some(u64::MAX))] {
            let instance_id = [0; 16];
            let sent = with(Origin { start_time, instance_id, pid_namespace, inherited_listener: false });
            let text = serde_json::to_string(&sent).unwrap();
            assert_eq!(serde_json::from_str::<DaemonProcess>(&text).unwrap(), sent);
        }
    }

    #[test]
    fn an_instance_id_that_is_not_32_hexadecimal_digits_is_an_error() {
        let upper = read(|document| document["instance_id"] = "0F1E2D3C4B5A69788796A5B4C3D2E1F0".into());
        assert_eq!(upper, Ok(Some(origin())));
        let garbled = [
            "",
            "0",
            &"0".repeat(31),
            &"0".repeat(33),
            &"g".repeat(32),
            &format!("+{}", "0".repeat(31)),
            &"é".repeat(16),
        ];
        for found in garbled {
            let error = read(|document| document["instance_id"] = found.into()).unwrap_err();
            let expected =
                format!("identity field instance_id is {found:?}, an instance id is 32 hexadecimal digits");
            assert_eq!(error, expected);
            let alone = read(|document| {
                document["instance_id"] = found.into();
                without(&["kernel_start_time"])(document);
            });
            assert_eq!(alone, Err(expected));
        }
        for field in ["kernel_start_time", "pid_namespace", "inherited_listener", "instance_id"] {
            assert!(read(|document| document[field] = json!(-1)).is_err(), "{field}");
        }
    }

    #[test]
    fn an_origin_alone_is_the_same_fields() {
        let alone = serde_json::to_value(origin()).unwrap();
        assert_eq!(alone["instance_id"], "0f1e2d3c4b5a69788796a5b4c3d2e1f0");
        assert_eq!(serde_json::from_value::<Origin>(alone).unwrap(), origin());
        let error = serde_json::from_value::<Origin>(json!({ "kernel_start_time": 1 })).unwrap_err();
        assert_eq!(error.to_string(), "identity has no instance_id");
        let error = serde_json::from_value::<Origin>(json!({ "instance_id": "0".repeat(32) })).unwrap_err();
        assert_eq!(error.to_string(), "identity has no kernel_start_time");
    }
}
