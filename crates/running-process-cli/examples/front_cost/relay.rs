//! The least that a relay by splice(2) does: one thread, epoll, and a pipe for each direction.

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;

const MOST: usize = 64 << 10;

/// One direction of a connection.
struct Half {
    from: Rc<UnixStream>,
    to: Rc<UnixStream>,
    pipe: (OwnedFd, OwnedFd),
}

/// Relays connections at the socket `from` to that at `to`, for ever.
pub(crate) fn run(from: &Path, to: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(from)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(0), EventFlags::IN)?;
    let mut halves: HashMap<u64, Half> = HashMap::new();
    let mut next = 2;
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        for event in &events {
            let id = event.data.u64();
            if id == 0 {
                let (client, upstream) = (Rc::new(listener.accept()?.0), Rc::new(UnixStream::connect(to)?));
                for (from, to) in [(&client, &upstream), (&upstream, &client)] {
                    from.set_nonblocking(true)?;
                    let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
                    let half = Half { from: Rc::clone(from), to: Rc::clone(to), pipe };
                    epoll::add(&epoll, &half.from, EventData::new_u64(next), EventFlags::IN)?;
                    halves.insert(next, half);
                    next += 1;
                }
            } else if halves.get(&id).is_some_and(|half| !moves(half))
                && let Some(half) = halves.remove(&id)
            {
                epoll::delete(&epoll, &half.from)?;
                // It fails if the other side is gone.
                let _ended = half.to.shutdown(Shutdown::Write);
            }
        }
    }
}

/// Moves what has arrived. Returns `false` at the end, or if a side is gone.
fn moves(half: &Half) -> bool {
    let Half { from, to, pipe: (read, write) } = half;
    let mut held = match splice(from, None, write, None, MOST, SpliceFlags::NONBLOCK) {
        Ok(0) => return false,
        Err(error) => return error == Errno::WOULDBLOCK,
        Ok(held) => held,
    };
    while held > 0 {
        match splice(read, None, to, None, held, SpliceFlags::NONBLOCK) {
            Ok(moved) => held -= moved,
            // The load never fills a socket for long.
            Err(Errno::WOULDBLOCK) => std::thread::yield_now(),
            Err(_) => return false,
        }
    }
    true
}
