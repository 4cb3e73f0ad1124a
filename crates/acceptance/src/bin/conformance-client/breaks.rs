//! The rules that the client on bytes can break, one at a time.

use running_process_acceptance::breaks;
use running_process_acceptance::raw::Reading;

breaks! {
    // Framing.
    OneRead "one-read" "takes what one read returned for the whole frame"
    SmallBuffer "small-buffer" "has a buffer of 64 KiB for a body, and fails at a larger one"
    CapUnchecked "cap-unchecked" "waits for a body of any length"
    FramingVersionUnchecked "framing-version-unchecked" "reads a length behind any first byte"
    EndIsAnswer "end-is-answer" "takes what has arrived at the end of the connection for the body"
    // Fields.
    UnknownFieldFatal "unknown-field-fatal" "fails at a field that it does not know"
    UnknownFixedFatal "unknown-fixed-fatal" "skips unknown varints and bytes, and not unknown fixed64 and fixed32"
    FieldsInOrder "fields-in-order" "reads fields in ascending order only"
    FirstValueWins "first-value-wins" "keeps the first value of a repeated field"
    DamageIgnored "damage-ignored" "takes what it has read until a body is damaged"
    TextPayload "text-payload" "ends a payload at its first zero byte"
    EmptyIsNone "empty-is-none" "takes an empty payload for no answer"
    // Responses.
    IdUnchecked "id-unchecked" "takes a response of any id"
    IdTruncated "id-truncated" "compares ids in 32 bits"
    ProtocolUnchecked "protocol-unchecked" "takes a response of any payload protocol, a refusal too"
    KindUnchecked "kind-unchecked" "takes the next frame for the response, whatever its kind"
    VersionUnchecked "version-unchecked" "takes a response in an envelope of any version"
    EncodingUnchecked "encoding-unchecked" "prints an encoded payload as it is"
    RefusalSkipped "refusal-skipped" "passes over refusals, and waits for an answer"
    EventFatal "event-fatal" "fails at an event that it has not asked for"
    // Proofs.
    NonceUnchecked "nonce-unchecked" "compares only the identity of a proof"
    NonceFixed "nonce-fixed" "sends the same nonce in each probe"
    IdentityUnchecked "identity-unchecked" "compares only the nonce of a proof"
    PidOnly "pid-only" "compares only the pid of a proof"
    ProbeFieldsUnchecked "probe-fields-unchecked" "looks at nothing but the payload of a proof"
    ProofTooLate "proof-too-late" "sends its request together with the probe"
    // Requests.
    RequestVersion "request-version" "sends a request without an envelope version"
    RequestEncoded "request-encoded" "encodes its request for a daemon that has listed no encodings"
    RequestTwice "request-twice" "sends its request again on another connection"
    RequestDescending "request-descending" "writes fields in descending order"
    ReservedTag "reserved-tag" "writes its name at the tag 10"
    DescriptorsUnasked "descriptors-unasked" "announces a descriptor to a daemon that takes none"
}

impl Break {
    /// Returns how the client reads the fields of frames.
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
