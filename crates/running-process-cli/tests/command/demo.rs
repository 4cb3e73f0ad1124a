//! The demo.
#![cfg(unix)]

use crate::common::{run, text};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::read_daemon_identity_file;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn the_demo_shows_each_kind_of_traffic_and_removes_its_files() {
    let demo = run(&["demo"]);
    assert_eq!(demo.status, 0, "{demo:?}");
    for step in [
        "1. The daemon's own wire",
        "2. An identity probe",
        "3. A framed request",
        "4. All three again, one byte at a time",
        "5. An impostor",
        "proven: held through the kernel",
        "its answer alone would prove it",
        "refused   listener",
        "refused before a byte was sent",
        "removed its socket and identity file",
    ] {
        assert!(demo.text().contains(step), "{step}");
    }
    assert_eq!(demo.text().matches("same answer").count(), 3);
    let identity_file =
        demo.text().lines().find_map(|line| line.trim().strip_prefix("identity file")).unwrap().trim();
    assert!(!Path::new(identity_file).parent().unwrap().exists(), "the private directory is removed");
}

#[test]
fn every_step_has_a_json_object() {
    let steps = run(&["demo", "--json"]).objects();
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["start", "legacy", "probe", "proof", "framed", "legacy", "probe", "framed", "impostor", "stop"]
    );
    for step in &steps[5..8] {
        assert_eq!(step["one_byte_at_a_time"], true);
        assert_eq!(step["writes"], step["sent"].as_array().unwrap().len());
    }
}

#[test]
fn a_kept_daemon_outlives_the_demo_and_answers() {
    let demo = run(&["demo", "--keep", "--json"]);
    let steps = demo.objects();
    let identity_file = steps[0]["identity_file"].as_str().unwrap();
    assert_eq!(steps.last().unwrap()["step"], "keep");
    let identity = read_daemon_identity_file(Path::new(identity_file)).expect("the daemon has written it");
    assert_eq!(run(&["probe", identity_file]).status, 0);
    let call = run(&["call", identity_file, "--protocol", "0xF0CA", "GET greeting"]);
    assert_eq!(call.stdout, b"$5\r\nhello\r\n");

    let handle = BackendHandle::probe(&identity.ipc_endpoint, &identity).expect("the daemon answers");
    let directory = Path::new(identity_file).parent().unwrap();
    let commands = steps.last().unwrap()["commands"].as_array().unwrap();
    let [.., end, removal] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(end, &format!("kill {}", identity.pid));
    handle.shutdown(Duration::from_secs(10)).unwrap();
    assert!(!directory.join("cache.sock").exists());
    assert!(text(directory).contains("running-process-demo-"));
    let removed = Command::new("sh").args(["-c", removal.as_str().unwrap()]).status().unwrap();
    assert!(removed.success() && !directory.exists());
}
