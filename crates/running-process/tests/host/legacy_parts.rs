//! A legacy connection taken apart, which is possible where no runtime holds it.

use crate::support::{Running, needs_eight_bytes, next, read, read_to_end, write};
use running_process::broker::protocol::ENVELOPE_VERSION;
use std::io::{Read, Write};
use std::sync::mpsc;

#[test]
fn the_parts_are_the_bytes_not_yet_read_and_the_connection_behind_them() {
    let (report, parts) = mpsc::channel();
    let server = Running::start(|server| {
        server.legacy(needs_eight_bytes, move |connection| {
            let mut connection = connection.on_thread();
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
    // The handler has returned, and the connection belongs to whoever holds its stream.
    assert_eq!(read(&connection, 1), b"!");
    write(&connection, b"later");
    assert_eq!(read(&stream, 5), b"later");
    drop(stream);
    assert_eq!(read_to_end(&connection), b"");
}
