//! The processes and files of a run, none of which it leaves behind.

use crate::daemon;
use crate::options::Options;
use running_process::Service;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The name of a process, and the file that its output goes to.
type Output = (&'static str, PathBuf);

/// The size of the journal's pipe, in bytes, which a user without privileges may have.
const JOURNAL: usize = 1 << 20;
/// The longest time for a process to start or to end.
const LONGEST: Duration = Duration::from_mins(1);
/// Between two looks at a process.
const INTERVAL: Duration = Duration::from_millis(20);

/// A child that lives as long as the run.
pub(super) struct Child {
    name: &'static str,
    process: std::process::Child,
}

pub(super) struct Bed {
    directory: TempDir,
    pub(super) service: Service,
    /// Keeps the journal open, so that it has no end before the run has.
    journal: Option<File>,
    servers: Vec<Child>,
    client: Option<Child>,
    manner: String,
    options: Options,
    /// The bytes of each output that were read.
    read: BTreeMap<PathBuf, u64>,
}

impl Bed {
    pub(super) fn new(options: &Options) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("soak-");
        let directory = match &options.directory {
            Some(parent) => builder.tempdir_in(parent)?,
            None => builder.tempdir()?,
        };
        let path = directory.path();
        daemon::prepare(path)?;
        mknodat(CWD, path.join("journal"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        let manner = format!("{} {}", options.drain.as_secs(), options.fault);
        let service = daemon::service(path, &manner);
        Ok(Self {
            service,
            directory,
            journal: None,
            servers: vec![],
            client: None,
            manner,
            options: options.clone(),
            read: BTreeMap::new(),
        })
    }

    /// Returns the directory, which the command line of each process names.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Opens the journal for reading, and holds it open for writing.
    pub(super) fn read_journal(&mut self) -> io::Result<File> {
        let both = OpenOptions::new().read(true).write(true).open(self.path("journal"))?;
        let reader = File::open(self.path("journal"))?;
        let size = fcntl_setpipe_size(&both, JOURNAL);
        if let Err(error) = size {
            eprintln!("the journal's pipe has its usual size: {error}");
        }
        self.journal = Some(OpenOptions::new().write(true).open(self.path("journal"))?);
        Ok(reader)
    }

    fn start(&self, name: &'static str, arguments: &[&str]) -> io::Result<Child> {
        let output = File::create(self.path(name).with_extension("stderr"))?;
        let mut command = Command::new(std::env::current_exe()?);
        // Ctrl-C ends the run in order, and no child of it at once.
        command.args(arguments).process_group(0).env("XDG_CACHE_HOME", self.path("cache"));
        let process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(output).spawn()?;
        Ok(Child { name, process })
    }

    /// Starts a server, waits until it is ready, and returns its process.
    pub(super) fn start_server(&mut self, name: &'static str) -> io::Result<u32> {
        let directory = self.directory.path().to_str().unwrap();
        let server = self.start(name, &["daemon", name, directory, &self.manner])?;
        let pid = server.process.id();
        self.servers.push(server);
        let identity_file = self.path(name).with_extension("json");
        within(LONGEST, || identity_file.exists())
            .then_some(pid)
            .ok_or_else(|| io::Error::other(format!("the server {name} does not start")))
    }

    pub(super) fn start_client(&mut self) -> io::Result<u32> {
        let directory = self.directory.path().to_str().unwrap();
        let Options { seed, rate, patience, .. } = &self.options;
        let [seed, rate, patience] = [*seed, *rate, patience.as_secs()].map(|number| number.to_string());
        let client = self.start("client", &["client", directory, &seed, &rate, &patience, &self.manner])?;
        let pid = client.process.id();
        self.client = Some(client);
        let identity_file = self.path("root/soak/identity.json");
        within(LONGEST, || identity_file.exists())
            .then_some(pid)
            .ok_or_else(|| io::Error::other("the service does not start"))
    }

    /// Returns the sockets, by their names.
    pub(super) fn sockets(&self) -> Vec<(String, PathBuf)> {
        let identity = running_process::read_daemon_identity_file(&self.path("root/soak/identity.json"));
        let service =
            identity.map_or_else(|| self.path("none"), |identity| identity.ipc_endpoint.path.into());
        vec![
            ("threads".to_owned(), self.path("threads")),
            ("tokio".to_owned(), self.path("tokio")),
            ("service".to_owned(), service),
        ]
    }

    /// Lets the client end, and waits for it.
    pub(super) fn end_client(&mut self, longest: Duration, violated: &dyn Fn(&str)) {
        if let Some(client) = self.client.take() {
            end(client, longest, violated);
        }
    }

    pub(super) fn end_servers(&mut self, violated: &dyn Fn(&str)) {
        for server in self.servers.drain(..) {
            end(server, LONGEST, violated);
        }
    }

    pub(super) fn close_journal(&mut self) {
        self.journal = None;
    }

    fn outputs(&self) -> Vec<Output> {
        let files = [
            ("threads", "threads.stderr"),
            ("tokio", "tokio.stderr"),
            ("client", "client.stderr"),
            ("service", "root/soak/log"),
            ("service before", "root/soak/log.1"),
        ];
        files.map(|(name, file)| (name, self.path(file))).into()
    }

    /// Returns the outputs that tell of a panic, in what was written since the last call.
    pub(super) fn panics(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for (name, path) in self.outputs() {
            let read = self.read.entry(path.clone()).or_default();
            let Ok(mut file) = File::open(&path) else { continue };
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            if length < *read {
                // A new log.
                *read = 0;
            }
            let mut bytes = Vec::new();
            if file.seek(SeekFrom::Start(*read)).and_then(|_| file.read_to_end(&mut bytes)).is_ok() {
                *read += bytes.len() as u64;
            }
            let text = String::from_utf8_lossy(&bytes);
            if let Some(line) = text.lines().find(|line| line.contains("panicked")) {
                told.push(format!("a process of {name} has panicked: {line}"));
            }
        }
        told
    }

    /// Prints the ends of all outputs.
    pub(super) fn tell_outputs(&self) {
        for (name, path) in self.outputs() {
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(20)..] {
                eprintln!("{name}: {line}");
            }
        }
    }
}

/// Ends what the run has started, however it ends.
impl Drop for Bed {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().chain(&mut self.client) {
            // Both fail if it has ended already.
            let _ = child.process.kill();
            let _ = child.process.wait();
        }
        // Daemons of the service, which are no children of this process. One may be started while another one is killed.
        let directory = self.directory.path().to_owned();
        within(LONGEST, || {
            let left = processes_of(&directory);
            for pid in &left {
                if let Some(pid) = Pid::from_raw(*pid) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            left.is_empty()
        });
    }
}

/// Ends a child by the end of its standard input.
fn end(mut child: Child, longest: Duration, violated: &dyn Fn(&str)) {
    drop(child.process.stdin.take());
    let mut status = None;
    let has_ended = within(longest, || {
        status = child.process.try_wait().ok().flatten();
        status.is_some()
    });
    if !has_ended {
        violated(&format!("{} still runs after {longest:?}", child.name));
        // Both fail if it has ended meanwhile.
        let _ = child.process.kill();
        let _ = child.process.wait();
    } else if !status.is_some_and(|status| status.success()) {
        violated(&format!("{} ended with {status:?}", child.name));
    }
}

/// Waits until `is_so`, at most so long, and returns whether it is.
pub(super) fn within(longest: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + longest;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Returns the processes whose command line names the directory.
fn processes_of(directory: &Path) -> Vec<i32> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_other = |pid: u32| pid != own && runs(pid, directory);
    pids.filter(|pid| u32::try_from(*pid).is_ok_and(is_other)).collect()
}

/// Returns whether a process of the run in this directory has this number. Another program may have it by now, or a thread: `/proc` has
/// both under their numbers.
pub(super) fn runs(pid: u32, directory: &Path) -> bool {
    let name = directory.to_str().unwrap().as_bytes();
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    group.is_some_and(|group| group.trim().parse() == Ok(pid))
        && line.windows(name.len()).any(|word| word == name)
}

/// Returns whether a daemon of the service has this number.
pub(super) fn is_daemon(pid: u32, directory: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    runs(pid, directory) && line.split(|byte| *byte == 0).nth(2) == Some(b"service")
}
