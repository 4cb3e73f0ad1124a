//! The genuine daemon.

use crate::impostor::{Answers, answer_all, end_with_stdin, listener_from_stdin, replace_socket};
use crate::process_state::{state, write_own_identity};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{
    Server, try_read_daemon_identity_file, write_daemon_identity_file,
};
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::TOKEN;
use running_process_acceptance::wire::SHOUT;
use rustix::fs::{MemfdFlags, memfd_create};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Answers every request with its token and the request.
pub(crate) fn serve(socket: &str, identity_file: &Path, token: Option<&str>) {
    let server = Server::bind(Endpoint::unix_socket("adversary", socket).unwrap()).unwrap();
    let server = answering(server, identity_file, token);
    let stop = server.stop_handle();
    std::thread::spawn(move || {
        // Waits for the end of the input.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.stop();
    });
    server.run().unwrap();
}

/// Runs the same daemon on another thread, once the first thread has ended.
#[allow(unsafe_code)]
pub(crate) fn serve_without_first_thread(socket: &str, identity_file: &Path) {
    let (socket, identity_file) = (socket.to_owned(), identity_file.to_owned());
    std::thread::spawn(move || {
        while state("/proc/self/stat") != Some('Z') {
            std::thread::yield_now();
        }
        serve(&socket, &identity_file, None);
        std::process::exit(0);
    });
    // SAFETY: the call ends this thread and does not return, so nothing on its stack is used again.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Runs the same daemon from a copy of its program in memory, which has no name on disk.
pub(crate) fn serve_from_memory(socket: &str, identity_file: &Path) {
    let memory = memfd_create("daemon", MemfdFlags::CLOEXEC).unwrap();
    let mut copy = std::fs::File::from(memory);
    copy.write_all(&std::fs::read("/proc/self/exe").unwrap()).unwrap();
    // A second descriptor of the file, which is not open for writing.
    let image = format!("/proc/self/fd/{}", copy.as_raw_fd());
    let image = std::fs::File::open(image).unwrap();
    drop(copy);
    let program = format!("/proc/self/fd/{}", image.as_raw_fd());
    panic!("{}", Command::new(program).arg("genuine").arg(socket).arg(identity_file).exec());
}

/// Runs a daemon that prints each request, and never answers `stall`.
pub(crate) fn serve_aloud(socket: &str, identity_file: &Path) {
    let server = Server::bind(Endpoint::unix_socket("adversary", socket).unwrap()).unwrap();
    server
        .identity_file(identity_file)
        .serve(SHOUT, |request| {
            let asked = String::from_utf8_lossy(request.payload()).into_owned();
            println!("{asked}");
            if asked == "stall" {
                loop {
                    std::thread::park();
                }
            }
            Ok(asked.to_uppercase().into_bytes())
        })
        .on_ready(|_| println!("ready"))
        .run()
        .unwrap();
}

/// Runs the genuine daemon on the socket that a service manager passed.
pub(crate) fn serve_passed(socket: &str, identity_file: &Path) {
    let server = Server::bind_inherited(Endpoint::unix_socket("adversary", socket).unwrap()).unwrap();
    answering(server, identity_file, None).run().unwrap();
}

fn answering(server: Server, identity_file: &Path, token: Option<&str>) -> Server {
    let token = token.unwrap_or(TOKEN).to_owned();
    server
        .identity_file(identity_file)
        // The prober may be another user, and sends a request afterwards.
        .authorize(|_| Ok(()))
        .serve(SHOUT, move |request| Ok([token.as_bytes(), b" ", request.payload()].concat()))
        .on_ready(|_| println!("ready"))
}

/// Runs a daemon that claims the digests in the identity file for its executable, and writes that claim into the identity file.
pub(crate) fn serve_with_recorded_digests(socket: &str, identity_file: &Path) {
    let recorded = try_read_daemon_identity_file(identity_file).unwrap().unwrap();
    let listener = replace_socket(Path::new(socket));
    let endpoint = Endpoint::unix_socket("adversary", socket).unwrap();
    let mut identity = DaemonProcess::current_process(endpoint, None).unwrap();
    identity.exe_digests = recorded.exe_digests;
    write_daemon_identity_file(identity_file, &identity).unwrap();
    end_with_stdin(&listener);
    println!("ready");
    answer_all(&listener, &Answers { identity: Box::new(move || identity.clone()), token: "evil" });
}

/// Runs a daemon on the socket that is its standard input; its identity file does not tell so.
pub(crate) fn serve_inherited(socket: &str, identity_file: &Path) {
    let listener = listener_from_stdin();
    let identity = write_own_identity(socket, identity_file);
    println!("ready");
    let answers = Answers { identity: Box::new(move || identity.clone()), token: TOKEN };
    answer_all(&listener, &answers);
}
