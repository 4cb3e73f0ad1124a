//! Servers in a process that can spawn no more threads.

#[cfg(target_os = "linux")]
use super::TestServer;
#[cfg(target_os = "linux")]
use crate::daemon::Daemon;
#[cfg(target_os = "linux")]
use crate::support::{
    SHOUT, frames, in_child_process, read_frames, read_to_end, request, soon, test_name, write,
};

#[test]
#[cfg(target_os = "linux")]
fn peers_are_answered_while_no_thread_can_be_spawned_and_served_later() {
    in_child_process(test_name!("in_a_process_of_its_own"), |_| {});
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "limits its whole process: run by another test"]
fn in_a_process_of_its_own() {
    use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
    use rustix::thread::set_thread_res_uid;

    // The limit does not hold for root. Threads that this thread spawns have its user.
    if geteuid().is_root() {
        let nobody = rustix::process::Uid::from_raw(65534);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
    }
    let unlimited = getrlimit(Resource::Nproc);
    let mut server = TestServer::start(|server| {
        server.serve_quickly(0xF00F, |request| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            Ok(request.payload().to_vec())
        })
    });
    let client = server.connect();
    write(&client, &request(SHOUT, 1, b"served"));
    assert_eq!(read_frames(&client, 1)[0].payload, b"SERVED");

    setrlimit(Resource::Nproc, Rlimit { current: Some(0), maximum: unlimited.maximum }).unwrap();
    assert!(std::thread::Builder::new().spawn(|| {}).is_err(), "a thread could be spawned");
    // More at once than there are idle threads.
    let requests: Vec<u8> = (1..=30).flat_map(|id| request(0xF00F, id, b"x")).collect();
    write(&client, &requests);
    let answers = read_frames(&client, 30);
    for answer in &answers {
        assert!(answer.payload == b"x" || told_to_come_again(answer), "{answer:?}");
    }
    // Each connection is answered or closed, also one that comes while earlier ones are open.
    let connections: Vec<_> = (0..10)
        .map(|_| {
            let connection = server.connect();
            // The server may have closed it already.
            let _ = connection.write_all_deadline(&request(SHOUT, 1, b"x"), Some(soon()));
            connection
        })
        .collect();
    for connection in connections {
        if cfg!(unix) {
            let _ = connection.shutdown_write();
        }
        for answer in frames(&read_to_end(&connection)) {
            assert!(answer.payload == b"X" || told_to_come_again(&answer), "{answer:?}");
        }
    }

    setrlimit(Resource::Nproc, unlimited).unwrap();
    // All connections are served at once, also one whose requests were refused.
    let clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for each in clients.iter().chain([&client]) {
        write(each, &requests);
    }
    for each in clients.iter().chain([&client]) {
        assert!(read_frames(each, 30).iter().all(|answer| answer.payload == b"x"));
    }
    drop((clients, client));
    server.wait_open(0);
    server.stop_and_join().unwrap();
}

/// Reports whether `answer` is the refusal of a request for which there is no thread.
#[cfg(target_os = "linux")]
fn told_to_come_again(answer: &running_process::broker::protocol::Frame) -> bool {
    use running_process::broker::protocol::{Refusal, RefusalReason};

    let refusal = Refusal::from_frame(&answer.borrowed());
    refusal.is_some_and(|refusal| refusal.reason() == RefusalReason::Overloaded && !refusal.may_have_run())
}
