//! docs/cli.md: the help of each command, and a screen of it as it really prints.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::recording::{Places, check, installed};
use crate::common::run;
use crate::common::service::{Services, signal};
use crate::common::terminal::Terminal;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

const INTRODUCTION: &str = "\
# The command

`cargo install --path crates/running-process-cli` installs it from a clone.

This page is generated from the help of the command and from what it prints on a terminal of 80 columns: change those, then run
`RECORD=1 cargo test -p running-process-cli --test command -- recorded`. The figures are those of one run; names of places are
shortened. [json.md] has the output with `--json`, [service.md] the files of services, [troubleshooting.md] the way from a
symptom to a command.

[json.md]: json.md
[service.md]: service.md
[troubleshooting.md]: troubleshooting.md
";

/// A private home with services, in which commands are recorded.
struct Recorder {
    services: Services,
    places: Places,
    /// The commands recorded so far, each with what it printed.
    screens: Vec<(String, String)>,
}

impl Recorder {
    fn new() -> Self {
        let services = Services::new();
        let places = Places::new(&services.path(""));
        Self { services, places, screens: Vec::new() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.services.command(arguments);
        command.env("HOME", self.services.path("")).current_dir(self.services.path(""));
        command
    }

    /// Runs a command to its end on a terminal and records what it leaves there.
    #[track_caller]
    fn record(&mut self, status: i32, arguments: &[&str]) {
        // A picture fills the rows. What else is printed may be longer than 24 lines, as a histogram of a slow machine is.
        let rows = if arguments[0] == "top" { 24 } else { 100 };
        let mut terminal = Terminal::open(80, rows);
        let child = terminal.spawn(&mut self.command(arguments));
        assert_eq!(terminal.finish(child), status, "{}", terminal.written());
        // A picture is what is on the screen. Lines are what was written, since long ones are wrapped by the terminal.
        let printed = match terminal.written() {
            written if written.contains("\x1b[H") || written.contains("\x1b[K") => terminal.screen.text(),
            written => anstream::adapter::strip_str(&written).to_string().replace('\r', ""),
        };
        self.add(arguments[0], &line(arguments), &printed);
    }

    /// Runs a command on a terminal until it has printed `text`, interrupts it and records what it has printed.
    #[track_caller]
    fn record_until(&mut self, text: &str, arguments: &[&str]) {
        let mut terminal = Terminal::open(80, 24);
        let child = terminal.spawn(&mut self.command(arguments));
        terminal.read_until(|terminal| terminal.written().contains(text));
        signal("INT", child.id());
        assert_eq!(terminal.finish(child), 0, "{}", terminal.written());
        let printed = anstream::adapter::strip_str(&terminal.written()).to_string().replace('\r', "");
        self.add(arguments[0], &line(arguments), &printed);
    }

    fn add(&mut self, command: &str, line: &str, printed: &str) {
        let screen = format!("$ running-process {line}\n{}", printed.trim_end());
        self.screens.push((command.to_owned(), self.places.renamed(screen.trim_end())));
    }

    /// Starts a command that runs beside others until it is ended.
    fn beside(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn page(&self) -> String {
        let help = run(&["--help"]).text().to_owned();
        let mut page = format!("{INTRODUCTION}\n```text\n{help}```\n");
        let groups = help.split("Usage: ").nth(1).unwrap().split("Options:").next().unwrap();
        for line in groups.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["help", ..] | [] => {}
                _ if line.ends_with(':') => write!(page, "\n## {}\n", line.trim_end_matches(':')).unwrap(),
                // The rest of a description.
                _ if line.starts_with("   ") => {}
                [command, ..] => self.section(command, &mut page),
            }
        }
        // The help has blanks in empty lines.
        page.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
    }

    fn section(&self, command: &str, page: &mut String) {
        let screens: Vec<&str> =
            self.screens.iter().filter(|(of, _)| of == command).map(|(_, screen)| screen.as_str()).collect();
        assert!(!screens.is_empty(), "record a screen of {command} for docs/cli.md");
        let help = run(&[command, "--help"]);
        write!(page, "\n### {command}\n\n```console\n{}\n```\n", screens.join("\n\n")).unwrap();
        write!(page, "\n```text\n{}```\n", help.text()).unwrap();
    }
}

/// Returns the arguments as they are typed.
fn line(arguments: &[&str]) -> String {
    let typed = |word: &&str| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() };
    arguments.iter().map(typed).collect::<Vec<_>>().join(" ")
}

/// A request frame of the registered consumer zccache.
const CAPTURE: &[u8] = b"\x01\x0e\0\0\0\x08\x01\x18\xe3\xf4\x01\x22\x04ping\x28\x01";

/// Returns the table of a service's file that fronts redis-server, which logs to a file and saves nothing.
fn front_of_redis(services: &Services) -> String {
    let [socket, log] = ["redis.sock", "redis.log"].map(|name| services.path(name).display().to_string());
    let options = format!("'--port', '0', '--unixsocket', '{socket}', '--logfile', '{log}', '--save', ''");
    format!("[front]\ncommand = ['redis-server', {options}]\nconnect = 'unix:{socket}'")
}

#[test]
fn the_recorded_page_has_every_command_as_it_prints() {
    if installed("redis-server").is_none() {
        println!("skipped: redis-server is not installed");
        return;
    }
    let mut recorder = Recorder::new();
    recorder.services.configure_cache("cache", "version = '1.2.0'");

    recorder.record(0, &["ps"]);
    recorder.record(0, &["start", "cache"]);
    recorder.record(0, &["ps"]);
    recorder.record(0, &["status", "cache"]);
    recorder.record(0, &["logs", "cache"]);
    recorder.record(0, &["call", "cache", "--protocol", "0xF0CA", "SET greeting hello"]);
    let load = ["load", "cache", "--protocol", "0xF0CA", "--connections", "4", "--requests", "5000"];
    recorder.record(0, &[&load[..], &["GET greeting"]].concat());
    let mut beside = recorder.beside(&[
        "load",
        "cache",
        "--protocol",
        "0xF0CA",
        "--rate",
        "2000",
        "--duration",
        "1h",
        "--warm-up",
        "0s",
        "PING",
    ]);
    recorder.record(0, &["top", "cache", "--interval", "200ms", "--count", "10"]);
    beside.kill().unwrap();
    beside.wait().unwrap();
    recorder.record(0, &["probe", "cache"]);
    recorder.record(0, &["probe", "services/cache/socket"]);
    recorder.record(0, &["restart", "cache"]);
    recorder.record(0, &["conform", "--socket", "services/cache/socket", "--only", "probe-*"]);
    recorder.record(0, &["stop", "cache"]);
    recorder.record(0, &["install", "cache"]);
    recorder.record(0, &["install", "cache", "--remove"]);
    recorder.record(0, &["stampede", "cache", "--clients", "40"]);

    let file = recorder.services.configure("build", "name = 'build'\ncommand = ['/bin/cat']\n");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    recorder.record(1, &["doctor", "build"]);
    std::fs::remove_file(&file).unwrap();

    std::fs::write(recorder.services.path("capture.bin"), CAPTURE).unwrap();
    recorder.record(0, &["decode", "capture.bin"]);
    recorder.record(0, &["demo"]);
    recorder.record_until("ready", &["serve", "--socket", "cache.sock", "--identity", "cache.json"]);
    recorder.record(0, &["man", "man"]);
    recorder.add("completions", "completions bash > running-process.bash", "");
    recorder.services.file("redis", &front_of_redis(&recorder.services));
    recorder.record_until("ready", &["front", "--service", "redis.toml"]);
    check("docs/cli.md", &recorder.page());
}
