//! A build server that runs programs for its clients: with their standard input, output and error, in their working directory.
//!
//! ```sh
//! cargo run --example build_server -- /tmp/build/daemon.sock /tmp/build/daemon.json
//! cargo run --example build_server -- --run /tmp/build/daemon.json ls -l
//! ```
//!
//! The client passes the four as descriptors, so no byte of them goes through the socket. It ends with the exit status of the program. The
//! directory of the socket must exist and have mode 700.

#[cfg(unix)]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    build::main()
}

#[cfg(not(unix))]
fn main() {
    println!("This system passes no descriptors.");
}

#[cfg(unix)]
mod build {
    use running_process::broker::backend_sdk::{Payload, ServeError, ServerRequest};
    use running_process::{BackendHandle, Endpoint, HandlerError, Server, read_daemon_identity_file};
    use std::error::Error;
    use std::fs::File;
    use std::io::{Write, stderr, stdin, stdout};
    use std::iter::successors;
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    use std::path::Path;
    use std::process::{Command, ExitCode};

    running_process::register_payload_protocol! {
        /// A request is a program and its arguments, each ended by a zero byte, with four descriptors: standard input, output and error,
        /// and the working directory. The response is the exit status as a decimal number.
        const RUN: u32 = 0xF0B1;
    }

    pub(crate) fn main() -> Result<ExitCode, Box<dyn Error>> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        match &arguments[..] {
            [run, identity_file, command @ ..] if run == "--run" => ask(Path::new(identity_file), command),
            [socket, identity_file] => serve(socket, identity_file),
            _ => {
                Err("usage: build_server SOCKET IDENTITY_FILE | --run IDENTITY_FILE PROGRAM [ARGUMENT...]"
                    .into())
            }
        }
    }

    fn serve(socket: &str, identity_file: &str) -> Result<ExitCode, Box<dyn Error>> {
        Server::bind(Endpoint::unix_socket("build", socket)?)?
            .identity_file(identity_file)
            .serve(RUN, run)
            .observe(|error: &ServeError| {
                let causes = successors(Some(error as &dyn Error), |&error| error.source());
                let texts: Vec<_> = causes.map(ToString::to_string).collect();
                let _closed = writeln!(stderr(), "{}", texts.join(": "));
            })
            .on_ready(|daemon| {
                let _closed = writeln!(stdout(), "ready: process {}", daemon.pid);
            })
            .stop_on_signals()?
            .run()?;
        Ok(ExitCode::SUCCESS)
    }

    /// Runs the program of a request. The descriptors are closed here once it has them.
    fn run(mut request: ServerRequest) -> Result<String, HandlerError> {
        let Ok([input, output, error, directory]) = <[OwnedFd; 4]>::try_from(request.take_descriptors())
        else {
            return Err("four descriptors are expected".into());
        };
        let words = str::from_utf8(request.payload())?;
        let mut words = words.split_terminator('\0');
        let program = words.next().ok_or("no program is named")?;
        let open = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
        let status = Command::new(program)
            .args(words)
            .current_dir(format!("{open}/{}", directory.as_raw_fd()))
            .stdin(input)
            .stdout(output)
            .stderr(error)
            .status()?;
        Ok(status.code().unwrap_or(1).to_string())
    }

    fn ask(identity_file: &Path, command: &[String]) -> Result<ExitCode, Box<dyn Error>> {
        let daemon = read_daemon_identity_file(identity_file).ok_or("no daemon runs")?;
        let handle = BackendHandle::probe_with_service("build", "1", &daemon.ipc_endpoint, &daemon)?;
        let words: String = command.iter().flat_map(|word| [word, "\0"]).collect();
        let descriptors = [
            stdin().as_fd().try_clone_to_owned()?,
            stdout().as_fd().try_clone_to_owned()?,
            stderr().as_fd().try_clone_to_owned()?,
            File::open(".")?.into(),
        ];
        let payload = Payload::from(words).with_descriptors(descriptors);
        let status = handle.into_client().request(RUN, payload)?.payload;
        Ok(ExitCode::from(str::from_utf8(&status)?.parse::<u8>()?))
    }
}
