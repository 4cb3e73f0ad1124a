//! `install`: the units of systemd.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::finish;
use crate::common::service::Services;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

fn units(services: &Services) -> PathBuf {
    services.path("configuration/systemd/user")
}

#[test]
fn units_are_written_once_and_removed_and_the_service_knows() {
    let services = Services::new();
    services.configure_cache("cache", "");
    let written = services.run(&["install", "cache"]);
    let [socket, service] =
        ["socket", "service"].map(|kind| units(&services).join(format!("running-process-cache.{kind}")));
    let expected = format!(
        "wrote: {}\nwrote: {}\nto enable it:\n  systemctl --user daemon-reload\n  \
         systemctl --user enable --now running-process-cache.socket\n",
        socket.display(),
        service.display()
    );
    assert!(written.status == 0 && written.text().starts_with(&expected), "{written:?}");
    let text = fs::read_to_string(&socket).unwrap();
    let listens = format!("\nListenStream={}\n", services.root().join("cache/socket").display());
    assert!(text.contains(&listens) && text.contains("\nSocketMode=0600\n"), "{text}");
    let status = services.json(1, &["status", "cache"]);
    assert_eq!(status["activation"], "running-process-cache.socket");
    assert!(services.run(&["install", "cache"]).text().starts_with("unchanged: "));

    let pid = services.json(0, &["start", "cache"])["pid"].clone();
    assert!(services.run(&["install", "cache"]).text().contains("\n  running-process stop cache\n"));
    let stopped = services.run(&["stop", "cache"]);
    let told = "systemd (running-process-cache.socket) is installed and does not listen: clients start it; to enable it: \
                systemctl --user enable --now running-process-cache.socket\n";
    assert!(stopped.text().starts_with(&format!("stopped: process {pid} ")), "{stopped:?}");
    assert!(stopped.text().ends_with(told), "{stopped:?}");
    // As the service manager does once the unit is enabled.
    let listener = UnixListener::bind(services.root().join("cache/socket")).unwrap();
    let told = "systemd (running-process-cache.socket) starts it again with the next connection; to prevent that: \
                systemctl --user stop running-process-cache.socket\n";
    let stopped = services.run(&["stop", "cache"]);
    assert!(stopped.text().ends_with(told), "{stopped:?}");
    drop(listener);

    fs::create_dir(units(&services).join("sockets.target.wants")).unwrap();
    let link = units(&services).join("sockets.target.wants/running-process-cache.socket");
    symlink(&socket, &link).unwrap();
    assert_eq!(services.json(0, &["install", "cache", "--remove"])["outcome"], "removed");
    assert!(!socket.exists() && !service.exists() && link.symlink_metadata().is_err());
    assert_eq!(services.json(1, &["status", "cache"])["activation"], serde_json::Value::Null);
    assert_eq!(services.json(0, &["install", "cache", "--remove"])["outcome"], "not_installed");
}

#[test]
fn print_writes_nothing() {
    let services = Services::new();
    services.configure_cache("cache", "");
    let printed = services.run(&["install", "cache", "--print"]);
    assert!(printed.status == 0 && printed.text().contains("\n[Socket]\nListenStream="), "{printed:?}");
    assert!(!units(&services).exists() && !services.root().exists());
}

#[test]
fn a_unit_of_another_author_is_left_alone() {
    let services = Services::new();
    services.configure_cache("cache", "");
    fs::create_dir_all(units(&services)).unwrap();
    let service = units(&services).join("running-process-cache.service");
    fs::write(&service, "[Service]\nExecStart=/bin/true\n").unwrap();
    for arguments in [&["install", "cache"][..], &["install", "cache", "--remove"]] {
        services.run(arguments).fails_with(1, &["was not written by this command", "move that file away"]);
    }
    assert_eq!(fs::read_to_string(service).unwrap(), "[Service]\nExecStart=/bin/true\n");
    assert!(!units(&services).join("running-process-cache.socket").exists());
    assert!(!services.root().join("cache/activation").exists());
}

#[test]
fn a_dangling_link_in_the_place_of_a_unit_is_not_followed() {
    let services = Services::new();
    services.configure_cache("cache", "");
    fs::create_dir_all(units(&services)).unwrap();
    symlink("/nowhere/else", units(&services).join("running-process-cache.socket")).unwrap();
    services.run(&["install", "cache"]).fails_with(1, &["was not written by this command"]);
}

#[test]
fn systemd_takes_units_with_awkward_names_paths_and_values() {
    let version = Command::new("systemd-analyze").arg("--version").output();
    if !version.is_ok_and(|tool| tool.status.success()) {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    }
    let services = Services::new();
    let label = "my 50% é$X 'cache'";
    let program = services.path("bin/my 50% é$X program");
    fs::create_dir(services.path("bin")).unwrap();
    fs::copy("/bin/true", &program).unwrap();
    let directory = services.path("work 50% $Y");
    fs::create_dir(&directory).unwrap();
    let content = format!(
        "name = 'cache'\ncommand = ['{}', 'a \"b\" %h $HOME \\ ', '']\ndirectory = '{}'\n[environment]\n\
         A = 'x \"y\" %h $HOME ${{B}} \\ é'\nB = \"\\n line\\n\"\n",
        program.display(),
        directory.display()
    );
    services.configure(label, &content);
    let installed = services.json(0, &["install", label]);
    let run = services.path("run");
    fs::create_dir(&run).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "verify"]).env("XDG_RUNTIME_DIR", &run).env("HOME", services.path("home"));
    for file in installed["files"].as_array().unwrap() {
        verify.arg(file["path"].as_str().unwrap());
    }
    let verified = finish(&mut verify);
    assert_eq!((verified.status, &*verified.stderr), (0, ""), "{:#}", installed["files"]);
}

#[test]
fn what_systemd_refuses_is_told_and_nothing_is_written() {
    let services = Services::new();
    fs::create_dir(services.path("bin")).unwrap();
    let program = services.path("bin/a\"b");
    fs::copy("/bin/true", &program).unwrap();
    services.configure("quote", &format!("name = 'quote'\ncommand = ['{}']\n", program.display()));
    services.run(&["install", "quote"]).fails_with(2, &["has a quote", "another path or value"]);
    services.configure("name", "name = 'name'\ncommand = ['true']\n[environment]\n'1A' = 'x'\n");
    services.run(&["install", "name"]).fails_with(2, &["is no name of a variable for systemd"]);
    assert!(!units(&services).exists());
}
