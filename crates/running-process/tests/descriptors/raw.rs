//! A peer that writes and reads the socket itself.

use super::PATIENCE;
use running_process::broker::protocol::FrameRef;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The end of a connection.
pub(crate) struct Raw {
    pub(crate) socket: UnixStream,
    received: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Raw {
    pub(crate) fn new(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, received: Vec::new(), descriptors: Vec::new() }
    }

    pub(crate) fn connect(path: &str) -> Self {
        Self::new(UnixStream::connect(path).unwrap())
    }

    /// Sends `bytes`, with `descriptors` beside the first of them. The peer may be gone.
    pub(crate) fn send(&self, bytes: &[u8], descriptors: &[impl AsFd]) {
        if descriptors.is_empty() {
            let _ = (&self.socket).write_all(bytes);
            return;
        }
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
        match sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) => assert_eq!(sent, bytes.len()),
            Err(error) => assert_eq!(error, rustix::io::Errno::PIPE),
        }
    }

    /// Receives the next frame's body, and all descriptors that came by then; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
        loop {
            if let Some(header) = self.received.first_chunk::<5>() {
                let length = 5 + u32::from_le_bytes(header[1..].try_into().unwrap()) as usize;
                if self.received.len() >= length {
                    let frame: Vec<_> = self.received.drain(..length).collect();
                    return Some((frame[5..].to_vec(), std::mem::take(&mut self.descriptors)));
                }
            }
            let (mut bytes, mut space) = ([0; 4096], [MaybeUninit::uninit(); cmsg_space!(ScmRights(253))]);
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            );
            // A connection that is closed while something is unread is reset.
            let Ok(received) = received.map(|received| received.bytes) else { return None };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    self.descriptors.extend(rights);
                }
            }
            if received == 0 {
                return None;
            }
            self.received.extend_from_slice(&bytes[..received]);
        }
    }

    /// Waits until the peer has closed the connection.
    pub(crate) fn wait_closed(&mut self) {
        let mut rest = Vec::new();
        // It is reset if the peer has left something unread.
        let _ = self.socket.read_to_end(&mut rest);
    }
}

pub(crate) fn encoded(frame: &FrameRef<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    frame.encode_framed(&mut wire).unwrap();
    wire
}
