//! The messages of the wire and their fields.

use super::wire_type::WireType;

/// A message and its fields.
#[derive(Debug)]
pub(super) struct Message {
    /// Name in the texts of problems.
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) tag: u32,
    pub(super) name: &'static str,
    pub(super) kind: FieldType,
}

/// The type of a field's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldType {
    Uint32,
    Uint64,
    /// 64 bits, milliseconds since the Unix epoch.
    Time,
    /// 32 bits, seconds.
    Seconds,
    FrameKind,
    PayloadEncoding,
    PayloadProtocol,
    Text,
    Bytes,
    Digest,
    /// Bytes; in a probe a nonce, in its response a nonce and an identity.
    Payload,
    Message(&'static Message),
}

impl FieldType {
    /// Returns the wire type of such a field.
    pub(super) fn wire_type(self) -> WireType {
        match self {
            Self::Uint32
            | Self::Uint64
            | Self::Time
            | Self::Seconds
            | Self::FrameKind
            | Self::PayloadEncoding
            | Self::PayloadProtocol => WireType::Varint,
            Self::Text | Self::Bytes | Self::Digest | Self::Payload | Self::Message(_) => WireType::Len,
        }
    }
}

impl Message {
    /// Returns the field with that tag.
    pub(super) fn field(&self, tag: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.tag == tag)
    }
}

const fn field(tag: u32, name: &'static str, kind: FieldType) -> Field {
    Field { tag, name, kind }
}

pub(super) const ENVELOPE_VERSION: u32 = 1;
pub(super) const KIND: u32 = 2;
pub(super) const PAYLOAD_PROTOCOL: u32 = 3;
pub(super) const PAYLOAD: u32 = 4;
pub(super) const PAYLOAD_ENCODING: u32 = 6;

pub(super) static FRAME: Message = Message {
    name: "frame body",
    fields: &[
        field(ENVELOPE_VERSION, "envelope_version", FieldType::Uint32),
        field(KIND, "kind", FieldType::FrameKind),
        field(PAYLOAD_PROTOCOL, "payload_protocol", FieldType::PayloadProtocol),
        field(PAYLOAD, "payload", FieldType::Payload),
        field(5, "request_id", FieldType::Uint64),
        field(PAYLOAD_ENCODING, "payload_encoding", FieldType::PayloadEncoding),
        field(7, "deadline_unix_ms", FieldType::Time),
        field(8, "traceparent", FieldType::Text),
        field(9, "tracestate", FieldType::Text),
    ],
};

/// `DaemonProcess` and `DaemonProcessExtension`, which share their bytes.
pub(super) static IDENTITY: Message = Message {
    name: "identity",
    fields: &[
        field(1, "pid", FieldType::Uint32),
        field(2, "exe_path", FieldType::Text),
        field(3, "exe_sha256", FieldType::Digest),
        field(4, "ipc_endpoint", FieldType::Message(&ENDPOINT)),
        field(5, "started_at_unix_ms", FieldType::Time),
        field(6, "boot_id", FieldType::Text),
        field(7, "idle_timeout_secs", FieldType::Seconds),
        field(8, "exe_hash_algorithm", FieldType::Text),
        field(9, "exe_hash", FieldType::Digest),
        field(1000, "exe_path_bytes", FieldType::Bytes),
        field(1001, "start_time", FieldType::Uint64),
        field(1002, "instance_id", FieldType::Digest),
        field(1003, "pid_namespace", FieldType::Uint64),
        field(1004, "inherited_listener", FieldType::Uint64),
        field(1005, "version", FieldType::Text),
        field(1006, "build", FieldType::Text),
    ],
};

static ENDPOINT: Message = Message {
    name: "endpoint",
    fields: &[field(1, "namespace_id", FieldType::Text), field(2, "path", FieldType::Text)],
};
