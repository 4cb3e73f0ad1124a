//! An answer that is a file of 1 GiB, which the server has open. The client reads its last byte by position.
//!
//! The published peer passes no descriptors, so it sends the bytes: 65 answers, each as large as a frame allows.

use super::row_of_calls;
use crate::floor::descriptor;
use crate::party::{ours, peer};
use crate::row::{Contender, Row, Unit};

pub fn rows() -> [Row; 1] {
    [row_of_calls("artifact", "an answer that is a file of 1 GiB, blocking", Unit::Time, 1, || {
        vec![
            Contender::floor("sendmsg and recvmsg by hand", |scratch| descriptor::client(scratch).run),
            Contender::ours("serve_inline", |scratch| ours::artifact(scratch, "ours-inline").run).within(2.0),
            Contender::ours("serve", |scratch| ours::artifact(scratch, "ours").run).within(2.0),
            Contender::peer("FrameClient, the bytes in 65 answers", |scratch| peer::artifact(scratch).run),
        ]
    })]
}
