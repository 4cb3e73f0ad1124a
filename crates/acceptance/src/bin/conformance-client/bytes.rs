//! A client on raw bytes.

use crate::breaks::Break;
use crate::told::{protocol, variable};
use prost::Message;
use running_process_acceptance::raw::{self, EVENT, Fields, Frame, HEADER_BYTES, MAX_BODY_BYTES, RESPONSE};
use serde_json::Value;
use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PROBE: u32 = 0xB232;
const NONCE_BYTES: usize = 32;
const SMALL_BUFFER: usize = 64 * 1024;
const REQUEST_ID: u64 = 7;
const SNAPPY: i32 = 2;

/// An identity as a published daemon of either generation writes it.
#[derive(Clone, PartialEq, Message)]
struct Identity {
    #[prost(uint32, tag = "1")]
    pid: u32,
    #[prost(string, tag = "2")]
    exe_path: String,
    #[prost(bytes = "vec", tag = "3")]
    exe_sha256: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    ipc_endpoint: Option<Endpoint>,
    #[prost(string, tag = "6")]
    boot_id: String,
    #[prost(bytes = "vec", tag = "9")]
    exe_hash: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Endpoint {
    #[prost(string, tag = "2")]
    path: String,
}

/// Proves the daemon, and returns the payload of the answer to `echo hello`.
pub(crate) fn request(broken: Option<Break>) -> Result<Vec<u8>> {
    let document = serde_json::from_slice(&std::fs::read(variable("IDENTITY")?)?)?;
    let mut connection = Connection::open(broken)?;
    let probe = connection.probe()?;
    if broken == Some(Break::ProofTooLate) {
        connection.ask()?;
    }
    connection.prove(&probe, &document)?;
    if broken != Some(Break::ProofTooLate) {
        connection.ask()?;
    }
    if broken == Some(Break::RequestTwice) {
        Connection::open(broken)?.ask()?;
    }
    connection.answer()
}

struct Connection {
    stream: UnixStream,
    /// The bytes that have arrived and were not taken yet.
    input: Vec<u8>,
    protocol: u32,
    broken: Option<Break>,
}

impl Connection {
    fn open(broken: Option<Break>) -> Result<Self> {
        let stream = UnixStream::connect(variable("SOCKET")?)?;
        Ok(Self { stream, input: Vec::new(), protocol: protocol()?, broken })
    }

    fn breaks(&self, rule: Break) -> bool {
        self.broken == Some(rule)
    }

    /// Sends a probe with a nonce, and returns it.
    fn probe(&mut self) -> Result<Frame> {
        let mut nonce = vec![7; NONCE_BYTES];
        if !self.breaks(Break::NonceFixed) {
            File::open("/dev/urandom")?.read_exact(&mut nonce)?;
        }
        let probe = Frame {
            envelope_version: 1,
            payload_protocol: PROBE,
            request_id: 1,
            payload: nonce,
            ..Frame::default()
        };
        self.stream.write_all(&raw::encode(&probe, Fields::default()))?;
        Ok(probe)
    }

    /// Reads the response to `probe` and compares it.
    fn prove(&mut self, probe: &Frame, document: &Value) -> Result<()> {
        let proof = self.frame()?;
        let fields = [proof.envelope_version == 1, proof.kind == RESPONSE, proof.payload_protocol == PROBE]
            .into_iter()
            .chain([proof.request_id == probe.request_id, proof.payload_encoding == 0]);
        if !self.breaks(Break::ProbeFieldsUnchecked) && fields.into_iter().any(|is_right| !is_right) {
            return Err("the response is none to the probe".into());
        }
        let (nonce, identity) =
            proof.payload.split_at_checked(NONCE_BYTES).ok_or("the proof is too short")?;
        if nonce != probe.payload && !self.breaks(Break::NonceUnchecked) {
            return Err("the nonce is another one".into());
        }
        let identity = Identity::decode(identity)?;
        if !self.breaks(Break::IdentityUnchecked) && !self.is_recorded(&identity, document)? {
            return Err("another daemon answers".into());
        }
        if !self.input.is_empty() && !self.breaks(Break::ProofTooLate) {
            return Err("bytes follow the proof".into());
        }
        Ok(())
    }

    /// Compares an identity with the recorded one.
    fn is_recorded(&self, identity: &Identity, document: &Value) -> Result<bool> {
        if u64::from(identity.pid) != document["pid"].as_u64().ok_or("no pid is recorded")? {
            return Ok(false);
        }
        if self.breaks(Break::PidOnly) {
            return Ok(true);
        }
        // Zeros are an absent digest.
        let digest = |name: &str| -> Result<Vec<u8>> {
            let digest: Vec<u8> = serde_json::from_value(document[name].clone()).unwrap_or_default();
            Ok(if digest.iter().all(|byte| *byte == 0) { Vec::new() } else { digest })
        };
        let (sha256, blake3) = (digest("exe_sha256")?, digest("exe_hash")?);
        let has_digests = if blake3.is_empty() {
            !sha256.is_empty() && identity.exe_sha256 == sha256
        } else {
            identity.exe_hash == blake3
        };
        let path = identity.ipc_endpoint.as_ref().map(|endpoint| endpoint.path.as_str());
        Ok(has_digests
            && document["exe_path"].as_str() == Some(&identity.exe_path)
            && document["boot_id"].as_str() == Some(&identity.boot_id)
            && document["ipc_endpoint"]["path"].as_str() == path)
    }

    /// Sends the request.
    fn ask(&mut self) -> Result<()> {
        let mut request = Frame {
            envelope_version: 1,
            payload_protocol: self.protocol,
            payload: b"echo hello".to_vec(),
            request_id: REQUEST_ID,
            ..Frame::default()
        };
        let mut more = Fields::default();
        match self.broken {
            Some(Break::RequestVersion) => request.envelope_version = 0,
            Some(Break::RequestEncoded) => {
                // The size, and one literal.
                request.payload = [&[10, 9 << 2], &request.payload[..]].concat();
                request.payload_encoding = SNAPPY;
            }
            Some(Break::ReservedTag) => more = more.bytes(10, b"a client"),
            Some(Break::DescriptorsUnasked) => more = more.number(1001, 1),
            Some(Break::RequestDescending) => {
                // Of the frame only its protocol, and the other fields behind it.
                more = more.number(5, REQUEST_ID).bytes(4, &request.payload).number(1, 1);
                request = Frame { payload_protocol: self.protocol, ..Frame::default() };
            }
            _ => {}
        }
        Ok(self.stream.write_all(&raw::encode(&request, more))?)
    }

    /// Returns the payload of the response to the request.
    fn answer(&mut self) -> Result<Vec<u8>> {
        loop {
            let frame = self.frame()?;
            if frame.envelope_version != 1 && !self.breaks(Break::VersionUnchecked) {
                return Err("an envelope of another version".into());
            }
            if frame.kind == EVENT && !self.breaks(Break::KindUnchecked) {
                if self.breaks(Break::EventFatal) {
                    return Err("an event that was not asked for".into());
                }
                continue;
            }
            if frame.kind != RESPONSE && !self.breaks(Break::KindUnchecked) {
                return Err("a frame that is no response".into());
            }
            let ids = if self.breaks(Break::IdTruncated) { u64::from(u32::MAX) } else { u64::MAX };
            let is_ours = frame.request_id & ids == REQUEST_ID
                || self.breaks(Break::IdUnchecked)
                || self.breaks(Break::KindUnchecked);
            if !is_ours {
                return Err("a response of another id".into());
            }
            if frame.payload_protocol != self.protocol && !self.breaks(Break::ProtocolUnchecked) {
                if frame.payload_protocol == 0 && self.breaks(Break::RefusalSkipped) {
                    continue;
                }
                return Err("a refusal, or a response of another protocol".into());
            }
            if frame.payload_encoding != 0 && !self.breaks(Break::EncodingUnchecked) {
                return Err("an encoded response".into());
            }
            if frame.payload.is_empty() && self.breaks(Break::EmptyIsNone) {
                return Err("no answer".into());
            }
            let end = frame.payload.iter().position(|byte| *byte == 0 && self.breaks(Break::TextPayload));
            return Ok(frame.payload[..end.unwrap_or(frame.payload.len())].to_vec());
        }
    }

    /// Reads the next frame.
    fn frame(&mut self) -> Result<Frame> {
        let mut has_ended = false;
        loop {
            if let Some(body) = self.take_body(has_ended)? {
                let frame = raw::decode(&body, Break::reading(self.broken));
                return frame.ok_or_else(|| "a damaged body".into());
            }
            if has_ended {
                return Err("the end of the connection".into());
            }
            let mut bytes = vec![0; SMALL_BUFFER];
            let count = self.stream.read(&mut bytes)?;
            has_ended = count == 0;
            self.input.extend_from_slice(&bytes[..count]);
        }
    }

    /// Takes the body of the next frame out of the input, if it is complete.
    fn take_body(&mut self, has_ended: bool) -> Result<Option<Vec<u8>>> {
        if self.input.first().is_some_and(|first| *first != 1) && !self.breaks(Break::FramingVersionUnchecked)
        {
            return Err("no frame".into());
        }
        let Some((header, rest)) = self.input.split_first_chunk::<HEADER_BYTES>() else {
            let is_short = self.breaks(Break::OneRead) && !self.input.is_empty();
            return if is_short { Err("a short header".into()) } else { Ok(None) };
        };
        let [_, length @ ..] = *header;
        let mut length = u32::from_le_bytes(length) as usize;
        if length > MAX_BODY_BYTES && !self.breaks(Break::CapUnchecked) {
            return Err("a body above the cap".into());
        }
        if length > SMALL_BUFFER && self.breaks(Break::SmallBuffer) {
            return Err("a body above the buffer".into());
        }
        let takes_part = self.breaks(Break::OneRead) || has_ended && self.breaks(Break::EndIsAnswer);
        if takes_part && length > rest.len() {
            length = rest.len();
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let body = body.to_vec();
        self.input.drain(..HEADER_BYTES + length);
        Ok(Some(body))
    }
}
