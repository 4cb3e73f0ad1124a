//! Connections that the daemon passes to a blocking server, which accepts some by itself as well.

use crate::support::{PATIENCE, TempEndpoint, eventually};
use running_process::Server;
use running_process::broker::backend_sdk::{FrameClient, FrameClientError, ServerConfig};
use running_process::broker::protocol::RefusalReason;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const ECHO: u32 = 0xF00D;

#[test]
fn no_more_connections_are_served_than_allowed_wherever_they_come_from() {
    let temp = TempEndpoint::new();
    let server = Server::bind(temp.endpoint.clone())
        .unwrap()
        .config(ServerConfig::default().max_connections(1))
        .serve(ECHO, |request| Ok(request.into_payload()));
    let (stats, running) = (server.stats(), server.start().unwrap());
    for round in 0..400 {
        let (passed, connection) = UnixStream::pair().unwrap();
        let accepted = FrameClient::connect(&temp.endpoint).unwrap();
        let at_once = Instant::now() + Duration::from_micros(round % 100);
        while Instant::now() < at_once {
            std::hint::spin_loop();
        }
        running.serve_connection(connection).unwrap();
        let mut answers = 0;
        let mut clients = [accepted, FrameClient::from_stream(passed)];
        for client in &mut clients {
            client.set_timeout(Some(PATIENCE));
            match client.request(ECHO, b"x") {
                Ok(_) => answers += 1,
                Err(FrameClientError::Refused(refusal)) => {
                    assert_eq!(refusal.reason(), RefusalReason::Overloaded);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(answers, 1, "in round {round}");
        drop(clients);
        eventually(|| (stats.snapshot().connections_open == 0).then_some(()));
    }
    running.stop_handle().stop();
    running.wait().unwrap();
}
