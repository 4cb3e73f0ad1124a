//! The commands of the cache.
//!
//! Replies and error texts are those of Redis 5. HELLO, with RESP3, and the options KEEPTTL and GET of SET are younger and behave as
//! in Redis 7.

mod call;
mod error;
mod keys;
mod server;
mod table;

pub(crate) use call::Client;
pub(crate) use table::execute;
