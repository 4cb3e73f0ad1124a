//! A file passed by sendmsg(2) and recvmsg(2), beside one byte for each request of one byte.

use super::blocking::serve_each;
use crate::artifact;
use crate::party::{Client, Server, blocking};
use crate::scratch::Scratch;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The space of a control message with one descriptor, in bytes.
const SPACE: usize = cmsg_space!(ScmRights(1));

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    serve_each(socket, ready, |mut stream| {
        let file = [artifact::file().as_fd()];
        let mut space = [MaybeUninit::uninit(); SPACE];
        while stream.read(&mut [0])? > 0 {
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&file));
            sendmsg(&stream, &[IoSlice::new(&[1])], &mut control, SendFlags::empty())?;
        }
        Ok(())
    });
}

/// Asks for the file, reads a byte of it and closes it.
pub fn client(scratch: &Scratch) -> Client {
    let server = Server::start(scratch, "raw-descriptor");
    let mut stream = server.connect();
    blocking(server, move || {
        stream.write_all(&[1]).unwrap();
        let file = receive(&stream).unwrap();
        artifact::check(|byte, position| file.read_at(byte, position));
    })
}

fn receive(stream: &UnixStream) -> io::Result<File> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    match control.drain().next() {
        Some(RecvAncillaryMessage::ScmRights(mut files)) => files.next().map(File::from),
        _ => None,
    }
    .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
