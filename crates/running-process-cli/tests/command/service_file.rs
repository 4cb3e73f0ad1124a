//! Files of services that cannot be used, and arguments that do not go together.
#![cfg(unix)]

use crate::common::service::Services;
use crate::common::{finish, run, text};
use std::process::Command;

#[test]
fn every_command_tells_the_place_of_what_is_wrong_in_a_file() {
    let services = Services::new();
    for (line, words) in [
        ("comand = ['x']", "wrong.toml:2:1: unknown key \"comand\", the nearest known one is `command`"),
        ("command = 'x'", "wrong.toml:2:11: `command` is a text, not a list of texts"),
        ("command = ['x'", "wrong.toml:2:15: "),
        ("version = '1'", "wrong.toml: `command` is missing"),
        ("command = ['~/x']", "wrong.toml:2:12: `command[0]` \"~/x\" is a relative path"),
        ("log_limit = '10 MB'", "wrong.toml:2:13: `log_limit` \"10 MB\" is no size"),
        ("idle_timeout = 'soon'", "wrong.toml:2:16: `idle_timeout` is no duration"),
        ("directory = '.'", "wrong.toml:2:13: `directory` \".\" is a relative path"),
    ] {
        let file = services.file("wrong", line);
        for command in ["start", "stop", "restart", "status"] {
            services.run(&[command, "--file", &file]).fails_with(2, &[words, "\nhint: "]);
        }
        services.run(&["serve", "--service", &file]).fails_with(2, &[words, "\nhint: "]);
        let error = services.json(2, &["start", "--file", &file]);
        assert_eq!(error["kind"], "service_file_invalid");
        assert!(error["error"].as_str().is_some_and(|error| error.contains(words)), "{error}");
    }
    assert!(!services.root().exists(), "nothing was created");
}

#[test]
fn a_file_that_is_no_text_of_a_bounded_size_is_refused() {
    let services = Services::new();
    let status = |path: &str| services.run(&["status", "--file", path]);
    let large = services.file("large", &"#".repeat(64 * 1024));
    status(&large).fails_with(2, &["large.toml is larger than 65536 bytes", "hint:"]);
    let latin = services.path("latin.toml");
    std::fs::write(&latin, b"name = 'cache'\n# gr\xfc\xdfe\n").expect("a file can be written");
    status(text(&latin)).fails_with(2, &["latin.toml:2:5: the text is not UTF-8", "hint:"]);
    let fifo = services.path("fifo");
    assert_eq!(finish(Command::new("mkfifo").arg(&fifo)).status, 0);
    status(text(&fifo)).fails_with(2, &["fifo is not a regular file", "hint:"]);
    status("/dev/zero").fails_with(2, &["/dev/zero is not a regular file"]);
    status(text(&services.path("."))).fails_with(2, &["is not a regular file"]);
    let missing = services.path("missing.toml");
    status(text(&missing)).fails_with(2, &["missing.toml cannot be read", "No such file", "docs/service.md"]);
}

#[test]
fn serve_has_a_service_or_an_endpoint() {
    for (arguments, words) in [
        (&["serve"][..], "<--socket <PATH>|--service <FILE>>"),
        (&["serve", "--socket", "s"], "--identity <FILE>"),
        (&["serve", "--identity", "i"], "--socket <PATH>"),
        (&["serve", "--service", "f", "--socket", "s", "--identity", "i"], "cannot be used with"),
        (&["serve", "--service", "f", "--identity", "i"], "cannot be used with"),
    ] {
        run(arguments).fails_with(2, &[words, "Usage: running-process serve"]);
    }
    for command in ["start", "stop", "restart", "status"] {
        run(&[command]).fails_with(2, &["--file <FILE>"]);
    }
}

#[test]
fn help_and_manual_have_an_example() {
    let directory = tempfile::tempdir().expect("a directory can be created");
    assert_eq!(run(&["man", text(directory.path())]).status, 0);
    for command in ["start", "stop", "restart", "status", "serve"] {
        let option = if command == "serve" { "--service" } else { "--file" };
        let example = format!("  running-process {command} {option} cache.toml\n");
        let help = run(&[command, "--help"]);
        assert!(help.text().starts_with("Example"), "{help:?}");
        assert!(help.text().contains(&example), "{help:?}");
        let page = directory.path().join(format!("running-process-{command}.1"));
        let page = std::fs::read_to_string(page).expect("a page for each command").replace('\\', "");
        assert!(page.contains(example.trim()), "{page}");
    }
}
