//! Weaves all mutants of a list of cargo-mutants into a copy of the library, and drops those that do not compile.
//!
//! `weave LIST RESULT CARGO-ARGUMENTS...`, in the copy. LIST is what `cargo mutants --list --json` prints; RESULT gets it with a number and a
//! state for each mutant: `woven`, `unviable`, `unwoven` if only its place does not allow a switch, `absent` if it is not compiled on this
//! system.

mod weave;

use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::fs;
use std::process::{Command, Stdio};
use weave::{Mutant, Region, offset, weave};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// The switch. The state is a file that all processes of a test share: the number that is on, and a byte for each switch that was asked.
const SWITCH: &str = include_str!("switch.rs");
const LIBRARY: &str = "crates/running-process/src/lib.rs";

struct File {
    source: String,
    mutants: Vec<Mutant>,
    regions: Vec<Region>,
}

fn main() -> Fallible<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [list, result, cargo @ ..] = &arguments[..] else {
        return Err("usage: weave LIST RESULT CARGO-ARGUMENTS...".into());
    };
    let mut listed: Vec<Value> = serde_json::from_str(&fs::read_to_string(list)?)?;
    let mut files: BTreeMap<String, File> = BTreeMap::new();
    for (index, mutant) in listed.iter().enumerate() {
        let path = text(mutant, "file")?;
        if !files.contains_key(path) {
            let source = fs::read_to_string(path)?;
            files.insert(path.to_owned(), File { source, mutants: Vec::new(), regions: Vec::new() });
        }
        let file = files.get_mut(path).ok_or("no file")?;
        let at = |end: &str| -> Fallible<usize> {
            let number = |name| mutant["span"][end][name].as_u64().ok_or("a place without numbers");
            Ok(offset(&file.source, usize::try_from(number("line")?)?, usize::try_from(number("column")?)?))
        };
        let span = at("start")?..at("end")?;
        let (genre, replacement) =
            (text(mutant, "genre")?.to_owned(), text(mutant, "replacement")?.to_owned());
        file.mutants.push(Mutant { id: index + 1, genre, span, replacement });
    }
    let mut states: HashMap<usize, &str> = HashMap::new();
    let library = fs::read_to_string(LIBRARY)?;
    let with_switch = |parameter: &str, text: &str| {
        // Constants of mutants may overflow, which is an error only after `cargo check`.
        let lints = "#![allow(arithmetic_overflow, unconditional_panic)]";
        format!("{lints}\n{text}\n{}", SWITCH.replace("number: u32", &format!("number: {parameter}")))
    };

    // A switch that takes no number is an error in each place that is compiled.
    for (path, file) in &mut files {
        weave_into(path, file, &HashSet::new(), &mut states)?;
    }
    let present: HashSet<_> = if library.is_empty() {
        HashSet::new()
    } else {
        let text = fs::read_to_string(LIBRARY)?;
        fs::write(LIBRARY, with_switch("&'static str", &text).replace("number as usize", "number.len()"))?;
        let mut present = HashSet::new();
        for (path, bytes, _) in errors(cargo)? {
            let Some(file) = files.get(&path) else { continue };
            present.extend(
                file.regions
                    .iter()
                    .filter(|r| r.ids.len() == 1 && within(&bytes, r))
                    .flat_map(|r| &r.ids)
                    .copied(),
            );
        }
        present
    };
    eprintln!("{} of {} are compiled here", present.len(), listed.len());
    for id in 1..=listed.len() {
        if !present.contains(&id) {
            states.entry(id).or_insert("absent");
        }
    }

    loop {
        let dropped: HashSet<_> = states.keys().copied().collect();
        for (path, file) in &mut files {
            weave_into(path, file, &dropped, &mut states)?;
        }
        let text = if files.contains_key(LIBRARY) { fs::read_to_string(LIBRARY)? } else { library.clone() };
        fs::write(LIBRARY, with_switch("u32", &text))?;
        let found = errors(cargo)?;
        if found.is_empty() {
            break;
        }
        let before = states.len();
        for (path, bytes, code) in &found {
            let Some(file) = files.get(path) else { continue };
            let smallest =
                file.regions.iter().filter(|region| within(bytes, region)).min_by_key(|r| r.bytes.len());
            for id in smallest.iter().flat_map(|region| &region.ids) {
                let alone = smallest.is_some_and(|region| region.ids.len() == 1);
                let unviable = alone && is_unviable(&listed[id - 1], code);
                states.entry(*id).or_insert(if unviable { "unviable" } else { "unwoven" });
            }
        }
        eprintln!("{} errors, {} more without a switch", found.len(), states.len() - before);
        if states.len() == before {
            for (path, bytes, code) in &found {
                eprintln!("{path}: {bytes:?}: {code}");
            }
            return Err("the woven text does not compile".into());
        }
    }
    for (index, mutant) in listed.iter_mut().enumerate() {
        let mutant = mutant.as_object_mut().ok_or("no object")?;
        mutant.insert("id".into(), json!(index + 1));
        mutant.insert("state".into(), json!(states.get(&(index + 1)).unwrap_or(&"woven")));
    }
    fs::write(result, serde_json::to_string(&listed)?)?;
    Ok(())
}

/// Returns whether a mutant with this error does not compile without its switch either.
fn is_unviable(mutant: &Value, code: &str) -> bool {
    if mutant["genre"] == "FnValue" {
        // A switch cannot be asked in a constant function, and an opaque type is that of one value only.
        let is_opaque = mutant["function"]["return_type"].as_str().is_some_and(|name| name.contains("impl "));
        return code != "E0015" && !is_opaque;
    }
    // No operator for these types.
    ["E0277", "E0308", "E0368", "E0369", "E0600"].contains(&code)
}

fn text<'a>(mutant: &'a Value, name: &str) -> Fallible<&'a str> {
    Ok(mutant[name].as_str().ok_or("a mutant without a text")?)
}

fn within(bytes: &std::ops::Range<usize>, region: &Region) -> bool {
    region.bytes.start <= bytes.start && bytes.end <= region.bytes.end
}

fn weave_into(
    path: &str,
    file: &mut File,
    dropped: &HashSet<usize>,
    states: &mut HashMap<usize, &str>,
) -> Fallible<()> {
    let mutants: Vec<_> =
        file.mutants.iter().filter(|mutant| !dropped.contains(&mutant.id)).cloned().collect();
    let woven = weave(&file.source, &mutants).map_err(|error| format!("{path}: {error}"))?;
    for id in woven.without_place {
        states.insert(id, "unwoven");
    }
    file.regions = woven.regions;
    if fs::read_to_string(path)? != woven.text {
        fs::write(path, woven.text)?;
    }
    Ok(())
}

/// Returns the places of the compiler's errors: the file, the bytes and the code.
fn errors(cargo: &[String]) -> Fallible<Vec<(String, std::ops::Range<usize>, String)>> {
    let output = Command::new("cargo")
        .args(["check", "--message-format=json", "--quiet"])
        .args(cargo)
        .stderr(Stdio::inherit())
        .output()?;
    let mut found = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
        let message: Value = serde_json::from_slice(line)?;
        let message = &message["message"];
        if message["level"] != "error" {
            continue;
        }
        let code = message["code"]["code"].as_str().unwrap_or_default();
        for span in
            message["spans"].as_array().into_iter().flatten().filter(|span| span["is_primary"] == true)
        {
            let end = |name: &str| usize::try_from(span[name].as_u64().unwrap_or_default());
            found.push((
                text(span, "file_name")?.to_owned(),
                end("byte_start")?..end("byte_end")?,
                code.to_owned(),
            ));
        }
    }
    if !output.status.success() && found.is_empty() {
        return Err("cargo check failed without an error that has a place".into());
    }
    Ok(found)
}
