//! Compares the cost of redis-benchmark directly, through `front`, and through a minimal relay by splice(2).
//!
//! `cargo run --release -p running-process-cli --example front_cost [ROUNDS [redis-benchmark ARGUMENTS..]]`
//!
//! Needs redis-server and redis-benchmark, and the command in the same profile (`cargo build --release`). Each round runs all three, in
//! turn, so that other work on the machine meets all of them. Only the ratios mean anything.

#[cfg(target_os = "linux")]
mod relay;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("only Linux has splice(2)");
}

#[cfg(target_os = "linux")]
mod linux {
    use super::relay;
    use std::error::Error;
    use std::ffi::OsStr;
    use std::fmt::Write;
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    const DEFAULT_ROUNDS: usize = 7;
    const DEFAULT_LOAD: [&str; 6] = ["-n", "50000", "-c", "50", "-t", "get,set"];
    /// Time for a process to listen.
    const START_TIMEOUT: Duration = Duration::from_secs(30);

    type Result<T> = std::result::Result<T, Box<dyn Error>>;

    pub(super) fn main() -> Result<()> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if let [mode, from, to] = &*arguments
            && mode == "relay"
        {
            return Ok(relay::run(Path::new(from), Path::new(to))?);
        }
        let (rounds, load) = match &*arguments {
            [] => (DEFAULT_ROUNDS, Vec::new()),
            [rounds, load @ ..] => (rounds.parse()?, load.to_vec()),
        };
        let load = if load.is_empty() { DEFAULT_LOAD.map(str::to_owned).to_vec() } else { load };
        measure(rounds, &load)
    }

    fn measure(rounds: usize, load: &[String]) -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        let (direct, behind, relayed) = (path("direct"), path("behind"), path("relayed"));
        let file = path("redis.toml");
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let redis = |socket: &Path| {
            format!(r#"["redis-server", "--unixsocket", {}, "--port", "0", "--save", ""]"#, quoted(socket))
        };
        let mut text = String::new();
        writeln!(text, "name = \"redis\"\n[front]\ncommand = {}", redis(&behind))?;
        writeln!(text, "connect = \"unix:{}\"", behind.display())?;
        std::fs::write(&file, text)?;
        let root = path("services");
        // The daemon is the same in all three cases: the one behind the front.
        let _front = Process::start(
            Command::new(command()?)
                .args(["front".as_ref(), "--service".as_ref(), file.as_os_str()])
                .env("RUNNING_PROCESS_DIR", &root),
        )?;
        let front = root.join("redis/socket");
        // The socket of the front is there before it serves.
        listens(&behind)?;
        std::os::unix::fs::symlink(&behind, &direct)?;
        let _relay = Process::start(Command::new(std::env::current_exe()?).args([
            "relay".as_ref(),
            relayed.as_os_str(),
            behind.as_os_str(),
        ]))?;
        listens(&relayed)?;

        let ways = [("direct", &direct), ("minimal relay", &relayed), ("front", &front)];
        let mut times = ways.map(|_| Vec::new());
        for round in 0..=rounds {
            for (times, (_, socket)) in times.iter_mut().zip(&ways) {
                let took = benchmark(socket.as_os_str(), load)?;
                // The first round warms up.
                if round > 0 {
                    times.push(took);
                }
            }
        }
        let ratios = |a: &[f64], b: &[f64]| median(a.iter().zip(b).map(|(a, b)| a / b).collect());
        let [direct, relay, front] = &times;
        println!("redis-benchmark {}: medians of {rounds} rounds", load.join(" "));
        for ((name, _), times) in ways.iter().zip(&times) {
            println!(
                "  {name:<14} {:7.3} s   {:.2} times direct",
                median(times.clone()),
                ratios(times, direct)
            );
        }
        println!("  front / minimal relay: {:.2}", ratios(front, relay));
        Ok(())
    }

    /// Returns the path of the command, which was built in the same profile as this example.
    fn command() -> Result<std::path::PathBuf> {
        let example = std::env::current_exe()?;
        let profile = example.parent().and_then(Path::parent).ok_or("this example has another place")?;
        Ok(profile.join("running-process"))
    }

    fn benchmark(socket: &OsStr, load: &[String]) -> Result<f64> {
        let began = Instant::now();
        let output =
            Command::new("redis-benchmark").arg("-s").arg(socket).args(["-q"]).args(load).output()?;
        if !output.status.success() || !output.stderr.is_empty() {
            return Err(format!("redis-benchmark failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(began.elapsed().as_secs_f64())
    }

    fn median(mut times: Vec<f64>) -> f64 {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn listens(socket: &Path) -> Result<()> {
        let began = Instant::now();
        while UnixStream::connect(socket).is_err() {
            if began.elapsed() > START_TIMEOUT {
                return Err(format!("nothing listens at {}", socket.display()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// A process that ends with this value.
    struct Process(Child);

    impl Process {
        fn start(command: &mut Command) -> Result<Self> {
            let output = Stdio::null;
            Ok(Self(command.stdin(output()).stdout(output()).stderr(output()).spawn()?))
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            // A front that is killed takes its daemon with it.
            let _ended = self.0.kill().and_then(|()| self.0.wait());
        }
    }
}
