//! The end of a service's daemon, in one process.

use running_process::broker::service::{Deadline, ServiceState, Stopped};
use running_process::{Server, Service};
use std::time::Duration;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// Returns a server of `service` with a handler that pool threads run.
fn server(service: &Service) -> Server {
    Server::for_service(service).unwrap().serve(0xF00D, |request| {
        std::thread::sleep(Duration::from_millis(1));
        Ok(request.payload().to_vec())
    })
}

#[test]
fn the_place_of_a_service_is_free_once_its_server_has_ended() {
    let root = tempfile::tempdir().unwrap();
    let service = Service::new("ends").unwrap().below(root.path().join("root"));
    for _ in 0..50 {
        let server = server(&service);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let server = server.on_ready(move |_| ready.send(()).unwrap());
        let running = server.start().unwrap();
        is_ready.recv().unwrap();
        let ServiceState::Live(daemon) = service.find(soon()).unwrap() else { panic!("it serves") };
        let mut client = daemon.into_client();
        assert_eq!(client.request(0xF00D, b"hello".to_vec()).unwrap().payload, b"hello");
        drop(client);
        running.stop_handle().stop();
        running.wait().unwrap();
        assert!(matches!(service.find(soon()).unwrap(), ServiceState::Absent));
    }
    assert_eq!(service.stop(soon()).unwrap(), Stopped::NotRunning);
    let directory = service.directory().unwrap();
    let mut left: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lock", "starts.json"]);
}

#[test]
fn a_handler_that_goes_on_keeps_the_place() {
    let root = tempfile::tempdir().unwrap();
    let service = Service::new("late").unwrap().below(root.path().join("root"));
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let (began, has_begun) = std::sync::mpsc::channel();
    let (gone, began) = (std::sync::Mutex::new(gone), std::sync::Mutex::new(began));
    let config = running_process::broker::backend_sdk::ServerConfig::default()
        .drain_timeout(Duration::from_millis(50));
    let server = Server::for_service(&service).unwrap().config(config).serve(0xF00D, move |_| {
        began.lock().unwrap().send(()).unwrap();
        let _ended = gone.lock().unwrap().recv();
        Ok(Vec::new())
    });
    let (ready, is_ready) = std::sync::mpsc::channel();
    let running = server.on_ready(move |_| ready.send(()).unwrap()).start().unwrap();
    is_ready.recv().unwrap();
    let ServiceState::Live(daemon) = service.find(soon()).unwrap() else { panic!("it serves") };
    let client = std::thread::spawn(move || daemon.into_client().request(0xF00D, Vec::new()).is_err());
    has_begun.recv().unwrap();
    running.stop_handle().stop();
    running.wait().unwrap_err();
    assert!(client.join().unwrap(), "the request is cancelled");
    assert!(Server::for_service(&service).is_err(), "a handler of the daemon still runs");
    drop(go);
    // The thread of the handler gives the place up when it ends.
    let began = std::time::Instant::now();
    while Server::for_service(&service).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the place is not free");
        std::thread::yield_now();
    }
}

#[test]
fn a_server_that_is_dropped_gives_the_place_up_once_its_connections_have_ended() {
    let root = tempfile::tempdir().unwrap();
    let service = Service::new("dropped").unwrap().below(root.path().join("root"));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let running = server(&service).on_ready(move |_| ready.send(()).unwrap()).start().unwrap();
    is_ready.recv().unwrap();
    drop(running);
    let began = std::time::Instant::now();
    while Server::for_service(&service).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the place is not free");
        std::thread::yield_now();
    }
}
