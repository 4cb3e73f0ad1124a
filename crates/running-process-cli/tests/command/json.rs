//! The output of `--json` against docs/json.schema.json.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::service::Services;
use crate::common::{Daemon, collect, command, finish, kill, run, run_with_input, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

fn schema() -> Value {
    let text = include_str!("../../docs/json.schema.json");
    serde_json::from_str(text).unwrap()
}

/// Returns the first violation of `schema` by `value`. Panics on a part of JSON Schema that it does not know.
fn violation(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    let rules = schema.as_object().unwrap();
    rules.iter().find_map(|(rule, argument)| match rule.as_str() {
        "description" | "$schema" | "title" | "$defs" => None,
        "$ref" => {
            let name = argument.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
            violation(root, &root["$defs"][name], value)
        }
        "anyOf" => {
            let all: Option<Vec<String>> =
                argument.as_array().unwrap().iter().map(|schema| violation(root, schema, value)).collect();
            all.map(|all| format!("{value} is none of: {}", all.join("; ")))
        }
        "oneOf" => {
            let fit =
                argument.as_array().unwrap().iter().filter(|schema| violation(root, schema, value).is_none());
            let fit = fit.count();
            (fit != 1).then(|| format!("{value} is {fit} of those that it may be"))
        }
        "const" => (value != argument).then(|| format!("{value} is not {argument}")),
        "enum" => {
            (!argument.as_array().unwrap().contains(value)).then(|| format!("{value} is not in {argument}"))
        }
        "type" => {
            let is_right = match argument.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                "integer" => value.is_u64() || value.is_i64(),
                "number" => value.is_number(),
                other => panic!("type {other}"),
            };
            (!is_right).then(|| format!("{value} is no {argument}"))
        }
        "minimum" => {
            (value.as_f64()? < argument.as_f64().unwrap()).then(|| format!("{value} is below {argument}"))
        }
        "maximum" => {
            (value.as_f64()? > argument.as_f64().unwrap()).then(|| format!("{value} is above {argument}"))
        }
        "items" => value.as_array()?.iter().find_map(|item| violation(root, argument, item)),
        "required" => {
            let missing =
                argument.as_array().unwrap().iter().find(|name| value.get(name.as_str().unwrap()).is_none());
            missing.map(|name| format!("{name} is missing in {value}"))
        }
        "properties" => value.as_object()?.iter().find_map(|(name, value)| {
            violation(root, argument.get(name)?, value).map(|violation| format!("{name}: {violation}"))
        }),
        "additionalProperties" => {
            assert_eq!(argument, false);
            let unknown = value.as_object()?.keys().find(|name| schema["properties"].get(name).is_none());
            unknown.map(|name| format!("{name} is not documented"))
        }
        other => panic!("rule {other}"),
    })
}

/// Checks objects against the schema and collects the parts that it has seen.
struct Checked {
    schema: Value,
    seen: BTreeSet<String>,
}

impl Checked {
    #[track_caller]
    fn check(&mut self, part: &str, object: &Value) {
        let definition = &self.schema["$defs"][part];
        assert_eq!(violation(&self.schema, definition, object), None, "{part}: {object:#}");
        assert_eq!(violation(&self.schema, &self.schema, object), None, "one of all: {object:#}");
        self.seen.insert(part.to_owned());
    }

    /// Checks the lines of a text against these parts in order.
    #[track_caller]
    fn lines(&mut self, parts: &[&str], text: &str) {
        let objects: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        assert_eq!(objects.len(), parts.len(), "{text}");
        parts.iter().zip(&objects).for_each(|(part, object)| self.check(part, object));
    }

    /// Runs a command that prints these parts and no error.
    #[track_caller]
    fn run(&mut self, status: i32, parts: &[&str], arguments: &[&str]) {
        let finished = run(&[arguments, &["--json"]].concat());
        assert_eq!((finished.status, &*finished.stderr), (status, ""), "{arguments:?}");
        self.lines(parts, finished.text());
    }

    /// Runs a command that fails; returns the error's name.
    #[track_caller]
    fn error(&mut self, status: i32, arguments: &[&str]) -> String {
        let finished = run(&[&["--json"], arguments].concat());
        assert_eq!((finished.status, finished.text()), (status, ""), "{arguments:?}: {}", finished.stderr);
        self.lines(&["error"], &finished.stderr);
        let error: Value = serde_json::from_str(&finished.stderr).unwrap();
        assert_eq!(error["status"], status);
        error["kind"].as_str().unwrap().to_owned()
    }
}

/// Checks what the judge of daemons prints: cases that pass, fail, are known to fail, and are skipped; and that of clients.
fn conform(checked: &mut Checked, socket: &str) {
    let list = run(&["conform", "--list", "--json"]);
    checked.lines(&vec!["conform_listed"; list.objects().len()], list.text());
    let probe = ["conform", "--socket", socket, "--only", "probe-answered", "--only"];
    let parts = ["conform_case", "conform_case", "conform_end"];
    checked.run(0, &parts, &[&probe[..], &["probe-then-request"]].concat());
    let failing = [&probe[..], &["framing-one-write", "--protocol", "0xF0CA"]].concat();
    checked.run(1, &parts, &failing);
    let expected = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&expected, "framing-one-write = 'not its protocol'\nprobe-answered = 'a slip'").unwrap();
    checked.run(0, &parts, &[&failing[..], &["--expect", text(expected.path())]].concat());
    let list = run(&["conform", "--client", "--list", "--json"]);
    checked.lines(&vec!["conform_listed"; list.objects().len()], list.text());
    let client = ["--only", "answer-whole", "--only", "answer-empty", "--", "false"];
    let judged = run(&[&["conform", "--client", "--json"], &client[..]].concat());
    checked.lines(&parts, judged.text());
}

/// Checks what a front prints, and a probe of it. The daemon behind it is `serve`.
fn front(checked: &mut Checked) {
    let services = Services::new();
    let program = env!("CARGO_BIN_EXE_running-process");
    let (socket, own) = (services.path("behind"), services.path("own.json"));
    let command = [program, "serve", "--socket", text(&socket), "--identity", text(&own)];
    let content = format!("[front]\ncommand = {command:?}\nconnect = 'unix:{}'", socket.display());
    let file = services.file("fronted", &content);
    let mut front = services.command(&["front", "--json", "--service", &file]);
    let front = front.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while services.run(&["status", "--file", &file]).status != 0 {}
    let identity_file = services.root().join("fronted/identity.json");
    checked.run(0, &["probe"], &["probe", text(&identity_file)]);
    kill("TERM", front.id());
    checked.lines(&["front_ready"], collect(front).text());
}

#[test]
fn every_object_of_every_command_matches_the_schema() {
    let mut checked = Checked { schema: schema(), seen: BTreeSet::new() };
    let mut daemon = Daemon::start_with(&["--json"]);
    let (identity_file, ready) = (daemon.identity_file(), daemon.ready.clone());
    let identity_file = text(&identity_file);
    checked.lines(&["serve_ready"], &ready);

    checked.run(0, &["probe"], &["probe", identity_file]);
    checked.run(0, &["probe_socket"], &["probe", text(&daemon.socket())]);
    checked.run(0, &["call"], &["call", identity_file, "--protocol", "0xF0CA", "PING"]);
    conform(&mut checked, text(&daemon.socket()));
    checked.run(0, &["top", "top"], &["top", identity_file, "--count", "2", "--interval", "1ms"]);
    checked.run(0, &["top"], &["top", identity_file, "--once"]);
    let load = ["load", identity_file, "--requests", "20", "--protocol"];
    checked.run(0, &["load"], &[&load[..], &["0xF0CA"]].concat());
    checked.run(0, &["load"], &[&load[..], &["0xF0CA", "--rate", "1000", "--warm-up", "0s"]].concat());
    checked.run(1, &["load"], &[&load[..], &["0xF0CB"]].concat());
    checked.run(0, &["demo"; 10], &["demo"]);
    checked.run(0, &["completions"], &["completions", "zsh"]);
    services(&mut checked);
    let man = daemon.directory.path().join("man");
    checked.run(0, &["man"], &["man", text(&man)]);

    let frames =
        [&b"\x01\x0e\0\0\0\x08\x01\x18\xe3\xf4\x01\x22\x04ping\x28\x01"[..], b"\x01\x02\0\0\0\x0f\0PING"];
    let decoded = run_with_input(&["decode", "--json"], &frames.concat());
    checked.lines(&["decode_frame", "decode_frame", "decode_frame", "decode_end"], decoded.text());
    let vectors = include_str!("../vectors.txt").lines().filter(|line| !line.starts_with('#'));
    for (_, hex) in vectors.map(|line| line.split_once(' ').unwrap()) {
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect();
        checked.lines(&["decode_frame", "decode_end"], run_with_input(&["decode", "--json"], &bytes).text());
    }

    // With a negative verdict the object has the error, which is not printed again.
    let kept = daemon.directory.path().join("kept.json");
    std::fs::copy(identity_file, &kept).unwrap();
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    checked.run(1, &["probe"], &["probe", text(&kept)]);
    checked.run(1, &["probe_socket"], &["probe", text(&daemon.socket())]);
    assert_eq!(checked.error(1, &["call", text(&kept), "--protocol", "0xF0CA", "PING"]), "gone");
    assert_eq!(checked.error(1, &["top", text(&kept), "--once"]), "gone");

    // Messages of the daemon.
    let mut serve = command();
    let directory = tempfile::tempdir().unwrap();
    serve.args(["serve", "--json", "--socket"]).arg(directory.path().join("s"));
    serve.arg("--identity").arg(directory.path().join("r.json"));
    let serve = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while run(&["probe", text(&directory.path().join("r.json"))]).status != 0 {}
    run(&["call", text(&directory.path().join("r.json")), "--protocol", "0xF0CB", "x"]);
    kill("TERM", serve.id());
    let said = collect(serve);
    checked.lines(&["serve_ready"], said.text());
    checked.lines(&["serve_error"], &said.stderr);
    front(&mut checked);
    // The tests in `streams.rs` check the notice about dropped messages.
    checked.check(
        "serve_dropped",
        &serde_json::json!({ "schema_version": 2, "event": "dropped", "messages": 7 }),
    );

    let all = checked.schema["oneOf"].as_array().unwrap().iter();
    let all = all.map(|part| part["$ref"].as_str().unwrap().strip_prefix("#/$defs/").unwrap());
    assert_eq!(checked.seen, all.map(str::to_owned).collect(), "every part was seen");
}

/// Checks the objects of the commands that take a service.
fn services(checked: &mut Checked) {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str, more: &str| {
        let path = root.path().join(format!("{name}.toml"));
        std::fs::write(&path, format!("name = '{name}'\n{more}\n")).unwrap();
        text(&path).to_owned()
    };
    let executable = env!("CARGO_BIN_EXE_running-process");
    let path = root.path().join("cache.toml");
    let command = format!("command = ['{executable}', 'serve', '--service', '{}']", path.display());
    let (cache, failing) = (file("cache", &command), file("failing", "command = ['false']\nkey = 'k'"));
    let of = |checked: &mut Checked, status, part: Option<&str>, arguments: &[&str]| {
        let mut command = command_below(root.path());
        let finished = finish(command.args(arguments).arg("--json"));
        assert_eq!(finished.status, status, "{arguments:?}: {finished:?}");
        match part {
            Some(part) => checked.lines(&[part], finished.text()),
            None => checked.lines(&["error"], &finished.stderr),
        }
    };
    of(checked, 1, Some("status"), &["status", "--file", &cache]);
    of(checked, 0, Some("start"), &["start", "--file", &cache]);
    of(checked, 0, Some("start"), &["start", "--file", &cache]);
    of(checked, 0, Some("status"), &["status", "--file", &cache]);
    of(checked, 0, Some("ps"), &["ps"]);
    other_sockets(checked, root.path());
    // The daemon may serve before it has written its first line.
    while finish(command_below(root.path()).args(["logs", "cache"])).text().is_empty() {}
    of(checked, 0, Some("log_line"), &["logs", "cache", "--lines", "1"]);
    if cfg!(target_os = "linux") {
        of(checked, 0, Some("install"), &["install", "--print", "--file", &cache]);
    } else {
        checked.seen.insert("install".to_owned());
    }
    of(checked, 0, Some("stampede"), &["stampede", "--file", &cache, "--clients", "3"]);
    of(checked, 2, None, &["serve", "--service", &cache]);
    let steps = ["restart_step", "restart_step", "restart_step", "restart_step", "restart"];
    let mut restart = command_below(root.path());
    let restarted = finish(restart.args(["restart", "--json", "--file", &cache]));
    assert_eq!(restarted.status, 0, "{restarted:?}");
    checked.lines(&steps, restarted.text());
    of(checked, 0, Some("stop"), &["stop", "--file", &cache]);
    of(checked, 0, Some("stop"), &["stop", "--file", &cache]);
    for _ in 0..4 {
        of(checked, 1, None, &["start", "--file", &failing]);
    }
    of(checked, 1, Some("status"), &["status", "--file", &failing]);
    doctor(checked, root.path(), &failing);
    let wrong = file("wrong", "comand = ['false']");
    of(checked, 2, None, &["start", "--file", &wrong]);
    of(checked, 2, None, &["restart", "--file", &wrong]);
}

/// Checks the objects of `doctor --fix` about the service in `file`, whose daemon has left a socket.
fn doctor(checked: &mut Checked, root: &std::path::Path, file: &str) {
    let directory = std::fs::read_dir(root.join("services")).unwrap().map(|entry| entry.unwrap().path());
    let directory = directory.into_iter().find(|path| path.to_string_lossy().contains("failing.")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap());
    let finished = finish(command_below(root).args(["doctor", "--fix", "--json", "--file", file]));
    assert_eq!(finished.status, 1, "{finished:?}");
    for object in finished.objects() {
        checked.check(&format!("doctor_{}", object["event"].as_str().unwrap()), &object);
    }
    let not_fixed = serde_json::json!({ "schema_version": 2, "event": "not_fixed", "service": "cache", "reason": "it runs" });
    checked.check("doctor_not_fixed", &not_fixed);
}

/// Checks the objects of `ps --all`, whose sockets are those of any process.
fn other_sockets(checked: &mut Checked, root: &std::path::Path) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let _listener = std::os::unix::net::UnixListener::bind(root.join("other")).unwrap();
    for object in finish(command_below(root).args(["ps", "--all", "--json"])).objects() {
        let part = if object.get("label").is_some() { "ps" } else { "ps_socket" };
        checked.check(part, &object);
    }
}

/// Returns the command with all services below `root`.
fn command_below(root: &std::path::Path) -> Command {
    let mut command = command();
    command
        .env("RUNNING_PROCESS_DIR", root.join("services"))
        .env("XDG_CONFIG_HOME", root.join("configuration"));
    command
}

#[test]
fn every_error_has_a_kind() {
    let mut checked = Checked { schema: schema(), seen: BTreeSet::new() };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "{}").unwrap();
    let (file, missing) = (text(&file), text(directory.path()).to_owned() + "/missing/x");
    let absent = text(directory.path()).to_owned() + "/absent.json";
    let cases: [(&str, &[&str]); 22] = [
        ("usage", &[]),
        ("usage", &["prob"]),
        ("usage", &["probe"]),
        ("usage", &["probe", file, "--deadline", "0s"]),
        ("usage", &["probe", file, "--policy", "naive"]),
        ("usage", &["call", file, "--protocol", "0xB232", "x"]),
        ("usage", &["load", file, "--protocol", "1", "--connections", "1000", "--in-flight", "10000"]),
        ("usage", &["start"]),
        ("usage", &["restart"]),
        ("usage", &["restart", "--file", file, "--deadline", "0s"]),
        ("usage", &["serve"]),
        ("usage", &["serve", "--socket", "s", "--service", file]),
        ("no_service_file", &["start", "--file", &missing]),
        ("service_file_invalid", &["stop", "--file", file]),
        ("service_file_invalid", &["status", "--file", "/dev/zero"]),
        ("no_identity_file", &["probe", &missing]),
        ("no_identity_file", &["top", &missing]),
        ("identity_file_unusable", &["call", file, "--protocol", "0xF0CA", "x"]),
        ("capture_unreadable", &["decode", &missing]),
        ("capture_endless", &["decode", "/dev/zero"]),
        ("no_directory", &["serve", "--socket", &missing, "--identity", &absent]),
        ("invalid_endpoint", &["serve", "--socket", &"x".repeat(200), "--identity", &absent]),
    ];
    for (kind, arguments) in cases {
        assert_eq!(checked.error(2, arguments), kind, "{arguments:?}");
    }
    // After `--`, `--json` is no option.
    let text = run(&["probe", "--", "--json"]);
    text.fails_with(2, &["error: no service is called \"--json\""]);
}

#[test]
fn the_document_lists_every_part_of_the_schema() {
    let page = include_str!("../../docs/json.md");
    for part in schema()["$defs"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("`{part}`")), "{part}");
    }
}
