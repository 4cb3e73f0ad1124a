//! `decode` of large and slow captures: it shows frame by frame and takes the memory of one frame.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{WATCHDOG, command, run_with_input};
use running_process::broker::protocol::FrameRef;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::thread;

#[cfg(target_os = "linux")]
const MIB: usize = 1 << 20;

fn frame(payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    FrameRef::request(0xF00D, 1, &vec![0xa5; payload]).encode_framed(&mut bytes).unwrap();
    bytes
}

/// A running `decode` with an open input, and the lines that it prints.
struct Decode {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Decode {
    fn of(arguments: &[&str], pieces: impl Iterator<Item = Vec<u8>>) -> Self {
        let mut command = command();
        let child = command.arg("decode").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            // The start of a line of 32 MiB is enough.
            for line in stdout.split(b'\n') {
                let mut line = line.unwrap();
                line.truncate(100);
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        for piece in pieces {
            stdin.write_all(&piece).unwrap();
        }
        Self { child, stdin, lines }
    }

    fn read_until(&self, words: &str) {
        while !self.lines.recv_timeout(WATCHDOG).expect("it prints what it has").contains(words) {}
    }

    /// Returns the peak resident memory of the process, in bytes.
    #[cfg(target_os = "linux")]
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
    }

    fn end(mut self) -> i32 {
        drop(self.stdin);
        let status = self.child.wait().unwrap();
        status.code().unwrap()
    }
}

#[cfg(target_os = "linux")]
#[test]
fn sixty_four_mebibytes_take_the_memory_of_one_frame() {
    // Four frames of the largest size, many small ones, and bytes that are no frame.
    let large = |frames: usize| (0..frames).map(|_| frame(16 * MIB - 64));
    let small = || (0..8).map(|_| frame(1000).repeat(MIB / 1024));
    let words = |json: bool, number: usize| {
        if json { format!("\"index\":{},", number - 1) } else { format!("frame {number} ") }
    };
    for arguments in [&[][..], &["--json"]] {
        let json = !arguments.is_empty();
        // As JSON it is twice as much, and slow without optimizations.
        let frames = if json { 2 } else { 4 };
        let decode = Decode::of(arguments, large(frames));
        decode.read_until(&words(json, frames));
        let peak = decode.peak();
        assert!(peak < 40 * MIB, "{arguments:?}: {} MiB for large frames", peak / MIB);
        assert_eq!(decode.end(), 0);

        let decode = Decode::of(arguments, small());
        decode.read_until(&words(json, 8 * 1024));
        let peak = decode.peak();
        assert!(peak < 16 * MIB, "{arguments:?}: {} MiB for 8192 small frames", peak / MIB);
        assert_eq!(decode.end(), 0);

        let decode = Decode::of(arguments, std::iter::once(vec![0xff; 63 * MIB]));
        let peak = decode.peak();
        assert!(peak < 40 * MIB, "{arguments:?}: {} MiB for no frame", peak / MIB);
        assert_eq!(decode.end(), 1);
    }
}

#[test]
fn each_frame_is_shown_when_it_arrives() {
    for (arguments, words) in [(&[][..], "frame 1 "), (&["--json"], "\"index\":0,")] {
        let mut decode = Decode::of(arguments, std::iter::once(frame(10)));
        decode.read_until(words);
        let second = frame(20);
        decode.stdin.write_all(&second[..7]).unwrap();
        decode.stdin.write_all(&second[7..]).unwrap();
        decode.read_until(&words.replace('1', "2").replace('0', "1"));
        assert_eq!(decode.end(), 0);
    }
}

#[test]
fn json_has_an_object_for_each_frame_and_one_at_the_end() {
    let input = [frame(4), frame(5), b"PING\r\n".to_vec()].concat();
    let decoded = run_with_input(&["decode", "--json"], &input);
    assert_eq!(decoded.status, 1);
    let objects = decoded.objects();
    let summary: Vec<_> = objects
        .iter()
        .map(|object| {
            (object["event"].as_str().unwrap(), object["offset"].as_u64(), object["length"].as_u64().unwrap())
        })
        .collect();
    let (one, two) = (frame(4).len() as u64, frame(5).len() as u64);
    let expected = [
        ("frame", Some(0), one),
        ("frame", Some(one), two),
        ("frame", Some(one + two), 6),
        ("end", None, one + two + 6),
    ];
    assert_eq!(summary, expected);
    assert_eq!((&objects[3]["frames"], &objects[3]["errors"]), (&3.into(), &1.into()));
    assert_eq!(objects[1]["fields"][0]["offset"], one, "offsets are those of the capture");
    assert_eq!(objects[2]["problems"][0]["offset"], one + two);
}

#[test]
fn the_output_does_not_depend_on_the_sizes_of_reads() {
    let input = [frame(300), frame(0), frame(70_000), b"\x01\xff\xff\xff\xff and the rest".to_vec()].concat();
    let whole = run_with_input(&["decode"], &input);
    assert_eq!(whole.status, 1);
    for piece in [1000, 65_536, 65_537] {
        let mut child = command().arg("decode").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let pieces: Vec<Vec<u8>> = input.chunks(piece).map(<[u8]>::to_vec).collect();
        let writing = thread::spawn(move || {
            for piece in pieces {
                stdin.write_all(&piece).unwrap();
                stdin.flush().unwrap();
            }
        });
        let mut text = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
        writing.join().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(text == whole.stdout, "in pieces of {piece}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn text_is_written_in_large_pieces() {
    let directory = tempfile::tempdir().unwrap();
    let (capture, trace) = (directory.path().join("capture"), directory.path().join("trace"));
    std::fs::write(&capture, frame(20).repeat(2000)).unwrap();
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-e", "trace=write", "-o"]).arg(&trace).arg(env!("CARGO_BIN_EXE_running-process"));
    let Ok(output) = strace.arg("decode").arg(&capture).output() else {
        println!("skipped: strace is not installed");
        return;
    };
    let lines = output.stdout.split(|byte| *byte == b'\n').count();
    let writes = std::fs::read_to_string(&trace).unwrap().matches("write(1").count();
    assert!(lines > 20_000 && writes > 0 && writes < lines / 100, "{writes} system calls for {lines} lines");
}
