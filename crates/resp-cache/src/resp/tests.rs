//! Tests of the request parser. The texts and limits are those of a Redis 5.0.6.

use super::*;
use proptest::prelude::*;

/// The arguments of a request, and the number of bytes that it takes.
type Parsed = (Vec<Vec<u8>>, usize);

fn parse(input: &[u8]) -> Result<Option<Parsed>, RespError> {
    let mut parser = Parser::default();
    let request = parser.parse(input)?;
    Ok(request.map(|request| {
        (request.arguments.iter().map(|argument| argument.to_vec()).collect(), request.consumed)
    }))
}

fn words(input: &[u8]) -> Vec<Vec<u8>> {
    let (words, consumed) = parse(input).expect("no error").expect("a request");
    assert_eq!(consumed, input.len());
    words
}

fn error(input: &[u8]) -> String {
    parse(input).expect_err("an error").to_string()
}

#[test]
fn an_array_of_bulk_strings_is_a_request() {
    assert_eq!(words(b"*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\n"), [&b"ECHO"[..], b"a\r\n"]);
    assert_eq!(words(b"*1\r\n$0\r\n\r\n"), [b""]);
}

#[test]
fn an_inline_command_is_a_line_of_words() {
    assert_eq!(words(b"SET  k\tv \r\n"), [&b"SET"[..], b"k", b"v"]);
    assert_eq!(words(b"PING\n"), [b"PING"]);
    assert_eq!(words(b"a\x0bb \x0b\x0cc\n"), [&b"a\x0bb"[..], b"c"]);
    assert_eq!(words(b"a\0b\n"), [b"a\0b"]);
}

#[test]
fn quotes_join_words_and_double_quotes_have_escapes() {
    assert_eq!(words(b"\"a b\" 'c \\n d'\n"), [&b"a b"[..], b"c \\n d"]);
    assert_eq!(words(b"\"\\n\\r\\t\\b\\a\\x4a\\xFf\\xg0\\q\\\"\\\\\"\n"), [b"\n\r\t\x08\x07J\xffxg0q\"\\"]);
    assert_eq!(words(b"'it\\'s' pre\"fix\" \"\" ''\n"), [&b"it's"[..], b"prefix", b"", b""]);
}

#[test]
fn empty_lines_and_arrays_get_no_reply() {
    for nothing in [&b"\r\n"[..], b"\n", b"  \t\r\n", b"*0\r\n", b"*-1\r\n", b"*-9223372036854775808\r\n"] {
        assert_eq!(words(nothing), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn the_next_request_starts_where_this_one_ends() {
    let pipeline = b"*1\r\n$4\r\nPING\r\nECHO a\r\n*1\r\n$4\r\nQUIT\r\n";
    let mut parser = Parser::default();
    let mut rest = &pipeline[..];
    let mut firsts = Vec::new();
    while let Some(request) = parser.parse(rest).expect("no error") {
        firsts.push(request.arguments[0].to_vec());
        rest = &rest[request.consumed..];
    }
    assert_eq!(firsts, [b"PING", b"ECHO", b"QUIT"]);
    assert!(rest.is_empty());
}

#[test]
fn violations_have_the_error_texts_of_redis() {
    for (input, expected) in [
        (&b"*a\r\n"[..], "Protocol error: invalid multibulk length"),
        (b"*\r\n", "Protocol error: invalid multibulk length"),
        (b"*+1\r\n", "Protocol error: invalid multibulk length"),
        (b"*01\r\n", "Protocol error: invalid multibulk length"),
        (b"*-0\r\n", "Protocol error: invalid multibulk length"),
        (b"*1048577\r\n", "Protocol error: invalid multibulk length"),
        (b"*9223372036854775808\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\nx1\r\n", "Protocol error: expected '$', got 'x'"),
        (b"*1\r\n\r\n", "Protocol error: expected '$', got '\r'"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$1x\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
        (b"a \"b\n", "Protocol error: unbalanced quotes in request"),
        (b"a 'b\n", "Protocol error: unbalanced quotes in request"),
        (b"a \"b\"c\n", "Protocol error: unbalanced quotes in request"),
        (b"a \"\\\n", "Protocol error: unbalanced quotes in request"),
    ] {
        assert_eq!(error(input), expected, "{}", input.escape_ascii());
    }
}

#[test]
fn a_line_of_64_kib_is_read_and_one_byte_more_is_refused() {
    for (start, text) in [
        (&b""[..], "Protocol error: too big inline request"),
        (b"*", "Protocol error: too big mbulk count string"),
        (b"*1\r\n$", "Protocol error: too big bulk count string"),
    ] {
        let headers = start.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut input = start.to_vec();
        input.resize(headers + MAX_LINE_BYTES, b'1');
        assert_eq!(parse(&input), Ok(None));
        input.push(b'1');
        assert_eq!(error(&input), text);
        input.extend_from_slice(b"\r\n");
        assert_eq!(error(&input), text, "also when the line end arrived with it");
    }
    let mut longest = vec![b'a'; MAX_LINE_BYTES];
    longest.push(b'\n');
    assert_eq!(words(&longest)[0].len(), MAX_LINE_BYTES);
}

#[test]
fn claimed_lengths_allocate_no_memory() {
    let mut parser = Parser::default();
    assert_eq!(parser.parse(b"*1048576\r\n$536870912\r\nabc"), Ok(None));
    assert_eq!(parser.found.capacity() + parser.unquoted.capacity(), 0);
}

/// Feeds `input` in reads of `size` bytes and returns the number of the parser's steps.
fn steps(input: &[u8], size: usize) -> usize {
    let mut parser = Parser::default();
    let mut start = 0;
    for end in (size..input.len()).step_by(size).chain([input.len()]) {
        while let Some(request) = parser.parse(&input[start..end]).expect("no error") {
            start += request.consumed;
        }
    }
    assert_eq!(start, input.len());
    parser.steps
}

#[test]
fn work_grows_with_the_arguments_and_lines_and_not_with_reads_or_bulk_bytes() {
    let pipeline = |commands: usize| b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n".repeat(commands);
    let one = steps(&pipeline(1), usize::MAX);
    assert_eq!(steps(&pipeline(1000), usize::MAX), 1000 * one);

    let arguments = [&b"*4096\r\n"[..], &b"$1\r\na\r\n".repeat(4096)].concat();
    let (at_once, len) = (steps(&arguments, arguments.len()), arguments.len());
    assert!(steps(&arguments, 1) <= 2 * at_once + 2 * len, "each call adds a constant");

    let bulk = |len: usize| [format!("*1\r\n${len}\r\n").as_bytes(), &vec![b'x'; len + 2]].concat();
    assert_eq!(steps(&bulk(1_000_000), usize::MAX), steps(&bulk(8_000_000), usize::MAX));

    let line = [vec![b'x'; MAX_LINE_BYTES], vec![b'\n']].concat();
    assert!(steps(&line, 1) <= 2 * line.len() + 1);
}

/// Generates bytes that resemble requests: headers, quotes and line ends are frequent.
fn near_request() -> impl Strategy<Value = Vec<u8>> {
    #[rustfmt::skip]
    const PIECES: &[&[u8]] = &[
        b"*2\r\n", b"*1\r\n", b"$1\r\n", b"$0\r\n", b"a\r\n", b"\r\n", b"\n", b"\"", b"'", b"\\", b" ", b"PING", b"\0",
        b"*", b"\xff",
    ];
    let piece = prop::sample::select(PIECES);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_parser_that_saw_every_prefix_answers_as_a_new_one(input in prop_oneof![near_request(), any::<Vec<u8>>()]) {
        let mut parser = Parser::default();
        for end in 0..input.len() {
            match (parser.parse(&input[..end]), parse(&input[..end])) {
                (Ok(None), Ok(None)) => {}
                (Ok(Some(request)), Ok(Some((arguments, consumed)))) => {
                    prop_assert_eq!(&request.arguments, &arguments);
                    prop_assert!(consumed == end && request.consumed == end, "a request is complete with its last byte");
                    return Ok(());
                }
                (Err(seen), Err(new)) => {
                    prop_assert_eq!(seen, new);
                    return Ok(());
                }
                (seen, new) => prop_assert!(false, "{seen:?} after every prefix, {new:?} at once"),
            }
        }
    }

    #[test]
    fn bytes_behind_a_request_change_nothing(input in near_request(), tail: Vec<u8>) {
        let longer = [&input[..], &tail].concat();
        match parse(&input) {
            Ok(None) => {}
            decided => prop_assert_eq!(decided, parse(&longer)),
        }
    }

    #[test]
    fn any_arguments_survive_as_an_array(arguments in proptest::collection::vec(any::<Vec<u8>>(), 1..8)) {
        let mut input = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in &arguments {
            input.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            input.extend_from_slice(argument);
            input.extend_from_slice(b"\r\n");
        }
        prop_assert_eq!(words(&input), arguments);
    }

    #[test]
    fn integers_are_canonical(value: i64, text in "[-+ 0-9]{0,4}") {
        prop_assert_eq!(integer(value.to_string().as_bytes()), Some(value));
        if let Some(value) = integer(text.as_bytes()) {
            prop_assert_eq!(value.to_string(), text);
        }
    }
}
