//! No descriptor is lost over many requests. `DESCRIPTOR_REQUESTS` is their number; the nightly run takes 100,000.

use super::client::Client;
use super::daemon::{Daemon, Driver, SERVED};
use super::{assert_open, cases, descriptor, open_descriptors};
use running_process::broker::backend_sdk::{Payload, RequestOptions};

cases! {
    no_descriptor_is_lost_over_many_requests
}

fn no_descriptor_is_lost_over_many_requests<D: Driver, C: Client>() {
    let requests = std::env::var("DESCRIPTOR_REQUESTS").map_or(1000, |count| count.parse().unwrap());
    let daemon = Daemon::start::<D>();
    let path = daemon.directory.path().join("artifact");
    std::fs::write(&path, b"artifact").unwrap();
    let file = format!("file {}", path.display());
    let mut client = C::connect(&daemon.endpoint);
    daemon.wait_for_connections(1);
    let before = open_descriptors();
    let two = || [b"a", b"b"].map(|content| descriptor(content));
    for number in 0..requests {
        match number % 5 {
            0 => assert_eq!(client.ask("echo", two()).unwrap().descriptors().len(), 2),
            1 => assert_eq!(client.ask("close", two()).unwrap().payload(), b"2"),
            2 => assert!(client.ask("unknown", two()).is_err()),
            3 => assert!(client.ask(&file, []).unwrap().is_file()),
            _ => {
                let payload = Payload::from("event").with_descriptors(two());
                client.stream(payload, &RequestOptions::new().with_max_descriptors(2)).unwrap();
                client.request(SERVED, "close".into()).unwrap();
            }
        }
        if number % 1000 == 0 {
            assert_open(before);
        }
    }
    assert_open(before);
}
