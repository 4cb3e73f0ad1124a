//! Commands of several versions with one service.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::service::{Services, pid};
use crate::common::{collect, run};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

/// Returns the file of the service "cache" of `version`, whose daemon is `serve` of the program.
fn file(services: &Services, version: &str, program: &str) -> String {
    let directory = services.path(&format!("{version}.d"));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("cache.toml");
    let release = if version.is_empty() { String::new() } else { format!("version = '{version}'") };
    let command = format!("command = ['{program}', 'serve', '--service', '{}']", file.display());
    fs::write(&file, format!("name = 'cache'\n{release}\nbuild = '4f2a91c'\n{command}\n")).unwrap();
    // The services are stopped by the files in their directory.
    services.cache("cache", "");
    file.to_str().unwrap().to_owned()
}

fn own(services: &Services, version: &str) -> String {
    file(services, version, env!("CARGO_BIN_EXE_running-process"))
}

fn start(services: &Services, file: &str) -> Value {
    services.json(0, &["start", "--file", file])
}

#[test]
fn the_newer_one_of_two_versions_serves_both_and_each_command_tells_it() {
    let services = Services::new();
    let (old, new) = (own(&services, "1.9.0"), own(&services, "1.10.0"));
    let first = start(&services, &old);
    assert_eq!((&first["version"], &first["build"]), (&json!("1.9.0"), &json!("4f2a91c")));
    assert_eq!(first["decision"]["choice"], "keep");

    let before = services.json(0, &["status", "--file", &new]);
    assert_eq!((&before["version"], &before["pid"]), (&json!("1.9.0"), &first["pid"]));
    let sentence = "the daemon of version 1.9.0 (build 4f2a91c) is replaced: it is older than version 1.10.0 (build 4f2a91c), \
                    which this client wants";
    assert_eq!(before["decision"], json!({ "choice": "replace", "message": sentence }));
    let shown = services.run(&["status", "--file", &new]);
    assert!(shown.text().contains("\n  version        1.9.0 (build 4f2a91c)\n"), "{shown:?}");
    let outlook = "\n  next start     replaces it: version 1.9.0 (build 4f2a91c) is older than version 1.10.0 (build 4f2a91c), which \
                   the file wants\n";
    assert!(shown.text().contains(outlook), "{shown:?}");
    let restart = format!("\n    running-process restart --file {new}\n");
    assert!(shown.text().contains(&restart), "{shown:?}");

    let second = start(&services, &new);
    assert_eq!((&second["started"], &second["version"]), (&json!(true), &json!("1.10.0")));
    assert_eq!(second["replaced"], before["decision"]);
    assert_eq!(second["decision"]["choice"], "keep");
    assert_ne!(second["pid"], first["pid"]);
    let kept = services.run(&["start", "--file", &old]);
    let line =
        format!("runs already: process {} of version 1.10.0 (build 4f2a91c) serves cache at ", pid(&second));
    assert!(kept.status == 0 && kept.text().starts_with(&line), "{kept:?}");
    let kept_line = "\n  the daemon of version 1.10.0 (build 4f2a91c) is kept: it is newer than version 1.9.0 (build 4f2a91c), which \
                     this client wants\n";
    assert!(kept.text().contains(kept_line), "{kept:?}");

    let identity = services.root().join("cache/identity.json");
    let identity = identity.to_str().unwrap();
    let probed = services.json(0, &["probe", identity]);
    assert_eq!(
        (&probed["identity"]["version"], &probed["identity"]["build"]),
        (&json!("1.10.0"), &json!("4f2a91c"))
    );
    let probed = run(&["probe", identity]);
    assert!(
        probed.text().lines().next().unwrap().ends_with(", version 1.10.0 (build 4f2a91c)"),
        "{probed:?}"
    );
    let top = services.json(0, &["top", identity, "--once"]);
    assert_eq!((&top["version"], &top["build"]), (&json!("1.10.0"), &json!("4f2a91c")));
}

#[test]
fn a_daemon_without_a_version_is_replaced_and_its_client_replaces_nobody() {
    let services = Services::new();
    let (plain, new) = (own(&services, ""), own(&services, "1.0.0"));
    let first = start(&services, &plain);
    assert_eq!(first["version"], Value::Null);
    let shown = services.run(&["start", "--file", &new]);
    assert!(shown.status == 0 && shown.text().starts_with("replaced: process "), "{shown:?}");
    assert!(
        shown.text().contains("\n  the daemon of an unknown version (build 4f2a91c) is replaced: "),
        "{shown:?}"
    );
    let second = start(&services, &new);
    assert_ne!(second["pid"], first["pid"]);
    assert_eq!((&second["started"], &second["replaced"]), (&json!(false), &Value::Null));
    assert_eq!(start(&services, &plain)["pid"], second["pid"]);
    // Its file tells no version, so what is kept is told to nobody.
    let shown = services.run(&["start", "--file", &plain]);
    assert!(!shown.text().contains("is kept"), "{shown:?}");
}

#[test]
fn a_copy_in_another_place_displaces_no_daemon() {
    let services = Services::new();
    let copy = services.path("copy");
    fs::copy(env!("CARGO_BIN_EXE_running-process"), &copy).unwrap();
    let (installed, copied) = (own(&services, "1.0.0"), file(&services, "2.0.0", copy.to_str().unwrap()));
    let first = start(&services, &installed);
    let kept = start(&services, &copied);
    assert_eq!((&kept["pid"], &kept["decision"]["choice"]), (&first["pid"], &json!("keep")));
    let message = kept["decision"]["message"].as_str().unwrap();
    let place = format!("its program is {copy:?}, and the daemon was started from ");
    assert!(message.contains(&place) && message.contains(env!("CARGO_BIN_EXE_running-process")), "{message}");
}

#[test]
fn a_link_to_a_directory_for_each_version_is_one_program() {
    let services = Services::new();
    let link = services.path("current");
    for version in ["1.0.0", "2.0.0"] {
        let directory = services.path(&format!("program-{version}"));
        fs::create_dir(&directory).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_running-process"), directory.join("cached")).unwrap();
    }
    let point = |version: &str| {
        let _absent_at_first = fs::remove_file(&link);
        std::os::unix::fs::symlink(services.path(&format!("program-{version}")), &link).unwrap();
    };
    let program = link.join("cached");
    let of = |version: &str| file(&services, version, program.to_str().unwrap());
    point("1.0.0");
    let first = start(&services, &of("1.0.0"));
    point("2.0.0");
    let second = start(&services, &of("2.0.0"));
    assert_ne!(second["pid"], first["pid"]);
    assert_eq!(second["version"], "2.0.0");
    let identity = fs::read_to_string(services.root().join("cache/identity.json")).unwrap();
    let identity: Value = serde_json::from_str(&identity).unwrap();
    let image = Path::new(identity["exe_path"].as_str().unwrap());
    assert!(image.ends_with("program-2.0.0/cached"), "{}", image.display());
}

#[test]
fn a_program_that_is_not_of_the_wanted_version_is_started_once() {
    let services = Services::new();
    let old = own(&services, "1.0.0");
    // It wants 2.0.0, and starts the daemon with the file of 1.0.0.
    let new = own(&services, "2.0.0");
    let text = fs::read_to_string(&new).unwrap().replace(&new, &old);
    fs::write(&new, text).unwrap();
    let first = start(&services, &old);
    let second = start(&services, &new);
    assert_ne!(second["pid"], first["pid"]);
    assert_eq!(second["version"], "1.0.0");
    for _ in 0..5 {
        let kept = start(&services, &new);
        assert_eq!(kept["pid"], second["pid"]);
        let message = kept["decision"]["message"].as_str().unwrap();
        assert!(
            message
                .ends_with("but its program is of version 1.0.0 (build 4f2a91c) and has not changed since"),
            "{message}"
        );
    }
}

#[test]
fn failed_replacements_are_bounded_and_the_daemon_serves_on() {
    let services = Services::new();
    let old = own(&services, "1.0.0");
    let first = start(&services, &old);
    let new = own(&services, "2.0.0");
    let text = fs::read_to_string(&new).unwrap().replace("'--service'", "'--no-such-option'");
    fs::write(&new, text).unwrap();
    for _ in 0..3 {
        let failed = services.run(&["start", "--file", &new]);
        failed.fails_with(
            1,
            &[
                "the daemon of version 1.0.0 (build 4f2a91c) was not replaced by version 2.0.0",
                "--no-such-option",
            ],
        );
    }
    let refused = services.json(1, &["start", "--file", &new]);
    assert_eq!(refused["kind"], "replacement_refused");
    let cause = refused["causes"][0].as_str().unwrap();
    assert!(
        cause.starts_with(
            "the daemon of version 1.0.0 (build 4f2a91c) is not replaced by version 2.0.0 (build 4f2a91c), which this client wants: 3 \
             replacements within 600s are the limit, and the last one, of version 1.0.0 (build 4f2a91c), failed; "
        ),
        "{cause}"
    );
    assert!(refused["until_unix_ms"].is_u64(), "{refused}");
    assert_eq!(services.json(0, &["status", "--file", &new])["decision"]["choice"], "refuse");
    assert_eq!(start(&services, &old)["pid"], first["pid"]);
}

/// Writes a script as a program.
fn script(path: &Path, content: &str) {
    fs::write(path, format!("#!/bin/sh\n{content}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_client_that_waits_for_the_replacement_by_another_one_has_a_time_limit() {
    let services = Services::new();
    let (program, runs, go) = (services.path("cached"), services.path("runs"), services.path("go"));
    script(&program, &format!("exec '{}' \"$@\"", env!("CARGO_BIN_EXE_running-process")));
    let [old, new] = ["1.0.0", "2.0.0"].map(|version| file(&services, version, program.to_str().unwrap()));
    let first = start(&services, &old);
    // The successor waits, and fails then.
    let waits =
        format!(": > '{}'\nuntil [ -e '{}' ]; do sleep 0.02; done\nexit 7", runs.display(), go.display());
    script(&program, &waits);
    let mut command = services.command(&["start", "--json", "--file", &new]);
    let replaces = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !runs.exists() {
        assert_eq!(start(&services, &old)["pid"], first["pid"]);
    }

    let late = services.run(&["start", "--file", &new, "--deadline", "300ms"]);
    late.fails_with(
        2,
        &["the daemon did not serve in time: it is live (", " replaces it)\n", "hint: wait longer"],
    );
    assert_eq!(start(&services, &old)["pid"], first["pid"]);
    fs::write(&go, "").unwrap();
    let failed = collect(replaces);
    assert!(failed.status == 1 && failed.stderr.contains("\"exit_status\":7"), "{failed:?}");
    assert_eq!(start(&services, &old)["pid"], first["pid"]);
}
