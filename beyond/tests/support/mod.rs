//! The processes of a test, each in a directory of its own, and none left behind.

use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::{AsyncFrameClient, try_read_daemon_identity_file};
use std::error::Error;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

pub(crate) const WORK: u32 = 0xF00D;

/// The time for anything that must happen on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Returns the outcome of `future`, which must come in time.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("nothing happened for two minutes")
}

/// A process that is killed when the test is over.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> io::Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of NATS and a daemon.
pub(crate) struct Site {
    directory: TempDir,
    nats: String,
    _processes: [Process; 2],
}

impl Site {
    /// Starts both; returns `None`, and says so, without a program `nats-server`.
    pub(crate) async fn start() -> Result<Option<Self>, Failure> {
        let directory = tempfile::tempdir()?;
        let mut server = Command::new("nats-server");
        // Port -1 is any free one, which the server writes to a file.
        server.args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"]).arg(directory.path());
        server.stdout(Stdio::null()).stderr(Stdio::null());
        let server = match Process::start(&mut server) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                println!("skipped: there is no program nats-server");
                return Ok(None);
            }
            server => server?,
        };
        let ports = directory.path().join(format!("nats-server_{}.ports", server.0.id()));
        let nats = until(|| url_in(&ports)).await?;
        let daemon = Process::start(
            Command::new(env!("CARGO_BIN_EXE_daemon"))
                .arg(directory.path().join("socket"))
                .arg(directory.path().join("identity.json"))
                .arg(&nats),
        )?;
        Ok(Some(Self { directory, nats, _processes: [server, daemon] }))
    }

    /// Starts a worker that takes all requests of a test, and waits until requests reach it.
    pub(crate) async fn worker(&self, name: &str) -> Result<Worker, Failure> {
        self.worker_of(name, 256).await
    }

    /// Starts a worker that takes `most` requests at once.
    pub(crate) async fn worker_of(&self, name: &str, most: usize) -> Result<Worker, Failure> {
        let most = most.to_string();
        let mut process = Process::start(
            Command::new(env!("CARGO_BIN_EXE_worker"))
                .args([&self.nats, name, most.as_str()])
                .stdout(Stdio::piped()),
        )?;
        let output = process.0.stdout.take().ok_or("no output")?;
        let said = Arc::new(Said::default());
        thread::spawn({
            let said = Arc::clone(&said);
            move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    said.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    said.more.notify_waiters();
                }
            }
        });
        let worker = Worker { process, said };
        worker.wait_for("ready").await;
        Ok(worker)
    }

    /// Proves the daemon, and returns a client on the proven connection.
    pub(crate) async fn client(&self) -> Result<AsyncFrameClient, Failure> {
        let path = self.directory.path().join("identity.json");
        let daemon = until(|| try_read_daemon_identity_file(&path)).await?;
        let deadline = Instant::now() + PATIENCE;
        let handle =
            BackendHandle::probe_deadline_async("work", "1.0.0", &daemon.ipc_endpoint, &daemon, deadline)
                .await?;
        Ok(handle.into_async_client()?)
    }
}

#[derive(Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    more: Notify,
}

/// A worker and the lines that it has printed.
pub(crate) struct Worker {
    process: Process,
    said: Arc<Said>,
}

impl Worker {
    /// Returns the number of lines that begin so.
    pub(crate) fn count(&self, start: &str) -> usize {
        let lines = self.said.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Waits until the worker has printed a line that begins so.
    pub(crate) async fn wait_for(&self, start: &str) {
        within(async {
            loop {
                let mut more = std::pin::pin!(self.said.more.notified());
                more.as_mut().enable();
                if self.count(start) > 0 {
                    return;
                }
                more.await;
            }
        })
        .await;
    }

    pub(crate) fn kill(&mut self) {
        self.process.0.kill().expect("the worker runs");
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) -> Result<(), Failure> {
        let status = Command::new("kill").arg(self.process.0.id().to_string()).status()?;
        if status.success() { Ok(()) } else { Err("the worker has ended".into()) }
    }

    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        until(|| self.process.0.try_wait()).await
    }
}

/// Sends `count` requests at once, each of which takes `milliseconds`, and returns the answers, which are those of their requests.
pub(crate) async fn ask_all(
    client: &AsyncFrameClient,
    count: usize,
    milliseconds: &str,
) -> Result<Vec<String>, Failure> {
    let asked: Vec<_> = (0..count)
        .map(|number| {
            let (client, request) = (client.clone(), format!("{milliseconds} text-{number}"));
            tokio::spawn(async move { client.request(WORK, request.into_bytes()).await })
        })
        .collect();
    let mut answers = Vec::new();
    for (number, answer) in asked.into_iter().enumerate() {
        let answer = String::from_utf8(within(answer).await??.payload)?;
        assert_eq!(answer.split_once(' ').map(|(_, text)| text), Some(format!("text-{number}").as_str()));
        answers.push(answer);
    }
    Ok(answers)
}

/// Returns the address for clients in the file of ports, once it is there and complete.
fn url_in(ports: &Path) -> io::Result<Option<String>> {
    let ports = match std::fs::read(ports) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        ports => ports?,
    };
    let ports = serde_json::from_slice::<serde_json::Value>(&ports);
    Ok(ports.ok().and_then(|ports| Some(ports["nats"][0].as_str()?.to_owned())))
}

/// Asks `find` until it has found something: files of other processes have no event here.
async fn until<T, E>(mut find: impl FnMut() -> Result<Option<T>, E>) -> Result<T, E> {
    within(async {
        loop {
            if let Some(found) = find()? {
                return Ok(found);
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}
