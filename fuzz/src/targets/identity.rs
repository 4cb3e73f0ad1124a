use crate::script::Script;
use prost::Message;
use running_process::DaemonProcess;
use running_process::broker::protocol;

/// An identity of any bytes in protobuf is the same after it was written and read again, in protobuf and as JSON, and exactly
/// those of prost's decoder are read that have all fields.
pub(crate) fn message(input: &[u8]) {
    let mut script = Script::new(input);
    let built;
    let bytes = if script.byte().is_multiple_of(4) {
        script.rest()
    } else {
        // Bytes that have the lengths of digests right.
        let algorithm = if script.flag() { "blake3" } else { script.text() };
        let message = protocol::DaemonProcess {
            pid: script.u32(),
            exe_path: script.text().into(),
            exe_sha256: digest(&mut script),
            ipc_endpoint: script.flag().then(|| protocol::Endpoint {
                namespace_id: script.text().into(),
                path: script.text().into(),
            }),
            started_at_unix_ms: script.u64(),
            boot_id: script.text().into(),
            idle_timeout_secs: script.flag().then(|| script.u32()),
            exe_hash_algorithm: algorithm.into(),
            exe_hash: digest(&mut script),
        };
        built = [&message.encode_to_vec(), script.rest()].concat();
        &built
    };
    if let Ok(identity) = DaemonProcess::decode(bytes) {
        assert!(
            DaemonProcess::try_from(protocol::DaemonProcess::decode(bytes).expect("it was decoded")).is_ok()
        );
        is_read_again(&identity);
    }
}

/// An identity file of any JSON is the same after it was written and read again, as JSON and in protobuf.
pub(crate) fn file(json: &[u8]) {
    if let Ok(identity) = serde_json::from_slice::<DaemonProcess>(json) {
        is_read_again(&identity);
    }
}

fn is_read_again(identity: &DaemonProcess) {
    assert_eq!(DaemonProcess::decode(&identity.encode()).ok().as_ref(), Some(identity));
    let json = serde_json::to_vec(identity).expect("every field has a value in JSON");
    assert_eq!(serde_json::from_slice::<DaemonProcess>(&json).ok().as_ref(), Some(identity));
}

fn digest(script: &mut Script<'_>) -> Vec<u8> {
    match script.byte() % 4 {
        0 => Vec::new(),
        1 => script.bytes().to_vec(),
        _ => vec![script.byte(); 32],
    }
}
