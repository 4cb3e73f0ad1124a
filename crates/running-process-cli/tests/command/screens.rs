//! The command in a real tmux of 40, 80 and 200 columns, in a pipe, without colours, and interrupted.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::recording::{Places, check};
use crate::common::service::Services;
use crate::common::tmux::Tmux;
use crate::common::{Finished, finish};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

/// Columns and rows of terminals, which pictures fit.
const SIZES: [(usize, usize); 3] = [(40, 20), (80, 24), (200, 50)];
/// The same columns, and room for all that a command prints.
const TALL: [(usize, usize); 3] = [(40, 300), (80, 300), (200, 300)];

/// A request frame of the registered consumer zccache.
const CAPTURE: &[u8] = b"\x01\x0e\0\0\0\x08\x01\x18\xe3\xf4\x01\x22\x04ping\x28\x01";

/// A service that is live, and one that has never run, whose file others can write.
struct Home {
    services: Services,
    places: Places,
}

impl Home {
    fn new() -> Self {
        let services = Services::new();
        services.configure_cache("cache", "version = '1.2.0'");
        let idle = services.configure("idle", "name = 'idle'\ncommand = ['/bin/cat']\n");
        std::fs::set_permissions(&idle, PermissionsExt::from_mode(0o666)).unwrap();
        let places = Places::new(&services.path(""));
        let home = Self { services, places };
        assert_eq!(home.run(&["start", "cache"]).status, 0);
        home
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.services.command(arguments);
        command.env("HOME", self.services.path("")).current_dir(self.services.path(""));
        command
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments))
    }

    /// Starts a load that does not end by itself.
    fn load(&self) -> Child {
        let load = ["load", "cache", "--protocol", "0xF0CA", "--rate", "2000", "--duration", "1h", "PING"];
        self.command(&load).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Records a command that ends by itself at each size.
    fn record(&self, name: &str, status: i32, arguments: &[&str]) {
        self.record_after(name, status, arguments, TALL, |_| {});
    }

    /// Records what a command leaves on terminals of each size, after `act` has worked on it.
    fn record_after(
        &self,
        name: &str,
        status: i32,
        arguments: &[&str],
        sizes: [(usize, usize); 3],
        act: impl Fn(&Tmux),
    ) {
        let mut recorded = String::new();
        for (columns, rows) in sizes {
            let Some(tmux) = Tmux::run(columns, rows, &self.command(arguments)) else { return };
            act(&tmux);
            assert_eq!(tmux.wait(), status, "{arguments:?} at {columns} columns:\n{}", tmux.screen());
            let screen = self.places.renamed(&tmux.text());
            write!(recorded, "== {columns} columns\n{screen}\n\n").unwrap();
        }
        check(&format!("tests/snapshots/screens/{name}.txt"), &recorded);
    }
}

/// Interrupts a command once the screen has `text`.
fn interrupt_at(text: &str) -> impl Fn(&Tmux) {
    move |tmux| {
        tmux.wait_until(|screen| screen.contains(text));
        tmux.press("C-c");
    }
}

#[test]
fn the_recorded_screens_of_services() {
    let home = Home::new();
    home.record("logs", 0, &["logs", "cache"]);
    home.record("ps", 0, &["ps"]);
    home.record("status", 0, &["status", "cache"]);
    home.record("status-absent", 1, &["status", "idle"]);
    home.record("start-running", 0, &["start", "cache"]);
    home.record("stop-idle", 0, &["stop", "idle"]);
    home.record("unknown", 2, &["status", "cahce"]);
    home.record("probe", 0, &["probe", "cache"]);
    home.record("doctor", 1, &["doctor", "idle"]);
    std::fs::write(home.services.path("capture.bin"), CAPTURE).unwrap();
    home.record("decode", 0, &["decode", "capture.bin"]);
    home.record("demo", 0, &["demo"]);
    // The first one writes the units.
    assert_eq!(home.run(&["install", "cache"]).status, 0);
    home.record("install", 0, &["install", "cache"]);
    assert_eq!(home.run(&["install", "cache", "--remove"]).status, 0);
}

#[test]
fn the_recorded_screens_of_a_stampede() {
    let home = Home::new();
    home.record("stampede", 0, &["stampede", "cache", "--clients", "10"]);
}

#[test]
fn the_recorded_screens_of_pictures_that_are_interrupted() {
    let home = Home::new();
    // First, since the daemon notes that clients were interrupted.
    home.record_after("logs-follow", 130, &["logs", "-f", "cache"], SIZES, interrupt_at("ready"));
    home.record_after("top-idle", 130, &["top", "cache", "--interval", "50ms"], SIZES, interrupt_at("p99  "));
    home.record_after(
        "ps-watch",
        130,
        &["ps", "--watch", "--interval", "50ms"],
        SIZES,
        interrupt_at("cache"),
    );
    let mut load = home.load();
    home.record_after("top", 130, &["top", "cache", "--interval", "100ms"], SIZES, interrupt_at("p99  "));
    load.kill().unwrap();
    load.wait().unwrap();
    let load = ["load", "cache", "--protocol", "0xF0CA", "--duration", "1h", "--warm-up", "0s", "PING"];
    home.record_after("load", 0, &load, TALL, interrupt_at("measuring"));
}

#[test]
fn the_recorded_screens_of_help() {
    let home = Home::new();
    for command in ["start", "top", "load", "completions"] {
        home.record(&format!("help-{command}"), 0, &[command, "-h"]);
    }
}

#[test]
fn a_picture_fits_a_terminal_that_is_resized() {
    let home = Home::new();
    let Some(tmux) = Tmux::run(80, 24, &home.command(&["top", "cache", "--interval", "20ms"])) else {
        return;
    };
    for (columns, rows) in [(80, 24), (40, 20), (200, 50), (30, 6), (80, 24)] {
        tmux.resize(columns, rows);
        // Enter moves the cursor, and the next picture is in its place nevertheless.
        tmux.press("Enter");
        // The axis is at the right of its numbers, so the picture is as wide as the terminal, and one column less.
        let fits = |screen: &str| {
            let widest = screen.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            let has_charts = rows < 20 || screen.contains("p99  ");
            let is_wide = rows < 20 || widest == columns - 1;
            screen.starts_with("process ")
                && screen.matches("process ").count() == 1
                && has_charts
                && is_wide
                && widest < columns
        };
        tmux.wait_until(fits);
    }
    tmux.press("C-c");
    assert_eq!(tmux.wait(), 130);
}

#[test]
fn a_pipe_gets_neither_colours_nor_cut_lines_and_no_color_is_respected() {
    let home = Home::new();
    let commands: [&[&str]; 6] = [
        &["ps"],
        &["status", "cache"],
        &["probe", "cache"],
        &["doctor", "idle"],
        &["top", "cache", "--once"],
        &["status", "cahce"],
    ];
    for arguments in commands {
        let Finished { stdout, stderr, .. } = home.run(arguments);
        for text in [std::str::from_utf8(&stdout).unwrap(), &stderr] {
            assert!(!text.contains(['\x1b', '…', '\r']), "{arguments:?}: {text}");
        }
        for no_color in [None, Some("1")] {
            let mut command = home.command(arguments);
            command.envs(no_color.map(|value| ("NO_COLOR", value)));
            let Some(tmux) = Tmux::run(80, 24, &command) else { return };
            tmux.wait();
            assert_eq!(tmux.coloured_screen().contains('\x1b'), no_color.is_none(), "{arguments:?}");
        }
    }
}
