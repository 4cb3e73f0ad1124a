//! The checked-in protobuf code is what its source generates.

#[test]
fn the_checked_in_code_is_current() {
    let checked_in = std::fs::read_to_string(running_process_protobuf::checked_in()).unwrap();
    let generated = running_process_protobuf::generate().unwrap();
    assert!(
        checked_in == generated,
        "generated.rs is out of date: run `cargo run -p running-process-protobuf`"
    );
}
