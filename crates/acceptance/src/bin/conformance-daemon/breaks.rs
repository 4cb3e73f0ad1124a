//! The rules that the daemon can break, one at a time.

use running_process_acceptance::breaks;
use running_process_acceptance::raw::Reading;

breaks! {
    // Framing.
    HeaderInOneRead "header-in-one-read" "takes for granted that the first read of a message has its five header bytes"
    BodyInOneRead "body-in-one-read" "takes what one read returned for the whole body"
    RestLost "rest-lost" "clears its buffer after each frame, with the next frames in it"
    SmallBuffer "small-buffer" "has a buffer of 64 KiB for a body, and ends the connection at a larger one"
    CapUnchecked "cap-unchecked" "waits for a body of any length"
    EmptyFrameSkipped "empty-frame-skipped" "passes over a frame without a body, as if it kept the connection alive"
    FramingVersionUnchecked "framing-version-unchecked" "reads a length behind any first byte"
    // Fields.
    UnknownFieldFatal "unknown-field-fatal" "ends the connection at a field that it does not know"
    UnknownFixedFatal "unknown-fixed-fatal" "skips unknown varints and bytes, and not unknown fixed64 and fixed32"
    FirstValueWins "first-value-wins" "keeps the first value of a repeated field"
    FieldsInOrder "fields-in-order" "reads fields in ascending order only"
    DamageIgnored "damage-ignored" "answers with what it has read until a body is damaged"
    EnvelopeVersionUnchecked "envelope-version-unchecked" "serves an envelope of any version"
    KindUnchecked "kind-unchecked" "serves a frame of an unknown kind as a request"
    // Probes.
    ProbeNonce "probe-nonce" "answers a probe without its nonce"
    ProbeId "probe-id" "answers each probe under the id 1"
    ProbeTraceContext "probe-trace-context" "answers a probe without its trace context"
    ProbeLength "probe-length" "answers a nonce of any length"
    ProbeKind "probe-kind" "answers a probe of any kind"
    ProbeEncoding "probe-encoding" "answers a probe with an encoding"
    ProbeVersion "probe-version" "answers a probe in an envelope of any version"
    ProbeSize "probe-size" "answers a probe of any size"
    ProbeEnds "probe-ends" "ends the connection once it has answered a probe"
    ProbeDecides "probe-decides" "answers only probes on a connection that began with one"
    ParentPid "parent-pid" "writes its identity before it forks, so that the identity has another pid"
    NoDigest "no-digest" "has an identity without a digest"
    ShortDigest "short-digest" "has an identity with digests of 20 bytes"
    OtherPath "other-path" "has an identity with another path than that of its socket"
    // Responses.
    IdTruncated "id-truncated" "keeps request ids in 32 bits"
    IdZeroIgnored "id-zero-ignored" "takes a request without an id for one that needs no answer"
    ResponseKind "response-kind" "answers by a frame whose kind is that of the request"
    ResponseProtocol "response-protocol" "answers without the payload protocol of the request"
    ResponseVersion "response-version" "answers without an envelope version"
    EmptyUnanswered "empty-unanswered" "does not answer if the answer is empty"
    BurstCut "burst-cut" "has a table of sixteen requests, and loses the rest of a burst"
    // Refusals.
    RefusalProtocol "refusal-protocol" "refuses under the payload protocol of the request"
    RefusalEmpty "refusal-empty" "refuses with an empty payload"
    FailureEnds "failure-ends" "ends the connection when a handler fails"
    FailureSilent "failure-silent" "does not answer when a handler fails"
    UnservedAnswered "unserved-answered" "serves every payload protocol"
    FirstPartyAnswered "first-party-answered" "serves administration as if it were its own protocol"
    EncodingIgnored "encoding-ignored" "takes an encoded payload as it is"
    PastDeadline "past-deadline" "serves a request after its deadline"
    DeadlineTruncated "deadline-truncated" "keeps deadlines in 32 bits, so that all have passed"
    DeadlineUnwatched "deadline-unwatched" "compares a deadline only when the request arrives"
    // Not asked for.
    Tag1000 "tag-1000" "lists encodings to every client"
    AnswerEncoded "answer-encoded" "encodes its answers to every client"
    Notice "notice" "sends a notice to every client"
    // Events.
    EventAfterResponse "event-after-response" "sends the last event after the response"
    EventId "event-id" "sends the events of a request under the id 0"
    EventOrder "event-order" "sends the events of a request in the opposite order"
    // Cancels.
    CancelIgnored "cancel-ignored" "reads cancels and does nothing"
    CancelEnds "cancel-ends" "ends the connection at a cancel"
    CancelUnknownEnds "cancel-unknown-ends" "ends the connection at a cancel of no request in flight"
    CancelAnswered "cancel-answered" "answers each cancel"
    CancelProtocol "cancel-protocol" "ends the connection at a cancel under another payload protocol than its own"
    CancelAll "cancel-all" "cancels each request of the connection"
    // Connections.
    HalfCloseEnds "half-close-ends" "takes the end of the input for the end of the connection"
    EndUnnoticed "end-unnoticed" "does not cancel the requests of a connection that ends"
    OneConnection "one-connection" "serves one connection after the other"
    WriteUnderLock "write-under-lock" "writes to every peer under one lock"
}

impl Break {
    /// Returns how the daemon reads the fields of frames.
    pub(crate) fn reading(broken: Option<Self>) -> Reading {
        match broken {
            Some(Self::UnknownFieldFatal) => Reading::UnknownFieldFatal,
            Some(Self::UnknownFixedFatal) => Reading::UnknownFixedFatal,
            Some(Self::FieldsInOrder) => Reading::FieldsInOrder,
            Some(Self::FirstValueWins) => Reading::FirstValueWins,
            Some(Self::DamageIgnored) => Reading::DamageIgnored,
            _ => Reading::Right,
        }
    }
}
