//! A request that is as large as a frame may be: a larger one is refused by its sender.

use super::row_of_calls;
use crate::floor::blocking;
use crate::party::{Exchange, LARGEST, ours, peer, redis};
use crate::process::is_installed;
use crate::row::{Contender, Row, Unit};

pub fn rows() -> [Row; 1] {
    let unit = Unit::Throughput(LARGEST as u64);
    [row_of_calls("upload", "requests of 16 MiB, a frame's limit, blocking", unit, 1, || {
        let mut contenders = vec![
            Contender::floor("raw", |scratch| blocking::client(scratch, Exchange::Upload, 1).run),
            Contender::ours("serve_inline", |scratch| ours::upload(scratch, "ours-inline").run),
            Contender::ours("serve", |scratch| ours::upload(scratch, "ours").run),
            Contender::peer("FrameClient", |scratch| peer::client(scratch, Exchange::Upload).run),
        ];
        if is_installed(redis::PROGRAM) {
            contenders
                .push(Contender::other("redis", |scratch| redis::client(scratch, Exchange::Upload, 1).run));
        }
        contenders
    })]
}
