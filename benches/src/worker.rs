//! A process for each contender: with a heap, a runtime and servers that no other contender has touched.
//!
//! A worker reads commands line by line and answers each with a number. It ends at the end of its standard input.

use crate::place::{Cpus, from_argument, pin, to_argument};
use crate::row::{Row, Run};
use crate::scratch::Scratch;
use crate::{alloc, rows};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

pub struct Worker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

/// The first line of a worker.
const READY: &str = "ready";

/// A command: an operation, and the number of times to do it.
#[derive(Clone, Copy)]
enum Question {
    Cost,
    Allocations,
}

impl Question {
    fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Allocations => "allocations",
        }
    }
}

impl Worker {
    /// Starts the contender at `index` of `row` and waits until it is ready.
    pub fn start(row: &Row, index: usize, cpus: Cpus, scratch: &Scratch) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        Self::start_as(Command::new(program), row, index, cpus, scratch)
    }

    fn start_as(mut command: Command, row: &Row, index: usize, cpus: Cpus, scratch: &Scratch) -> Self {
        let mut child = command
            .args(["worker", row.name, &index.to_string()])
            .args([to_argument(cpus.client), to_argument(cpus.server)])
            .arg(scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut worker = Self { child, answers };
        assert_eq!(worker.line(), READY, "a worker does not start");
        worker
    }

    /// Returns the cost of `count` operations.
    pub fn cost(&mut self, count: u64) -> f64 {
        self.ask(Question::Cost, count)
    }

    /// Returns the number of allocations of `count` operations, in the thread that does them.
    pub fn allocations(&mut self, count: u64) -> f64 {
        self.ask(Question::Allocations, count)
    }

    fn ask(&mut self, question: Question, count: u64) -> f64 {
        let commands = self.child.stdin.as_mut().expect("it is piped");
        writeln!(commands, "{} {count}", question.name()).expect("the worker lives");
        let answer = self.line();
        answer.parse().unwrap_or_else(|_| panic!("a worker failed: {answer:?}"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the worker prints");
        line.trim_end().to_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _best_effort = self.child.wait();
    }
}

/// Executes the commands on standard input.
pub fn work(row: &str, index: &str, client: &str, server: &str, directory: &str) {
    pin(from_argument(client));
    let row = rows::all().find(|one| one.name == row).expect("the row exists");
    let contender = (row.contenders)().into_iter().nth(index.parse().expect("a number")).expect("it exists");
    let scratch = Scratch::within(Path::new(directory), from_argument(server));
    let mut run = (contender.start)(&scratch);
    println!("{READY}");
    for command in io::stdin().lines().map_while(Result::ok) {
        println!("{}", answer(&command, &mut run));
    }
}

fn answer(command: &str, run: &mut Run) -> f64 {
    let (question, count) = command.split_once(' ').expect("a question and a count");
    let count = count.parse().expect("a number");
    if question == Question::Cost.name() {
        run(count)
    } else {
        alloc::calls(|| {
            run(count);
        }) as f64
    }
}

/// Returns the system calls of `count` operations, of all processes and threads together: those of twice as many
/// operations, less those of `count`.
pub fn system_calls(row: &Row, index: usize, count: u64, cpus: Cpus, scratch: &Scratch) -> f64 {
    let once = traced(row, index, count, cpus, scratch);
    let twice = traced(row, index, 2 * count, cpus, scratch);
    (twice - once) / count as f64
}

fn traced(row: &Row, index: usize, count: u64, cpus: Cpus, scratch: &Scratch) -> f64 {
    let summary = scratch.unused("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-qq", "-o"]).arg(&summary).arg(std::env::current_exe().expect("a path"));
    let mut worker = Worker::start_as(strace, row, index, cpus, scratch);
    worker.cost(count);
    drop(worker);
    let summary = fs::read_to_string(summary).expect("strace writes its summary");
    let total = summary.lines().find(|line| line.ends_with(" total")).expect("a summary has a total");
    // Share, seconds, microseconds for each call, calls.
    total.split_whitespace().nth(3).and_then(|calls| calls.parse().ok()).expect("a count")
}
