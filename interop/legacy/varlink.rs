//! Varlink as the legacy wire: the crate varlink serves each connection that the library hands over, in a thread.
//!
//! `legacy-varlink SOCKET IDENTITY_FILE` serves until standard input ends.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, stdin};

use running_process::broker::backend_sdk::LegacyConnection;
use running_process::{Endpoint, LegacyClassification, Server};
use serde_json::json;
use varlink::{Call, CallTrait, ConnectionHandler, Interface, Reply, VarlinkService};

running_process::register_payload_protocol! {
    /// A response is its request after `pong:`, as those of the peers.
    const PING: u32 = 0x7A63;
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, identity_file] = &arguments[..] else {
        return Err("usage: legacy-varlink SOCKET FILE".into());
    };
    let service = VarlinkService::new("interop", "legacy", "1", "file:legacy", vec![Box::new(Count)]);
    let server = Server::bind(Endpoint::unix_socket("legacy", socket)?)?
        .identity_file(identity_file)
        .serve_inline(PING, |request| Ok([b"pong:", request.payload()].concat()))
        .legacy(
            |_| LegacyClassification::NotLegacy,
            move |connection| {
                if let Err(error) = varlink(&service, connection) {
                    eprintln!("a connection failed: {error}");
                }
            },
        )
        .on_ready(|_| println!("ready"));
    let stop = server.stop_handle();
    std::thread::spawn(move || {
        // An error means the same as the end: the other end is closed.
        let _end = stdin().read_to_end(&mut Vec::new());
        stop.stop();
    });
    Ok(server.run()?)
}

/// Serves one connection until it ends.
fn varlink(service: &VarlinkService, connection: LegacyConnection) -> Result<(), Box<dyn Error>> {
    let (start, mut writer) = connection.into_parts()?;
    let mut reader = BufReader::new((&start[..]).chain(writer.try_clone()?));
    service.handle(&mut reader, &mut writer, None)?;
    Ok(())
}

/// An interface with a method of many replies and an error.
struct Count;

impl Interface for Count {
    fn get_description(&self) -> &'static str {
        "# Counts.\ninterface interop.count\nmethod To(last: int) -> (number: int)\nerror TooFar (last: int)\n"
    }

    fn get_name(&self) -> &'static str {
        "interop.count"
    }

    fn call_upgraded(&self, _call: &mut Call<'_>, _reader: &mut dyn BufRead) -> varlink::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Replies with each number up to the last one, or with that alone if the client wants no more.
    fn call(&self, call: &mut Call<'_>) -> varlink::Result<()> {
        let request = call.get_request();
        let method = request.map(|request| request.method.to_string()).unwrap_or_default();
        let parameters = request.and_then(|request| request.parameters.clone()).unwrap_or_default();
        match (&*method, parameters["last"].as_u64()) {
            ("interop.count.To", Some(last)) if last > 1000 => {
                call.reply_struct(Reply::error("interop.count.TooFar", Some(json!({ "last": last }))))
            }
            ("interop.count.To", Some(last)) => {
                let first = if call.wants_more() { 1 } else { last };
                for number in first..=last {
                    call.set_continues(number < last);
                    call.reply_struct(Reply::parameters(Some(json!({ "number": number }))))?;
                }
                Ok(())
            }
            ("interop.count.To", None) => call.reply_invalid_parameter("last".into()),
            _ => call.reply_method_not_found(method),
        }
    }
}
