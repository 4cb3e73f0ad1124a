use super::document::units;
use super::*;
use proptest::prelude::*;
use std::fmt::Debug;
use std::time::Duration;

const LEAST: &str = "name = 'cache'\ncommand = ['cached']\n";

/// Returns all that the service is, which has no comparison.
fn shown(service: &impl Debug) -> String {
    format!("{service:?}")
}

#[track_caller]
fn problem(text: &str) -> (Option<(usize, usize)>, String, String) {
    let problem = document::parse(text).expect_err(text);
    (problem.at.map(|at| position(text, at)), problem.text, problem.hint.into_owned())
}

#[test]
fn every_key_is_taken() {
    let (program, directory) =
        if cfg!(windows) { (r"C:\cached.exe", r"C:\srv") } else { ("/usr/bin/cached", "/srv") };
    let text = format!(
        "\u{feff}# A cache.
        name = \"cache-2\"
        command = ['{program}', '--quiet', '', \"two words\"]
        version = \"1.2.0\"
        build = \"4f2a91c\"
        key = \"/srv/project\"
        idle_timeout = \"1h 30m\"
        directory = '{directory}'
        log_limit = \"10MB\"
        [environment]
        RUST_LOG = \"info\"
        EMPTY = \"\"
        "
    );
    let expected = Service::new("cache-2")
        .unwrap()
        .command(program, ["--quiet", "", "two words"])
        .version("1.2.0")
        .build("4f2a91c")
        .keyed_by("/srv/project")
        .idle_timeout(Duration::from_mins(90))
        .environment_variable("RUST_LOG", "info")
        .environment_variable("EMPTY", "")
        .working_directory(directory)
        .log_limit(10_000_000);
    assert_eq!(shown(&document::parse(&text).unwrap().service), shown(&expected));
}

#[test]
fn name_and_command_are_enough() {
    let expected = Service::new("cache").unwrap().command("cached", [] as [&str; 0]);
    assert_eq!(shown(&document::parse(LEAST).unwrap().service), shown(&expected));
    let inline =
        document::parse("command = ['cached']\nname = 'cache'\nenvironment = { A = 'b' }").unwrap().service;
    assert_eq!(shown(&inline), shown(&expected.environment_variable("A", "b")));
}

#[test]
fn sizes_have_decimal_and_binary_units() {
    for (text, bytes) in [
        ("10MB", 10_000_000),
        ("5000", 5000),
        ("5000B", 5000),
        ("8KB", 8000),
        ("1GB", 1_000_000_000),
        ("4KiB", 4096),
        ("3MiB", 3 << 20),
        ("2GiB", 2 << 30),
    ] {
        assert_eq!(units::size(text), Ok(bytes), "{text}");
    }
    for (text, words) in [
        ("", "a whole number with a unit"),
        ("MB", "a whole number with a unit"),
        ("-1MB", "a whole number with a unit"),
        ("1.5MB", "a whole number with a unit"),
        ("1_000MB", "a whole number with a unit"),
        ("10 MB", "the units are"),
        ("10mb", "the units are"),
        ("10M", "the units are"),
        ("10", "is 10 bytes, the least is 4096"),
        ("99999999999999999999", "than 64 bits can count"),
        ("18446744073709551615KB", "than 64 bits can count"),
    ] {
        let problem = units::size(text).unwrap_err();
        assert!(problem.contains(words), "{text}: {problem}");
    }
    for number in ["log_limit = 5_000_000", "log_limit = '5MB'"] {
        let expected = Service::new("cache").unwrap().command("cached", [] as [&str; 0]).log_limit(5_000_000);
        assert_eq!(shown(&document::parse(&format!("{LEAST}{number}")).unwrap().service), shown(&expected));
    }
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    for (key, nearest) in [
        ("comand", "command"),
        ("idle-timeout", "idle_timeout"),
        ("environement", "environment"),
        ("Version", "version"),
        ("dir", "key"),
        ("loglimit", "log_limit"),
    ] {
        let (at, text, hint) = problem(&format!("{LEAST}{key} = 1\n"));
        assert_eq!(at, Some((3, 1)));
        assert_eq!(text, format!("unknown key {key:?}, the nearest known one is `{nearest}`"));
        assert!(hint.contains("name, command, version"), "{hint}");
    }
    let (at, text, _) = problem("nme = 'cache'");
    assert_eq!((at, &*text), (Some((1, 1)), "unknown key \"nme\", the nearest known one is `name`"));
    let (at, _, hint) = problem("[service]\nname = 'cache'");
    assert_eq!(at, Some((1, 2)));
    assert!(hint.contains("in no section"), "{hint}");
}

#[test]
fn each_wrong_value_has_its_place_and_its_hint() {
    let cases = [
        ("version = \"1.0\\n\"", "`version` has a control character", "version = \"1.2.0\""),
        ("build = false", "`build` is true or false, not a text", "build = \"4f2a91c\""),
        ("version = 1", "`version` is a number, not a text", "version = \"1.2.0\""),
        ("key = ''", "`key` is empty", "leave it out"),
        ("key = \"a\\u0000b\"", "`key` has a NUL character", "leave it out"),
        ("idle_timeout = 30", "`idle_timeout` is a number, not a text", "\"30m\""),
        ("idle_timeout = '30'", "`idle_timeout` is no duration: ", "\"30m\""),
        ("idle_timeout = '0s'", "longer than 0s", "\"30m\""),
        ("idle_timeout = '400days'", "the longest duration is 365 days", "\"30m\""),
        ("log_limit = true", "`log_limit` is true or false, not a text or a decimal number", "\"10MB\""),
        ("log_limit = 1.5", "`log_limit` is a number", "\"10MB\""),
        ("log_limit = 10", "`log_limit` is 10 bytes, the least is 4096", "\"10MB\""),
        ("log_limit = -1", "`log_limit` \"-1\" is no size", "\"10MB\""),
        ("directory = 'srv'", "`directory` \"srv\" is a relative path", "absolute path"),
        (
            "directory = '~/srv'",
            "`directory` \"~/srv\" is a relative path",
            "`~` and variables are not expanded",
        ),
        ("directory = 07:32:00", "`directory` is a date or a time, not a text", "leave it out"),
        ("environment = 'A=b'", "`environment` is a text, not a table", "RUST_LOG"),
        ("environment = ['A=b']", "`environment` is a list, not a table", "RUST_LOG"),
    ];
    for (line, words, hint_words) in cases {
        let (at, text, hint) = problem(&format!("{LEAST}{line}\n"));
        assert_eq!(at, Some((3, line.find('=').unwrap() + 3)), "{line}");
        assert!(text.contains(words), "{line}: {text}");
        assert!(hint.contains(hint_words), "{line}: {hint}");
    }
    let cases = [
        ("A = 1", (4, 5), "`A` is a number, not a text"),
        ("A.B = 'c'", (4, 1), "`A` is a table, not a text"),
        ("'A=B' = 'c'", (4, 1), "the variable \"A=B\" cannot be set"),
        ("'' = 'c'", (4, 1), "the variable \"\" cannot be set"),
        (
            "idle_timeout = '30m'",
            (4, 1),
            "the variable \"idle_timeout\" in `environment` has the name of a key",
        ),
    ];
    for (line, place, words) in cases {
        let (at, text, _) = problem(&format!("{LEAST}[environment]\n{line}\n"));
        assert_eq!(at, Some(place), "{line}");
        assert!(text.contains(words), "{line}: {text}");
    }
}

#[test]
fn each_wrong_command_has_its_place_and_its_hint() {
    for (command, column, words, hint_words) in [
        ("'cached --quiet'", 11, "`command` is a text, not a list of texts", "[\"/usr/bin/cached\""),
        ("[]", 11, "`command` is empty", "[\"/usr/bin/cached\""),
        ("['']", 12, "`command[0]` is empty", "[\"/usr/bin/cached\""),
        ("['bin/cached']", 12, "`command[0]` \"bin/cached\" is a relative path", "absolute path"),
        ("['./cached']", 12, "\"./cached\" is a relative path", "other working directories"),
        ("['~/cached']", 12, "\"~/cached\" is a relative path", "not expanded"),
        ("['cached', 2]", 22, "`command[1]` is a number, not a text", "a text of its own"),
        ("['cached', ['x']]", 22, "`command[1]` is a list", "a text of its own"),
        ("['cached', \"\\u0000\"]", 22, "`command[1]` has a NUL character", "a text of its own"),
    ] {
        let (at, text, hint) = problem(&format!("name = 'cache'\ncommand = {command}\n"));
        assert_eq!(at, Some((2, column)), "{command}");
        assert!(text.contains(words), "{command}: {text}");
        assert!(hint.contains(hint_words), "{command}: {hint}");
    }
}

#[test]
fn what_is_missing_or_no_toml_is_told() {
    for (text, at, words) in [
        ("", None, "`name` is missing"),
        ("name = 'cache'", None, "`command` is missing"),
        ("name = ''\ncommand = ['x']", Some((1, 8)), "`name` is empty"),
        (
            "name = 'My cache'\ncommand = ['x']",
            Some((1, 8)),
            "the service name \"My cache\" has another character",
        ),
        ("name = cache", Some((1, 8)), "string values must be quoted"),
        ("name = 'a'\nname = 'b'", Some((2, 1)), "duplicate key"),
        ("name = 'ü' x", Some((1, 12)), ""),
        ("name = \"C:\\cached\"", Some((1, 12)), ""),
        ("cache", Some((1, 6)), ""),
    ] {
        let (found, message, hint) = problem(text);
        assert_eq!(found, at, "{text}: {message}");
        assert!(message.contains(words), "{text}: {message}");
        assert!(!hint.is_empty() && !message.contains('\n'), "{text}: {message}");
    }
}

#[test]
fn a_front_has_a_command_and_an_address() {
    let text = "name = 'redis'\n[front]\ncommand = ['redis-server', '--port', '6379']\nconnect = 'tcp:127.0.0.1:6379'";
    let described = document::parse(text).unwrap();
    let fronted = described.fronted.unwrap();
    assert_eq!(
        (fronted.program.to_str(), &*fronted.arguments),
        (Some("redis-server"), &["--port".to_owned(), "6379".to_owned()][..])
    );
    assert_eq!(fronted.address.to_string(), "tcp:127.0.0.1:6379");
    assert_eq!(shown(&described.service), shown(&Service::new("redis").unwrap()));
}

#[test]
fn each_wrong_front_has_its_place_and_its_hint() {
    let front = |entries: &str| format!("name = 'redis'\n[front]\n{entries}\n");
    let command = "command = ['redis-server']";
    for (text, at, words, hint_words) in [
        (format!("{LEAST}front = 1"), (3, 9), "`front` is a number, not a table", "connect ="),
        (front(command), (2, 1), "`connect` is missing in `front`", "connect ="),
        (front("connect = 'tcp:127.0.0.1:1'"), (2, 1), "`command` is missing in `front`", "command ="),
        (
            front(&format!("{command}\nconect = ''")),
            (4, 1),
            "the nearest known one is `connect`",
            "command and connect",
        ),
        (
            front(&format!("{command}\nconnect = 1")),
            (4, 11),
            "`connect` is a number, not a text",
            "tcp:127.0.0.1:6379",
        ),
        (front(&format!("{command}\nconnect = '/r.sock'")), (4, 11), "neither unix: nor tcp:", "unix:/run"),
        (front(&format!("{command}\nconnect = 'unix:~/r.sock'")), (4, 11), "is a relative path", "`~`"),
        (
            front(&format!("{command}\nconnect = 'tcp:localhost:1'")),
            (4, 11),
            "no numeric address",
            "not looked up",
        ),
        (
            front(&format!("{command}\nconnect = 'tcp:0.0.0.0:1'")),
            (4, 11),
            "no address of this machine alone",
            "127.0.0.1",
        ),
        (front("command = ['./redis']\nconnect = 'tcp:127.0.0.1:1'"), (3, 12), "is a relative path", "PATH"),
        (
            format!("{LEAST}[front]\n{command}\nconnect = 'tcp:127.0.0.1:1'"),
            (3, 2),
            "`front` and `command` exclude each other",
            "move the command",
        ),
    ] {
        let (found, message, hint) = problem(&text);
        assert_eq!(found, Some(at), "{text}: {message}");
        assert!(message.contains(words), "{text}: {message}");
        assert!(hint.contains(hint_words), "{text}: {hint}");
    }
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = format!("{LEAST}key = {}{}", "[".repeat(20_000), "]".repeat(20_000));
    let (at, ..) = problem(&deep);
    assert_eq!(at.map(|(line, _)| line), Some(3));
}

#[test]
fn a_place_counts_characters() {
    assert_eq!(position("", 0), (1, 1));
    assert_eq!(position("é\nab", 3), (2, 1));
    assert_eq!(position("éb", 2), (1, 2));
    assert_eq!(position("é", 1), (1, 1));
    assert_eq!(position("a", 100), (1, 2));
}

/// Text that is nearly a service's file.
fn nearly() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("name"),
        Just("command"),
        Just("version"),
        Just("build"),
        Just("key"),
        Just("idle_timeout"),
        Just("environment"),
        Just("environment.A"),
        Just("directory"),
        Just("log_limit"),
        Just("nam"),
        Just("front"),
        Just("front.command"),
        Just("front.connect"),
    ];
    let value = prop_oneof![
        Just("'cache'".to_owned()),
        Just("['cached', 'x']".to_owned()),
        Just("{ A = 'b' }".to_owned()),
        Just("'30m'".to_owned()),
        Just("'/srv'".to_owned()),
        Just("'10MB'".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| format!("{text:?}")),
        any::<String>(),
    ];
    let line = (key, value).prop_map(|(key, value)| format!("{key} = {value}\n"));
    proptest::collection::vec(line, 0..9).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn no_text_panics_and_each_problem_has_a_place_within_it(
        text in prop_oneof![any::<String>(), nearly(), "[a-z\\[\\]{}=\"'.#\\\\\n ]{0,60}"],
    ) {
        if let Err(problem) = document::parse(&text) {
            prop_assert!(problem.at.is_none_or(|at| at <= text.len()), "{problem:?}");
            prop_assert!(!problem.text.is_empty() && !problem.hint.is_empty());
            position(&text, problem.at.unwrap_or_default());
        }
    }

    #[test]
    fn no_file_panics(bytes in any::<Vec<u8>>()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        prop_assert!(read(file.path()).is_err());
    }
}
