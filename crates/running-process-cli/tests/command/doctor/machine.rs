//! A machine with a fault, and what `doctor` says about it.

use crate::common::service::Services;
use crate::common::{finish, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Services in a directory of the test's own. Their names are unique, since `doctor` also finds daemons in other places.
pub struct Machine {
    pub services: Services,
    pub name: String,
}

/// The output of one run of `doctor`.
#[derive(Debug)]
pub struct Diagnosis {
    pub findings: Vec<Value>,
    /// The changes by `--fix`, and those that were not made.
    pub changes: Vec<Value>,
}

impl Machine {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { services: Services::new(), name: format!("d{}-{number}", std::process::id()) }
    }

    /// Returns a machine whose service has run and has been stopped, and the service's file.
    pub fn stopped() -> (Self, String) {
        let machine = Self::new();
        let file = machine.cache("");
        machine.services.start(&file);
        assert_eq!(machine.services.run(&["stop", "--file", &file]).status, 0);
        (machine, file)
    }

    /// Writes the file of the service, whose daemon is `serve`.
    pub fn cache(&self, more: &str) -> String {
        self.services.cache(&self.name, more)
    }

    /// Writes the file of the service, whose daemon is a shell's script. In it `$0 serve --service $1` is the daemon.
    pub fn script(&self, script: &str, more: &str) -> String {
        let file = self.services.path(&format!("{}.toml", self.name));
        let executable = env!("CARGO_BIN_EXE_running-process");
        let command = format!("command = ['sh', '-c', '''{script}''', '{executable}', '{}']", file.display());
        self.services.file(&self.name, &format!("{command}\n{more}"))
    }

    /// Returns the path of a file in the directory of the service.
    pub fn place(&self, name: &str) -> PathBuf {
        self.services.root().join(&self.name).join(name)
    }

    pub fn file(&self) -> String {
        text(&self.services.path(&format!("{}.toml", self.name))).to_owned()
    }

    /// Returns the command `doctor` about the service.
    pub fn doctor(&self) -> Command {
        self.services.command(&["doctor", "--json", "--deadline", "2s", "--file", &self.file()])
    }

    /// Looks at the service without changing anything, which is checked, and returns the one finding `id`, whatever else there is.
    /// `--fix` changes nothing either, unless it says that it would.
    #[track_caller]
    pub fn finds(&self, id: &str) -> Value {
        self.finds_by(id, Self::doctor)
    }

    /// Looks as [`finds`](Self::finds) does, by a command of the test's.
    #[track_caller]
    pub fn finds_by(&self, id: &str, doctor: impl Fn(&Self) -> Command) -> Value {
        let before = self.snapshot();
        let diagnosis = Diagnosis::of(&mut doctor(self));
        assert_eq!(self.snapshot(), before, "a look changes nothing");
        let found: Vec<_> = diagnosis.findings.iter().filter(|finding| finding["id"] == id).collect();
        assert_eq!(found.len(), 1, "{id}: {:#?}", diagnosis.findings);
        let finding = found[0].clone();
        assert_eq!(finding["service"], self.name);
        let does_something = |finding: &Value| finding["is_fixable"] == true;
        if !diagnosis.findings.iter().any(does_something) {
            let fixed = Diagnosis::of(doctor(self).arg("--fix"));
            assert_eq!(self.snapshot(), before, "{id} is not changed by --fix");
            assert!(fixed.changes.is_empty(), "{fixed:#?}");
            assert!(!finding["fix"].as_str().unwrap().is_empty());
        }
        finding
    }

    /// Checks that the service has no finding `id`.
    #[track_caller]
    pub fn lacks(&self, id: &str) {
        let diagnosis = Diagnosis::of(&mut self.doctor());
        let found = diagnosis.findings.iter().find(|finding| finding["id"] == id);
        assert!(found.is_none(), "{found:#?}");
    }

    /// Runs the command line of a finding in a shell, as a person would who has copied it.
    #[track_caller]
    pub fn follow(&self, finding: &Value) {
        let remedy = finding["remedy"].as_str().expect("a command line");
        let directory = Path::new(env!("CARGO_BIN_EXE_running-process")).parent().unwrap();
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
        let mut shell = self.services.command(&[]);
        let variables: Vec<_> =
            shell.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        shell = Command::new("sh");
        for (name, value) in variables {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let finished = finish(shell.args(["-c", remedy]).env("PATH", path));
        // `doctor` itself may have found something else.
        assert!(finished.status == 0 || remedy.contains(" doctor "), "{remedy}: {finished:?}");
    }

    /// Returns every file with all that a change would show in it.
    fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        add(&self.services.path("."), &mut files);
        files
    }
}

fn add(path: &Path, files: &mut BTreeMap<PathBuf, String>) {
    let found = path.symlink_metadata().unwrap();
    let content = if found.is_file() && found.len() < 1_000_000 {
        fs::read(path).unwrap_or_default()
    } else {
        Vec::new()
    };
    let facts = format!(
        "{} {:o} {} {} {} {}.{} {:?}",
        found.ino(),
        found.mode(),
        found.uid(),
        found.nlink(),
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
        String::from_utf8_lossy(&content)
    );
    files.insert(path.to_owned(), facts);
    if found.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            add(&entry.unwrap().path(), files);
        }
    }
}

impl Diagnosis {
    /// Runs `doctor --json`, and checks that its exit status agrees with what it found.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let finished = finish(command);
        assert_eq!(finished.stderr, "", "{finished:?}");
        let mut objects = finished.objects();
        let end = objects.pop().unwrap();
        assert_eq!(end["event"], "end", "{finished:?}");
        let (findings, changes): (Vec<Value>, _) =
            objects.into_iter().partition(|object| object["event"] == "finding");
        let counts = ["errors", "warnings", "undecided", "notes"].map(|name| end[name].as_u64().unwrap());
        assert_eq!(counts.iter().sum::<u64>(), findings.len() as u64, "{finished:?}");
        let status = match counts {
            [0, 0, 0, _] => 0,
            [0, 0, _, _] => 2,
            _ => 1,
        };
        assert_eq!(finished.status, status, "{finished:?}");
        Self { findings, changes }
    }
}

/// Returns the process of a finding.
#[track_caller]
pub fn pid_of(finding: &Value) -> u32 {
    crate::common::service::pid(finding)
}

/// Returns whether this test is root, as a private mount or another user needs it; if not, prints that it is skipped.
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can make this state");
    }
    is_root
}

/// Returns the arguments of a process.
pub fn arguments(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap()).replace('\0', " ")
}

/// Returns a command that runs a shell script, as root, in a mount namespace of its own, in which `$0` is the command.
pub fn in_private_mounts(script: &str) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        script,
        env!("CARGO_BIN_EXE_running-process"),
    ]);
    unshare
}
