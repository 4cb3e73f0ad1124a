use crate::script::Script;
use crate::stream::cut;
use resp_cache::{Next, Session, Store, execute_payload};
use std::time::{Duration, Instant};

/// Asserts that a session of RESP gives the same replies and consumes the same bytes, however they are cut.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let cuts = script.bytes();
    let bytes = script.rest();
    let now = Instant::now();
    let whole = replies(&[bytes], now);
    let pieces = replies(&cut(bytes, cuts), now);
    assert_eq!((whole.1, whole.2), (pieces.1, pieces.2));
    // The order of `KEYS` is that of a hash table.
    let (mut whole, mut pieces) = (whole.0, pieces.0);
    if bytes.windows(4).any(|word| word.eq_ignore_ascii_case(b"keys")) {
        whole.sort_unstable();
        pieces.sort_unstable();
    }
    assert_eq!(whole, pieces);
    let reply = execute_payload(&mut Store::new(now), bytes, now);
    assert!(reply.ends_with(b"\r\n"));
}

/// Returns the replies, the number of bytes consumed, and whether the session closed the connection.
fn replies(reads: &[&[u8]], mut now: Instant) -> (Vec<u8>, usize, bool) {
    let (mut store, mut buffer, mut out, mut consumed) = (Store::new(now), Vec::new(), Vec::new(), 0);
    let mut session = Session::open(&mut store);
    for read in reads {
        buffer.extend_from_slice(read);
        loop {
            let outcome = session.receive(&mut store, &buffer, now, &mut out);
            assert!(outcome.consumed <= buffer.len());
            consumed += outcome.consumed;
            buffer.drain(..outcome.consumed);
            match outcome.next {
                Next::Read => break,
                Next::Resume => {}
                Next::Close => return (out, consumed, true),
            }
        }
    }
    now += Duration::from_secs(1);
    session.receive(&mut store, &buffer, now, &mut out);
    session.close(&mut store);
    (out, consumed, false)
}
