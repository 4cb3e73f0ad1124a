//! Daemons and clients from the field, which other projects made on the published crate. The daemons are started as their users
//! start them, and proven by both drivers and by the command.

mod soldr;
mod wheel_client;
mod wheel_server;
mod zccache;

use super::support::front::running_process;
use super::support::skip::wheels;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_lifecycle::identity::ExeDigests;
use running_process::broker::backend_lifecycle::probe::probe_endpoint;
use running_process::broker::backend_lifecycle::verify::{
    ImageState, Policy, ProofLevel, StepKind, StepVerdict,
};
use running_process::broker::backend_sdk::{try_read_daemon_identity_file, write_daemon_identity_file};
use running_process::broker::protocol::Endpoint;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Deadline longer than any daemon here takes to start on a slow machine: only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs a program in a network namespace of its own.
const ISOLATE: [&str; 2] = ["unshare", "--net"];

/// The programs of the wheels, in a private home.
struct Field {
    programs: PathBuf,
    home: TempDir,
    /// Each daemon gets a network namespace, in which no sockets but its own are listed and asked.
    is_isolated: bool,
}

impl Field {
    /// Returns the installed programs; `None` if the wheels are not installed.
    fn installed() -> Option<Self> {
        let programs = wheels("INTEROP_FIELD")?;
        let [unshare, net] = ISOLATE;
        let made = Command::new(unshare).args([net, "true"]).output();
        let is_isolated = made.is_ok_and(|made| made.status.success());
        Some(Self { programs, home: tempfile::tempdir().unwrap(), is_isolated })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Returns a command of a wheel that keeps all its files below the private home.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.arg("--kill-after=1").arg(DEADLINE.as_secs().to_string());
        command.args(self.is_isolated.then_some(ISOLATE).iter().flatten()).arg(self.programs.join(program));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        for variable in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR"] {
            command.env(variable, self.home.path());
        }
        // Without it the daemon takes its home from the user database.
        command.env("ZCCACHE_CACHE_DIR", self.path("zccache"));
        command
    }

    /// Runs a program of a wheel to its end, which is a success, and returns its standard output.
    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns a command that runs a script of `interop/field`.
    fn script(&self, name: &str) -> Command {
        let mut command = self.command("python3");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../field").join(name));
        command
    }

    /// Waits until there is a file below the home whose name ends with `ending`, and returns it. There is only one.
    fn file(&self, ending: &str) -> PathBuf {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut found = Vec::new();
            find(self.home.path(), ending, &mut found);
            match found.len() {
                1 => return found.remove(0),
                0 if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                _ => panic!("{ending}: {found:?}"),
            }
        }
    }

    /// Checks that `ps` finds the daemon by its socket, and shows what it answers and that the kernel confirms it.
    #[track_caller]
    fn assert_listed(&self, daemon: &DaemonProcess) {
        if !self.is_isolated {
            eprintln!("skipped: this user cannot make a network namespace, and `ps --ask` asks every socket");
            return;
        }
        let until = Instant::now() + DEADLINE;
        let listed = loop {
            let listed = self.listed(daemon);
            // On a busy machine an answer may be late.
            if listed["verdict"] != "undecided" || Instant::now() > until {
                break listed;
            }
        };
        let shown = ["asked", "verdict", "proof", "leads_here"].map(|field| listed[field].clone());
        assert_eq!(shown, [json!(true), json!("yes"), json!("held"), json!(true)], "{listed:#}");
        assert_eq!(listed["identity"]["pid"], daemon.pid, "{listed:#}");
        assert_eq!(listed["owners"][0]["program"], json!(daemon.exe_path), "{listed:#}");
    }

    /// Returns what `ps` shows of the daemon's socket.
    #[track_caller]
    fn listed(&self, daemon: &DaemonProcess) -> Value {
        let mut ps = Command::new("nsenter");
        ps.args(["--target", &daemon.pid.to_string(), "--net"]).arg(running_process().get_program());
        let objects = self.ps(ps, &["--all", "--ask", "--deadline", "60s"]);
        let listed = objects.into_iter().find(|object| object["socket"] == daemon.ipc_endpoint.path);
        listed.unwrap_or_else(|| panic!("{} is not listed", daemon.ipc_endpoint.path))
    }

    /// Checks that `ps` shows the daemon among the services once its identity file is in the user's configuration directory.
    #[track_caller]
    fn assert_known(&self, daemon: &DaemonProcess, file: &Path) {
        let identities = self.path("configuration/running-process/identities");
        fs::create_dir_all(&identities).unwrap();
        fs::copy(file, identities.join("field.json")).unwrap();
        let [known] = &self.ps(running_process(), &["--deadline", "60s"])[..] else { panic!("one row") };
        let shown = ["label", "state", "pid"].map(|field| known[field].clone());
        assert_eq!(shown, [json!("field"), json!("live"), json!(daemon.pid)], "{known:#}");
        // It knows no status requests.
        assert_eq!(known["requests_in_flight"], Value::Null, "{known:#}");
    }

    /// Runs `ps`, by a command that ends with the program, and returns what it shows.
    #[track_caller]
    fn ps(&self, mut command: Command, arguments: &[&str]) -> Vec<Value> {
        command.env("RUNNING_PROCESS_DIR", self.path("services"));
        command.env("XDG_CONFIG_HOME", self.path("configuration"));
        let output = command.args(["ps", "--json"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let objects = String::from_utf8(output.stdout).unwrap();
        objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Probes `socket` and returns the daemon's answer.
    fn ask(&self, socket: &Path) -> DaemonProcess {
        let endpoint = Endpoint::unix_socket("unknown", socket.to_str().unwrap()).unwrap();
        probe_endpoint(&endpoint, Instant::now() + DEADLINE).unwrap().identity
    }
}

fn find(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    // Daemons make and remove files meanwhile.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, ending, found);
        } else if path.as_os_str().to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

/// Ends every process that runs a program below the private home.
impl Drop for Field {
    fn drop(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let running: Vec<_> = fs::read_dir("/proc")
                .into_iter()
                .flatten()
                .flatten()
                .filter(|process| {
                    fs::read_link(process.path().join("exe"))
                        .is_ok_and(|exe| exe.starts_with(self.home.path()))
                })
                .filter_map(|process| process.file_name().into_string().ok())
                .collect();
            if running.is_empty() || Instant::now() > deadline {
                return;
            }
            let _ended_meanwhile = Command::new("kill").args(["-KILL", "--"]).args(&running).status();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn policies() -> [Policy; 2] {
    [Policy::default(), Policy::lenient()]
}

/// Checks that both drivers prove the daemon by both policies, and that the command does so from an identity file.
#[track_caller]
fn assert_proven(expected: &DaemonProcess, file: &Path) -> BackendHandle {
    let deadline = || Instant::now() + DEADLINE;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for policy in policies() {
        let blocking = BackendHandle::verify(expected, policy.clone(), deadline()).unwrap();
        let on_tokio =
            runtime.block_on(BackendHandle::verify_async(expected, policy.clone(), deadline())).unwrap();
        for handle in [blocking, on_tokio] {
            let proof = handle.proof();
            assert_eq!((proof.image, proof.with_origin), (ImageState::Unchanged, false), "{proof:#?}");
            assert!(proof.level >= ProofLevel::Named, "{proof:#?}");
            let image = proof.steps.iter().find(|step| step.kind == StepKind::Image).unwrap();
            assert_eq!(image.verdict, StepVerdict::Proven);
            assert!(image.evidence.starts_with("blake3:"), "{}", image.evidence);
            handle.connect().unwrap();
        }
    }
    for policy in ["default", "lenient"] {
        let mut probe = running_process();
        let output =
            probe.arg("probe").arg(file).args(["--policy", policy, "--deadline", "60s"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("the daemon in the identity file answers"), "{text}");
    }
    BackendHandle::probe_with_service("field", "1", &expected.ipc_endpoint, expected).unwrap()
}

/// Waits until the handle tells that its daemon has ended.
#[track_caller]
fn assert_ends(handle: &BackendHandle) {
    let deadline = Instant::now() + DEADLINE;
    while handle.is_alive() {
        assert!(Instant::now() < deadline, "the daemon still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Checks that a daemon which has ended is found to be gone, by its handle and by its identity file.
#[track_caller]
fn assert_ended(handle: &BackendHandle, file: &Path) {
    assert!(!handle.is_alive());
    let output = running_process().arg("probe").arg(file).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// Checks that an altered digest is not taken for an absent one.
fn assert_altered_is_refused(expected: &DaemonProcess) {
    let mut altered = expected.clone();
    altered.exe_digests = ExeDigests::Blake3([9; 32]);
    for policy in policies() {
        assert!(BackendHandle::verify(&altered, policy, Instant::now() + DEADLINE).is_err());
    }
}

/// Checks that the daemon's file has zeros in the field of the older digest.
fn assert_zeros_in(file: &Path) {
    let object: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(object["legacy_exe_sha256"], json!(vec![0; 32]), "{object}");
}
