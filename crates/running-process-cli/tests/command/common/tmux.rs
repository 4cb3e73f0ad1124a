//! Commands in a real tmux.

use super::recording::installed;
use super::{WATCHDOG, finish, text};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Runs its arguments as a command, tells the server how it ended, and leaves the terminal as it is then.
const SCRIPT: &str = r#"
    trap : INT
    "$@"
    tmux set-option -p @status "$?"
    tmux wait-for -S ended
    exec cat
"#;

/// Time between two looks at the screen.
const LOOK: Duration = Duration::from_millis(20);

/// A tmux server of the test's own with one pane, in which a command runs. It is ended when this is dropped.
pub struct Tmux {
    directory: TempDir,
}

impl Tmux {
    /// Runs `command` in a pane of so many columns and rows; returns `None` if tmux is not installed.
    pub fn run(columns: usize, rows: usize, command: &Command) -> Option<Self> {
        if installed("tmux").is_none() {
            println!("skipped: tmux is not installed");
            return None;
        }
        let tmux = Self { directory: tempfile::tempdir().unwrap() };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut start = tmux.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows]);
        for (name, value) in command.get_envs() {
            match value {
                // tmux names the terminal.
                _ if name == "TERM" => {}
                Some(value) => _ = start.arg("-e").arg(format!("{}={}", name.display(), value.display())),
                None => _ = start.env_remove(name),
            }
        }
        if let Some(directory) = command.get_current_dir() {
            start.arg("-c").arg(directory);
        }
        start.env_remove("NO_COLOR").args(["--", "sh", "-c", SCRIPT, "sh"]);
        start.arg(command.get_program()).args(command.get_args());
        let started = finish(&mut start);
        assert_eq!((started.status, &*started.stderr), (0, ""));
        Some(tmux)
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-u", "-f", "/dev/null", "-S", text(&self.directory.path().join("server"))])
            .args(arguments);
        tmux
    }

    fn tell(&self, arguments: &[&str]) -> String {
        let told = finish(&mut self.tmux(arguments));
        assert_eq!((told.status, &*told.stderr), (0, ""), "{arguments:?}");
        told.text().to_owned()
    }

    /// Presses a key, as tmux names it.
    pub fn press(&self, key: &str) {
        self.tell(&["send-keys", key]);
    }

    /// Resizes the pane.
    pub fn resize(&self, columns: usize, rows: usize) {
        self.tell(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Returns the rows of the screen, without blanks at the end.
    pub fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"]).trim_end().to_owned()
    }

    /// Returns the text on the screen, in which a line that the terminal has wrapped is whole.
    pub fn text(&self) -> String {
        let text = self.tell(&["capture-pane", "-p", "-J"]);
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Returns the text on the screen with its colours.
    pub fn coloured_screen(&self) -> String {
        self.tell(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen shows what is looked for.
    #[track_caller]
    pub fn wait_until(&self, is_there: impl Fn(&str) -> bool) {
        let watchdog = Instant::now() + WATCHDOG;
        while !is_there(&self.screen()) {
            assert!(Instant::now() < watchdog, "it does not come:\n{}", self.screen());
            thread::sleep(LOOK);
        }
    }

    /// Waits until the command has ended and returns its exit status.
    pub fn wait(&self) -> i32 {
        self.tell(&["wait-for", "ended"]);
        let state = self.tell(&["display-message", "-p", "#{@status} #{cursor_flag} #{alternate_on}"]);
        let mut state = state.split_whitespace().map(|number| number.parse::<i32>().unwrap());
        let [status, cursor, alternate] = [(); 3].map(|()| state.next().unwrap());
        assert_eq!((cursor, alternate), (1, 0), "the terminal is left as it was");
        status
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        finish(&mut self.tmux(&["kill-server"]));
    }
}
