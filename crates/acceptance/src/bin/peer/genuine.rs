//! The daemon that everybody else pretends to be.

use crate::hostile::state;
use crate::impostor::{Answers, converse, end_with_stdin, listener_from_stdin, take_over};
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
pub(crate) fn serve(socket: &str, record: &Path, token: Option<&str>) {
    let server = Server::bind(Endpoint::unix_socket("adversary", socket).unwrap()).unwrap();
    let server = answering(server, record, token);
    let stop = server.stop_handle();
    std::thread::spawn(move || {
        // Nothing is expected but the end.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.stop();
    });
    server.run().unwrap();
}

/// Runs the same daemon on another thread, once the first thread has ended.
#[allow(unsafe_code)]
pub(crate) fn serve_without_first_thread(socket: &str, record: &Path) {
    let (socket, record) = (socket.to_owned(), record.to_owned());
    std::thread::spawn(move || {
        while state("/proc/self/stat") != Some('Z') {
            std::thread::yield_now();
        }
        serve(&socket, &record, None);
        std::process::exit(0);
    });
    // SAFETY: the call ends this thread and does not return, so nothing on its stack is used again.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Runs the same daemon from a copy of its program in memory, which has no name on disk.
pub(crate) fn serve_from_memory(socket: &str, record: &Path) {
    let memory = memfd_create("daemon", MemfdFlags::CLOEXEC).unwrap();
    let mut copy = std::fs::File::from(memory);
    copy.write_all(&std::fs::read("/proc/self/exe").unwrap()).unwrap();
    // A second way to the file, which is not open for writing.
    let image = format!("/proc/self/fd/{}", copy.as_raw_fd());
    let image = std::fs::File::open(image).unwrap();
    drop(copy);
    let program = format!("/proc/self/fd/{}", image.as_raw_fd());
    panic!("{}", Command::new(program).arg("genuine").arg(socket).arg(record).exec());
}

/// A daemon that says what it is asked, and never answers `stall`.
pub(crate) fn serve_aloud(socket: &str, record: &Path) {
    let server = Server::bind(Endpoint::unix_socket("adversary", socket).unwrap()).unwrap();
    server
        .identity_file(record)
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

/// The daemon that everybody pretends to be, on the socket that a service manager passed.
pub(crate) fn serve_passed(socket: &str, record: &Path) {
    let server = Server::bind_inherited(Endpoint::unix_socket("adversary", socket).unwrap()).unwrap();
    answering(server, record, None).run().unwrap();
}

fn answering(server: Server, record: &Path, token: Option<&str>) -> Server {
    let token = token.unwrap_or(TOKEN).to_owned();
    server
        .identity_file(record)
        // Who proves it may be another user, and then asks.
        .authorize(|_| Ok(()))
        .serve(SHOUT, move |request| Ok([token.as_bytes(), b" ", request.payload()].concat()))
        .on_ready(|_| println!("ready"))
}

/// Runs a daemon that claims the digests in the record for its executable, and writes that claim into the record.
pub(crate) fn serve_with_recorded_digests(socket: &str, record: &Path) {
    let recorded = try_read_daemon_identity_file(record).unwrap().unwrap();
    let listener = take_over(Path::new(socket));
    let endpoint = Endpoint::unix_socket("adversary", socket).unwrap();
    let mut identity = DaemonProcess::current_process(endpoint, None).unwrap();
    identity.exe_digests = recorded.exe_digests;
    write_daemon_identity_file(record, &identity).unwrap();
    end_with_stdin(&listener);
    println!("ready");
    converse(&listener, &Answers { identity: Box::new(move || identity.clone()), token: "evil" });
}

/// The identity of this process, written to `record`.
pub(crate) fn record_this_process(socket: &str, record: &Path) -> DaemonProcess {
    let endpoint = Endpoint::unix_socket("adversary", socket).unwrap();
    let identity = DaemonProcess::current_process(endpoint, None).unwrap();
    write_daemon_identity_file(record, &identity).unwrap();
    identity
}

/// A daemon on the socket that is its standard input, whose record does not tell of that.
pub(crate) fn serve_inherited(socket: &str, record: &Path) {
    let listener = listener_from_stdin();
    let identity = record_this_process(socket, record);
    println!("ready");
    let answers = Answers { identity: Box::new(move || identity.clone()), token: TOKEN };
    converse(&listener, &answers);
}
