//! The command `front` before a daemon.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Returns the command `running-process`.
pub fn running_process() -> Command {
    Command::new(std::env::var_os("RUNNING_PROCESS").expect("run.sh builds the command"))
}

/// A front and the daemon behind it, in a directory of their own. Dropping it stops both.
pub struct Front {
    directory: TempDir,
}

impl Front {
    /// Starts a front of the daemon that `command` starts at a socket: the word `SOCKET` stands for its path, and `OWN` for that
    /// of a file.
    #[track_caller]
    pub fn start(command: &[&str]) -> Self {
        let front = Self { directory: tempfile::tempdir().unwrap() };
        let upstream = front.upstream();
        let words = command.iter().map(|word| match *word {
            "SOCKET" => upstream.display().to_string(),
            "OWN" => front.own_identity_file().display().to_string(),
            word => word.to_owned(),
        });
        let (command, upstream) = (words.collect::<Vec<_>>().join("', '"), upstream.display());
        let content =
            format!("name = 'interop'\n[front]\ncommand = ['{command}']\nconnect = 'unix:{upstream}'\n");
        std::fs::write(front.file(), content).unwrap();
        let started = front.run(&["start", "--file"], &front.file());
        assert!(started.status.success(), "{started:?}");
        front
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("front.toml")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the socket of the daemon behind the front.
    pub fn upstream(&self) -> PathBuf {
        self.path("upstream")
    }

    /// Returns the identity file that the daemon behind the front writes about itself.
    pub fn own_identity_file(&self) -> PathBuf {
        self.path("own.json")
    }

    fn place(&self, name: &str) -> PathBuf {
        self.path("services/interop").join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.place("socket")
    }

    pub fn identity_file(&self) -> PathBuf {
        self.place("identity.json")
    }

    pub fn run(&self, arguments: &[&str], path: &Path) -> Output {
        let mut command = running_process();
        command.env("RUNNING_PROCESS_DIR", self.path("services"));
        command.args(arguments).arg(path).output().unwrap()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.run(&["stop", "--file"], &self.file());
    }
}
