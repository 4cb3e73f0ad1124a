//! A legacy connection taken apart, which only the blocking server offers.

use crate::daemon::{Blocking, Daemon};
use crate::support::{TestServer, needs_eight_bytes, next, read, read_to_end, write};
use running_process::broker::protocol::ENVELOPE_VERSION;
use std::io::{Read, Write};
use std::sync::mpsc;

#[test]
fn a_connection_is_taken_apart_into_its_unread_bytes_and_its_stream() {
    let (report, parts) = mpsc::channel();
    let server = TestServer::<Blocking>::start(|server| {
        server.legacy(needs_eight_bytes, move |connection| {
            let mut connection = connection.into_connection();
            let mut start = [0; 3];
            connection.read_exact(&mut start).unwrap();
            assert_eq!(connection.buffered()[..5], [4, 5, 6, 7, 0xff]);
            let (rest, mut stream) = connection.into_parts().unwrap();
            stream.write_all(b"!").unwrap();
            report.send((start, rest, stream)).unwrap();
        })
    });
    let connection = server.connect();
    for byte in [ENVELOPE_VERSION, 2, 3, 4, 5, 6, 7, 0xff] {
        write(&connection, &[byte]);
    }
    let (start, rest, stream) = next(&parts);
    assert_eq!((start, &rest[..]), ([1, 2, 3], &[4, 5, 6, 7, 0xff][..]));
    // The handler has returned, and the connection lasts as long as its stream.
    assert_eq!(read(&connection, 1), b"!");
    write(&connection, b"later");
    assert_eq!(read(&stream, 5), b"later");
    drop(stream);
    assert_eq!(read_to_end(&connection), b"");
}
