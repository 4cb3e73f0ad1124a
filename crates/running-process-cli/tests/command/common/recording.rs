//! Recordings of what the command prints, checked in, and compared without what differs each time.

use std::path::{Path, PathBuf};

/// Compares a recording with the one that is checked in at `file`, a path in the package; writes it there if the environment
/// variable RECORD is set.
#[track_caller]
pub fn check(file: &str, recorded: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("RECORD").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, recorded).unwrap();
        return;
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let (known, now) = (masked(&known), masked(recorded));
    let differing = known.iter().zip(&now).position(|(known, now)| known != now);
    let differing = differing.unwrap_or(known.len().min(now.len()));
    let around =
        |words: &[String]| words[differing.saturating_sub(8)..(differing + 8).min(words.len())].join(" ");
    assert!(
        known == now,
        "{file} is out of date. It has:\n  {}\nand the command prints:\n  {}\n\
         Read the change after: RECORD=1 cargo test -p running-process-cli --test command -- recorded\n\n{recorded}",
        around(&known),
        around(&now),
    );
}

/// Returns the words of a text without charts, lines that show progress and what the stampede of another test has left, and with
/// one mark for figures in a row and their units. Where a line is wrapped or cut depends on its figures, so lines are no difference.
fn masked(text: &str) -> Vec<String> {
    let is_bucket = |line: &str| line.contains(" - ") && line.contains('%');
    let is_chart =
        |line: &str| line.contains(['┤', '│']) || line.starts_with("latencies of ") || is_bucket(line);
    let is_chance = |line: &str| line.starts_with("measuring ") || line.starts_with("cleared: ");
    let lines = text.lines().filter(|line| !is_chart(line) && !is_chance(line));
    let mut words: Vec<String> = Vec::new();
    for word in lines.flat_map(str::split_whitespace) {
        // The comma between two figures is left out where the line is wrapped.
        let word = word.trim_end_matches(',');
        let word = if is_figure(word) { "#" } else { word };
        if word != "#" || words.last().is_none_or(|last| last != "#") {
            words.push(word.to_owned());
        }
    }
    words
}

fn is_figure(word: &str) -> bool {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let unit = word.trim_end_matches("/s");
    // The terminal may add the key that was pressed.
    let is_cut = word.contains('…');
    is_cut || word == "-" || word.contains(|char: char| char.is_ascii_digit()) || UNITS.contains(&unit)
}

/// The names of places in recordings, by which those of the tests are replaced.
pub struct Places(Vec<(String, &'static str)>);

impl Places {
    /// Creates the names of places in `directory`, the home of the test.
    pub fn new(directory: &Path) -> Self {
        let place = |name: &str| directory.join(name).display().to_string();
        Self(vec![
            (place("configuration"), "~/.config"),
            (place("services"), "/run/user/1000/running-process"),
            (place(""), "~/"),
            (env!("CARGO_BIN_EXE_running-process").to_owned(), "/usr/bin/running-process"),
        ])
    }

    /// Replaces the names of places in a recording.
    pub fn renamed(&self, text: &str) -> String {
        let mut text = self.0.iter().fold(text.to_owned(), |text, (place, name)| text.replace(place, name));
        // Temporary directories end with random letters.
        for beginning in ["/tmp/running-process-demo-", "/tmp/rp-"] {
            for (at, _) in text.clone().match_indices(beginning) {
                let random = at + beginning.len();
                text.replace_range(random..random + 6, "aB3dE6");
            }
        }
        text
    }
}

/// Returns the path of a program, if it is installed.
pub fn installed(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|path| path.join(program)).find(|path| path.is_file())
}

#[test]
fn figures_and_charts_are_no_differences_and_words_are() {
    let one = "measuring 1 s: 9 ans…^\nup 3m 2s, 1.5 kB\n  10µs - 20µs  3  5.0%  ██\nPID  4711  cache";
    let other = "up 12s, 999 B\n  20µs - 50µs  77 11.0%  █\n  50µs - 90µs  1  0.1%\nPID 1  cache";
    assert_eq!(masked(one), masked(other));
    assert_ne!(masked(one), masked(&one.replace("cache", "build")));
}
