//! A pseudoterminal and an emulator of its screen.

use super::WATCHDOG;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The master side of a pseudoterminal.
pub struct Terminal {
    master: File,
    slave: File,
    pub screen: Screen,
    /// All bytes written to the terminal.
    pub bytes: Vec<u8>,
}

impl Terminal {
    pub fn open(columns: u16, rows: u16) -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .custom_flags(0o400) // O_NOCTTY
            .open(name.to_str().unwrap())
            .unwrap();
        let screen = Screen::new(columns.into(), rows.into());
        let terminal = Self { master: File::from(master), slave, screen, bytes: Vec::new() };
        terminal.set_size(columns, rows);
        terminal
    }

    fn set_size(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.slave, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
    }

    /// Resizes the terminal without reflowing it; text that no longer fits is lost.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.screen.resize(columns.into(), rows.into());
        self.set_size(columns, rows);
    }

    /// Runs `command` with its standard output and error on the terminal.
    pub fn spawn(&self, command: &mut Command) -> Child {
        command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("CLICOLOR");
        command.stdout(self.end()).stderr(self.end()).spawn().unwrap()
    }

    /// Returns the slave side, for a command.
    pub fn end(&self) -> Stdio {
        Stdio::from(self.slave.try_clone().unwrap())
    }

    /// Reads the terminal's output until `is_there` returns true.
    pub fn read_until(&mut self, is_there: impl Fn(&Self) -> bool) {
        let watchdog = Instant::now() + WATCHDOG;
        while !is_there(self) {
            self.read_deadline(watchdog);
        }
    }

    /// Reads until `child` has ended and all its output has arrived; returns its exit status.
    pub fn finish(&mut self, mut child: Child) -> i32 {
        let watchdog = Instant::now() + WATCHDOG;
        loop {
            let status = child.try_wait().unwrap();
            while self.is_readable(0) {
                self.read_deadline(watchdog);
            }
            if let Some(status) = status {
                return status.code().unwrap();
            }
            assert!(Instant::now() < watchdog, "it hangs:\n{}", self.screen.text());
            self.is_readable(20);
        }
    }

    /// Returns everything written to the terminal, as text.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn is_readable(&self, milliseconds: i64) -> bool {
        let timeout = Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
        poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&timeout)).unwrap() > 0
    }

    fn read_deadline(&mut self, watchdog: Instant) {
        while !self.is_readable(100) {
            assert!(Instant::now() < watchdog, "nothing more comes:\n{}", self.screen.text());
        }
        let mut bytes = [0; 4096];
        let length = match self.master.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            length => length.unwrap(),
        };
        self.bytes.extend_from_slice(&bytes[..length]);
        self.screen.feed(&bytes[..length]);
    }
}

/// A terminal emulator that accepts only the control sequences of this command.
pub struct Screen {
    columns: usize,
    rows: usize,
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    unfinished: Vec<u8>,
}

impl Screen {
    fn new(columns: usize, rows: usize) -> Self {
        let lines = vec![vec![' '; columns]; rows];
        Self { columns, rows, lines, row: 0, column: 0, unfinished: Vec::new() }
    }

    fn resize(&mut self, columns: usize, rows: usize) {
        for line in &mut self.lines {
            line.resize(columns, ' ');
        }
        self.lines.resize(rows, vec![' '; columns]);
        (self.columns, self.rows) = (columns, rows);
        (self.row, self.column) = (self.row.min(rows - 1), self.column.min(columns - 1));
    }

    /// Returns the text on the screen, without blanks at the ends of lines.
    pub fn text(&self) -> String {
        let lines: Vec<String> =
            self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect();
        lines.join("\n").trim_end().to_owned()
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.unfinished.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.unfinished);
        let whole = match std::str::from_utf8(&bytes) {
            Ok(_) => bytes.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(error) => panic!("{error}"),
        };
        let mut text = std::str::from_utf8(&bytes[..whole]).unwrap();
        while let Some(char) = text.chars().next() {
            if char == '\u{1b}' {
                let Some(length) = self.control(text) else { break };
                text = &text[length..];
            } else {
                self.put(char);
                text = &text[char.len_utf8()..];
            }
        }
        self.unfinished = [text.as_bytes(), &bytes[whole..]].concat();
    }

    fn put(&mut self, char: char) {
        match char {
            '\r' => self.column = 0,
            '\n' if self.row + 1 == self.rows => {
                self.lines.remove(0);
                self.lines.push(vec![' '; self.columns]);
            }
            '\n' => self.row += 1,
            char if char.is_control() => panic!("{char:?} reaches the terminal:\n{}", self.text()),
            char => {
                if self.column == self.columns {
                    self.put('\r');
                    self.put('\n');
                }
                self.lines[self.row][self.column] = char;
                self.column += 1;
            }
        }
    }

    /// Applies the control sequence at the start of `text` and returns its length, if it is complete.
    fn control(&mut self, text: &str) -> Option<usize> {
        let rest = text.strip_prefix("\u{1b}[").unwrap_or_else(|| {
            assert!(text.len() < 2, "{text:?} reaches the terminal");
            ""
        });
        let length = rest.find(|char: char| char.is_ascii_alphabetic())?;
        let (argument, command) = (&rest[..length], &rest[length..=length]);
        let blank = vec![' '; self.columns];
        match (command, argument) {
            ("m", _) => {}
            ("A", up) => self.row = self.row.saturating_sub(up.parse().unwrap()),
            ("H", "") => (self.row, self.column) = (0, 0),
            ("K", "") => self.lines[self.row][self.column.min(self.columns)..].fill(' '),
            ("J", "") => {
                self.lines[self.row][self.column.min(self.columns)..].fill(' ');
                self.lines[self.row + 1..].fill(blank);
            }
            ("J", "2") => self.lines.fill(blank),
            _ => panic!("{:?} reaches the terminal", &text[..length + 3]),
        }
        Some(2 + length + 1)
    }
}
