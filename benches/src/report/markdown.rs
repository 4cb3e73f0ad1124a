//! The results as a document.

use super::{Result, cost, count, environment, goal, ratio, role};
use crate::row::Role;
use std::fmt::Write;

const INTRODUCTION: &str = "\
# Benchmarks

What the library costs, next to the published peer (the crate of the same name, 4.10.21), to others, and to a *floor*: a program
written by hand that does only what the row asks for.

![What each task costs as a multiple of the least that it can cost](benchmarks.svg)

![Requests in a second for 1, 8, 64 and 512 connections](connections.svg)

This page and the charts are written by

```sh
cargo run --release --manifest-path benches/Cargo.toml -- --write
```

Without `--write` the same table goes to the terminal; `--rows` takes the beginnings of the rows' names, `--list` shows them,
`--builds` adds the time of clean builds. It runs on Linux; redis-server and strace are used if they are there.

## Reading the table

A time alone says little about a library, and much about a machine and its other users. So every contender of a row is sampled in
each of many short rounds, in alternating order. *Median* is the median over the rounds; *of the floor* and *of the peer* are medians
of the ratios within a round. Each contender runs in a process of its own, each server in another one. Where client and server talk,
both share one CPU, so that a row shows what they do and not where the scheduler puts them.

*Many connections* is about what one connection on one CPU does not show, so there the processes may use all CPUs. One thread drives
all connections, without any client library. It takes a CPU for itself, so on two CPUs a server on several threads has one left. *Half
of its highest load* is half of the rate that the same server reached just before, with one request in flight on each connection.
Requests are then due at equal intervals, and a latency counts from the time at which its request was due. For *the highest load with
a p99 under 1 ms* the driver bisects the rate; more than one request may be in flight on a connection. The peer's server is the loop
that its documentation shows, on a thread for each connection. Latencies need a machine without other users.

A request of more than 16 MiB does not fit into a frame, and its sender is refused. So the largest request here is one of 16 MiB; the
default limits of tarpc and tonic are smaller.

redis has no request that is answered with events. Its client publishes them on one connection, a command and a short answer for each,
and takes them on another one.

*The others* are used as their documentation does. The blocking client of ttrpc has one request in flight for each thread, so the rows
with 64 and those with many connections have its client and server on tokio. capnp-rpc carries plain bytes, zlink JSON, where the payload is a string. shmipc is a stream of bytes in
shared memory, without requests and responses: it does less than the rest.

*Allocations* are those of the thread that is measured, so a client's without its server's. *System calls* are those of client and
server together, counted by strace: what twice as many operations need more. *Goal* is what this library sets itself: a multiple of
the floor, or a value. Lower is better for all but rates.

";

const FLOORS: &str = "\
## The floors

All are in `benches/src/floor`, but for those of a few lines, which are beside their rows in `benches/src/rows`.

- **Frames**: header and protobuf fields, read in one loop that borrows from the buffer and knows this one message; written into a
  buffer that is used again. It asks the same legacy detector first. A connection owns its buffer, so beside it stands the same
  with the copy into a buffer of its own.
- **Into memory of its own**: one allocation and one copy of that size.
- **Connect and verify**: connect, send 32 bytes, get them back; nothing is verified. The server starts a thread for the connection.
- **A short command**: connect, send 64 bytes, get them back. Time begins at the first line of `main`.
- **Start a daemon**: the same executable binds a socket and sends back what comes.
- **Requests**: 64 bytes, without frames, sent back as they are read; a thread for each connection, or a task of tokio's.
- **64 requests in flight**: the same frames, read and written by hand; one write and one read for all 64, on each side.
- **1 MiB responses**: written from where they lie, read into the same memory again and again.
- **A file of 1 GiB**: a request of one byte; the answer is one byte and the descriptor. The client reads one byte and closes the file.
  The peer sends the bytes, since it passes no descriptors: in 65 answers, each as large as a frame allows.
- **Idle connections**: a task of tokio's that waits until the socket is readable and has no buffer until then.
";

const LIMITS: &str = "
## Limits of the rows that miss their goal

- **A legacy message**: the floor is one comparison. Ours comes in a type that could as well be a frame or an error.
- **Connection**: it owns its buffer. The floors beside show what the copy into it costs, and what giving back more than 4 MiB does
  where a million frames come at once. The rest is that each event is handed over by value.
- **Connect and verify**: 52 system calls in the client, most of which ask the kernel for one thing that is proven
  ([the steps](identity.md)).
- **A short command**: 65 system calls from the first line of `main` to the answer, where the floor has 4 (counted by strace). 9 read the
  identity file, 38 prove the process and the connection, 16 look the remembered digest up, and 2 ask. What is left is code that runs for
  the first time: of the time in the client's own code, 7 % read the JSON of the identity file and 5 % write the texts of the proof's
  steps, and no other function has more than 2 % (perf, 150 runs). There are 189 page faults, where the floor has 174.
- **Requests of 64 B, blocking**: as many system calls as the floor has. What remains is code: 2500 instructions in the client and 3750
  in the server for a call (valgrind's callgrind), among them three looks at the clock, three locks, and the memory for request and
  answer. `serve` hands the request over with it: a second copy, a place, a way to cancel it.
- **64 requests in flight**: the same without what a batch shares. Of about 1500 instructions in the server for a request (callgrind), 610 find,
  decode and admit its frame, 340 queue the answer, 230 run the handler, 160 allocate and free the answer, and 120 copy. The client
  takes about 1600.
- **64 requests in flight, `serve`**: about 3100 instructions, because a handler may keep its request. The entry in the table of the
  connection and its end take 260, the frame with memory of its own 170, memory for it and for its cancellation 160, copies of the
  request on its way 110, two latencies 110, counters that all threads share 60, and the lock and the end of the request 370. Quick ones
  are served in a row on the thread that reads, without a wake for each.
- **Requests of 16 MiB**: the floor reads into the same 16 MiB again and again. A connection gives memory above 4 MiB back after a
  message, so the system maps and clears 4096 pages for the next one. For `serve` the request gets the receive buffer itself, and its
  payload moves to the front of that once.
- **Events**: the floor writes 64 KiB of frames at once and has one thread. A handler on a thread locks its connection for each event,
  and its output is written every 16 KiB or 1 ms. On tokio the handler runs until its output is full.
- **Many connections, blocking server**: one thread polls, reads, serves quick requests and writes, so on two CPUs its rate is that of one.
  Each request has a read and a write of its own, as redis has, and a lock for its connection. A handler that is not quick runs on another
  thread. AsyncServer with a thread for each core uses the others.
- **64 KiB**: an echo copies the request into its answer, and the client reads what stands before a payload with a call of its own, so
  that the payload lands where it stays.
- **Packages**: the macros of prost and of thiserror use two versions of syn.
";

pub(super) fn render(groups: &[(&'static str, Vec<Result>)]) -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("## Measured on\n\n| | |\n| --- | --- |\n");
    for (what, value) in environment::describe() {
        let _ = writeln!(page, "| {what} | {value} |");
    }
    for (group, results) in groups {
        let _ = write!(page, "\n## {group}\n\n");
        page.push_str("| | | | median | of the floor | of the peer | allocations | system calls | goal |\n");
        page.push_str("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
        for result in results {
            table(&mut page, result);
        }
    }
    page.push('\n');
    page.push_str(FLOORS);
    page.push_str(LIMITS);
    page
}

fn table(page: &mut String, (row, contenders): &Result) {
    let mut title = row.title;
    for one in contenders {
        let mark = if one.role == Role::Ours { "**" } else { "" };
        let cells = [
            title.into(),
            role(one.role).into(),
            format!("{mark}{}{mark}", one.name),
            cost(row.unit, one.cost),
            ratio(one.to_floor),
            ratio(one.to_peer),
            count(one.allocations),
            count(one.system_calls),
            goal(row.unit, one),
        ];
        let _ = writeln!(page, "| {} |", cells.join(" | "));
        title = "";
    }
}
