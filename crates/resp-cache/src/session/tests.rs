//! Tests of whole connections, and of commands in frames.

mod golden;

use super::*;
use crate::store;
use proptest::prelude::*;
use std::time::Duration;

/// Sends `pieces` to a session on `store`; returns the replies and the last action.
fn converse(store: &mut Store, pieces: &[&[u8]], now: Instant) -> (Vec<u8>, Next) {
    let mut session = Session::open(store);
    let (mut buffer, mut out, mut next) = (Vec::new(), Vec::new(), Next::Read);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let outcome = session.receive(store, &buffer, now, &mut out);
            buffer.drain(..outcome.consumed);
            next = outcome.next;
            if next != Next::Resume {
                break;
            }
        }
        if next == Next::Close {
            break;
        }
    }
    session.close(store);
    (out, next)
}

/// Returns the replies of a new store to `input`.
fn replies(input: &[u8]) -> String {
    let now = Instant::now();
    converse(&mut Store::new(now), &[input], now).0.escape_ascii().to_string()
}

#[test]
fn replies_are_those_of_redis() {
    let now = Instant::now();
    for (request, reply) in golden::REDIS_5.iter().chain(golden::REDIS_7).chain(golden::REDIS_7_HELLO) {
        let mut store = Store::new(now);
        converse(&mut store, &[golden::SETUP], now);
        let (out, _) = converse(&mut store, &[request], now);
        assert_eq!(
            out.escape_ascii().to_string(),
            reply.escape_ascii().to_string(),
            "{}",
            request.escape_ascii()
        );
    }
}

#[test]
fn commands_are_described_as_redis_describes_them() {
    let all = replies(b"COMMAND\r\n");
    for description in golden::REDIS_5_COMMANDS {
        assert!(all.contains(&description.escape_ascii().to_string()), "{}", description.escape_ascii());
    }
    let count = all.matches("*6\\r\\n").count();
    assert_eq!(count, golden::REDIS_5_COMMANDS.len() + 5);
    assert!(all.starts_with(&format!("*{count}\\r\\n")));
    assert_eq!(replies(b"COMMAND COUNT\r\n"), format!(":{count}\\r\\n"));
    assert_eq!(replies(b"COMMAND INFO nosuch\r\n"), "*1\\r\\n$-1\\r\\n");
}

#[test]
fn empty_words_in_quotes_are_arguments() {
    assert_eq!(replies(b"SET k \"\"\r\nGET k\r\n"), "+OK\\r\\n$0\\r\\n\\r\\n");
}

#[test]
fn a_peer_that_quits_or_breaks_the_protocol_is_closed_after_its_replies() {
    let now = Instant::now();
    for input in [&b"PING\r\nQUIT\r\nPING\r\n"[..], b"PING\r\n*1\r\nPING\r\nPING\r\n"] {
        let (out, next) = converse(&mut Store::new(now), &[input], now);
        assert_eq!((out.split(|&byte| byte == b'\n').count(), next), (3, Next::Close));
    }
}

#[test]
fn many_replies_pause_the_session_until_they_are_written() {
    let now = Instant::now();
    let (mut store, value) = (Store::new(now), vec![b'v'; PAUSE_BYTES / 2]);
    store.set(b"k", &value, store::Condition::Always, store::Expiry::Never, now);
    let input = b"GET k\r\n".repeat(5);
    let mut session = Session::open(&mut store);
    let (mut start, mut seen) = (0, Vec::new());
    loop {
        let mut out = b"not written yet".to_vec();
        let outcome = session.receive(&mut store, &input[start..], now, &mut out);
        start += outcome.consumed;
        seen.push((outcome.consumed / 7, outcome.next));
        if outcome.next == Next::Read {
            break;
        }
    }
    assert_eq!(seen, [(2, Next::Resume), (2, Next::Resume), (1, Next::Read)]);
}

#[test]
fn every_command_sweeps_more_keys_than_it_can_add() {
    let now = Instant::now();
    let mut store = Store::new(now);
    converse(&mut store, &[&b"MSET a 1 b 1\r\n"[..]], now);
    for key in 0..100 {
        converse(&mut store, &[format!("SET {key} v PX 1\r\n").as_bytes()], now);
    }
    let later = now + Duration::from_millis(1);
    converse(&mut store, &[&b"PING\r\n".repeat(3)], later);
    assert_eq!(store.lifetimes(later).len(), 100 - 3 * SWEEP_KEYS);
    assert_eq!(converse(&mut store, &[b"DBSIZE\r\n"], later).0, b":2\r\n");
    assert_eq!(store.stats.expired_keys, 100);
}

#[test]
fn keys_returns_all_matches_in_any_order() {
    let keys = replies(b"MSET one 1 two 2 three 3\r\nKEYS t*\r\n");
    assert!(keys.starts_with("+OK\\r\\n*2\\r\\n$"), "{keys}");
    assert!(keys.contains("$3\\r\\ntwo\\r\\n") && keys.contains("$5\\r\\nthree\\r\\n"), "{keys}");
}

#[test]
fn settings_are_found_by_pattern_in_any_case() {
    let both = replies(b"CONFIG GET MAX*\r\n");
    assert_eq!(
        both,
        "*4\\r\\n$9\\r\\nmaxmemory\\r\\n$1\\r\\n0\\r\\n$16\\r\\nmaxmemory-policy\\r\\n$10\\r\\nnoeviction\\r\\n"
    );
    let limit = format!("$9\\r\\n{}\\r\\n", crate::resp::MAX_BULK_BYTES);
    assert!(replies(b"CONFIG GET proto-max-bulk-len\r\n").ends_with(&limit));
}

#[test]
fn info_reports_the_numbers_of_the_store() {
    let now = Instant::now();
    let mut store = Store::new(now);
    converse(&mut store, &[b"SET ab cde\r\nSET t v PX 30000\r\nGET ab\r\nGET missing\r\nnosuch\r\n"], now);
    let later = now + Duration::from_secs(10);
    let info = String::from_utf8(converse(&mut store, &[b"INFO\r\n"], later).0).expect("text");
    let (length, text) = info.split_once("\r\n").expect("a bulk string");
    assert_eq!(length, format!("${}", text.len() - 2));
    for line in [
        "# Server\r\nredis_version:5.",
        "uptime_in_seconds:10\r\n",
        "# Clients\r\nconnected_clients:1\r\n",
        "# Memory\r\nused_memory:7\r\n",
        "# Stats\r\ntotal_connections_received:2\r\ntotal_commands_processed:5\r\n",
        "keyspace_hits:1\r\nkeyspace_misses:1\r\n",
        "\r\n\r\n# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=20000\r\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let (one, _) = converse(&mut store, &[b"INFO Clients\r\n"], later);
    assert_eq!(one, b"$51\r\n# Clients\r\nconnected_clients:1\r\nblocked_clients:0\r\n\r\n");
}

#[test]
fn every_connection_has_its_own_id_and_name() {
    let now = Instant::now();
    let mut store = Store::new(now);
    let first = converse(&mut store, &[b"CLIENT ID\r\nCLIENT SETNAME me\r\n"], now).0;
    let second = converse(&mut store, &[b"CLIENT ID\r\nCLIENT GETNAME\r\n"], now).0;
    assert_eq!((&first[..], &second[..]), (&b":1\r\n+OK\r\n"[..], &b":2\r\n$-1\r\n"[..]));
    assert_eq!(store.stats.connected_clients, 0);
}

#[test]
fn a_frame_carries_exactly_one_command_and_an_inline_one_needs_no_line_end() {
    let now = Instant::now();
    let mut store = Store::new(now);
    for (payload, reply) in [
        (&b"SET k v"[..], &b"+OK\r\n"[..]),
        (b"GET k\r\n", b"$1\r\nv\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"$1\r\nv\r\n"),
        (b"QUIT", b"+OK\r\n"),
        (b"CLIENT ID", b":0\r\n"),
        (b"nosuch", b"-ERR unknown command `nosuch`, with args beginning with: \r\n"),
        (b"", b"-ERR the payload holds no command\r\n"),
        (b"\r\n", b"-ERR the payload holds no command\r\n"),
        (b"*0\r\n", b"-ERR the payload holds no command\r\n"),
        (b"DEL k\nDEL k", b"-ERR the command takes 6 of the payload's 11 bytes\r\n"),
        (b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n\n", b"-ERR the command takes 20 of the payload's 21 bytes\r\n"),
        (b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r", b"-ERR the payload ends inside its command\r\n"),
        (b"*1\r\nx", b"-ERR the payload ends inside its command\r\n"),
        (b"*x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"GET \"k", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"EXISTS k", b":1\r\n"),
    ] {
        let out = execute_payload(&mut store, payload, now);
        assert_eq!(
            out.escape_ascii().to_string(),
            reply.escape_ascii().to_string(),
            "{}",
            payload.escape_ascii()
        );
    }
}

/// Generates pipelines of recorded requests, some of them broken by random bytes.
fn pipeline() -> impl Strategy<Value = Vec<u8>> {
    let all = || golden::REDIS_5.iter().chain(golden::REDIS_7_HELLO);
    let recorded = (0..all().count())
        .prop_map(move |index| all().nth(index).map_or(Vec::new(), |entry| entry.0.to_vec()));
    let piece = prop_oneof![9 => recorded, 1 => proptest::collection::vec(any::<u8>(), 0..9)];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn cutting_the_input_anywhere_gives_the_same_replies(input in pipeline(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let now = Instant::now();
        let whole = converse(&mut Store::new(now), &[&input], now);
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&whole, &converse(&mut Store::new(now), if input.is_empty() { &[&[]] } else { &bytes }, now));

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &input[ends[0]..ends[1]]).collect();
        prop_assert_eq!(whole, converse(&mut Store::new(now), &pieces, now));
    }

    #[test]
    fn arbitrary_bytes_never_panic(input: Vec<u8>) {
        let now = Instant::now();
        let mut store = Store::new(now);
        converse(&mut store, &[&input], now);
        prop_assert!(execute_payload(&mut store, &input, now).ends_with(b"\r\n"));
    }

    #[test]
    fn a_frame_gets_the_reply_that_a_connection_gets(words in proptest::collection::vec("[a-z0-9]{1,3}|SET|GET|DEL|PING|ECHO", 1..4)) {
        let (now, line) = (Instant::now(), words.join(" "));
        let framed = execute_payload(&mut Store::new(now), line.as_bytes(), now);
        let (out, _) = converse(&mut Store::new(now), &[line.as_bytes(), b"\r\n"], now);
        prop_assert_eq!(framed, out);
    }
}
