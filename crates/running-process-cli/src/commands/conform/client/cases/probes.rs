//! Proofs: answers to probes that a client takes, and those that it must not take.

use crate::commands::conform::case::Need;
use crate::commands::conform::client::case::{ClientCase, Step, answers, proof_of, proves};
use crate::commands::conform::client::identity::Identity;
use crate::commands::conform::frame::{EVENT, RawFrame};
use crate::commands::conform::protobuf::{bytes, varint};

const PROBE: &str = "Probe";
const IDENTITY: &str = "Identity";
const FILE: &str = "Identity file";

pub(super) static CASES: &[ClientCase] = &[
    ClientCase::prints("probe-bytewise", PROBE, "The response to a probe may arrive byte by byte.", answers)
        .probe(|probe, identity| {
            let mut bytes = proof_of(probe, identity).bytes();
            let rest = bytes.split_off(40);
            vec![Step::SendBytewise(bytes), Step::Send(rest)]
        })
        .needs(&[Need::Probe]),
    ClientCase::prints("probe-later-fields", IDENTITY, "Unknown fields of an identity are skipped.", answers)
        .claimed(|identity| identity.others = [varint(100, u64::MAX), bytes(3000, b"later")].concat())
        .needs(&[Need::Probe]),
    ClientCase::prints(
        "probe-sha256",
        FILE,
        "An identity with SHA-256 alone, of the first generation, is read.",
        answers,
    )
    .recorded(Identity::keep_first_generation)
    .needs(&[Need::Probe])
    .should(),
    ClientCase::prints(
        "probe-blake3",
        IDENTITY,
        "A SHA-256 of zeros beside a BLAKE3 is an absent one.",
        answers,
    )
    .recorded(Identity::keep_blake3)
    .needs(&[Need::Probe])
    .should(),
    ClientCase::prints("probe-namespace", IDENTITY, "A namespace is any text.", answers)
        .recorded(|identity| "mnt:[4026531841]:pid:[4026531836]".clone_into(&mut identity.namespace_id))
        .needs(&[Need::Probe])
        .should(),
    ClientCase::disproved(
        "probe-nonce",
        PROBE,
        "The response has the nonce of the probe.",
        |probe, identity| changed(probe, identity, |proof| proof.payload[..32].fill(7)),
    ),
    ClientCase::disproved("probe-nonce-end", PROBE, "Each byte of the nonce counts.", |probe, identity| {
        changed(probe, identity, |proof| proof.payload[31] ^= 1)
    }),
    ClientCase::disproved(
        "probe-no-payload",
        PROBE,
        "A response without a payload is no proof.",
        |probe, identity| changed(probe, identity, |proof| proof.payload.clear()),
    ),
    ClientCase::disproved(
        "probe-nonce-alone",
        PROBE,
        "A nonce without an identity is no proof.",
        |probe, identity| changed(probe, identity, |proof| proof.payload.truncate(32)),
    ),
    ClientCase::disproved("probe-id", PROBE, "The response has the id of the probe.", |probe, identity| {
        changed(probe, identity, |proof| proof.id ^= 0x55)
    }),
    ClientCase::disproved(
        "probe-protocol",
        PROBE,
        "The response is under the protocol of probes.",
        |probe, identity| changed(probe, identity, |proof| proof.protocol = 0xF0C0),
    ),
    ClientCase::disproved("probe-kind", PROBE, "A frame of another kind is no proof.", |probe, identity| {
        changed(probe, identity, |proof| proof.kind = EVENT)
    }),
    ClientCase::disproved(
        "probe-version",
        PROBE,
        "A proof has the envelope version 1.",
        |probe, identity| changed(probe, identity, |proof| proof.version = 2),
    ),
    ClientCase::disproved("probe-encoding", PROBE, "A proof is not encoded.", |probe, identity| {
        changed(probe, identity, |proof| proof.encoding = 1)
    }),
    ClientCase::disproved(
        "probe-damaged",
        PROBE,
        "An identity that is damaged is no proof.",
        |probe, identity| changed(probe, identity, |proof| proof.payload.truncate(proof.payload.len() - 1)),
    ),
    ClientCase::disproved("probe-end", PROBE, "The end of the connection is no proof.", |_, _| {
        vec![Step::Close]
    }),
    ClientCase::disproved(
        "probe-behind",
        PROBE,
        "Bytes behind the proof end the connection.",
        |probe, identity| vec![Step::Send([proof_of(probe, identity).bytes(), vec![1]].concat())],
    )
    .should(),
    ClientCase::disproved("identity-pid", PROBE, "The process of the proof is the recorded one.", proves)
        .claimed(|identity| identity.pid += 1),
    ClientCase::disproved(
        "identity-exe-path",
        PROBE,
        "The executable of the proof is the recorded one.",
        proves,
    )
    .claimed(|identity| identity.exe_path.push_str(".other")),
    ClientCase::disproved("identity-digest", PROBE, "The digest of the proof is the recorded one.", proves)
        .claimed(|identity| {
            identity.blake3[0] ^= 1;
            identity.sha256[0] ^= 1;
        }),
    ClientCase::disproved("identity-boot-id", PROBE, "The boot of the proof is the recorded one.", proves)
        .claimed(|identity| "9f0c7e0e-0000-4000-8000-000000000000".clone_into(&mut identity.boot_id)),
    ClientCase::disproved(
        "identity-endpoint",
        PROBE,
        "The endpoint of the proof is the recorded one.",
        proves,
    )
    .claimed(|identity| identity.path.push_str(".other")),
    ClientCase::disproved("identity-no-digest", IDENTITY, "An identity without a digest is refused.", proves)
        .claimed(|identity| {
            identity.blake3.clear();
            identity.sha256.clear();
        }),
    ClientCase::disproved(
        "identity-short-digest",
        IDENTITY,
        "A digest that has not 32 bytes is refused.",
        proves,
    )
    .claimed(|identity| {
        identity.blake3.truncate(20);
        identity.sha256.truncate(20);
    }),
    ClientCase::disproved(
        "impostor",
        PROBE,
        "A process that repeats the identity of another one is found out.",
        proves,
    )
    .recorded(|identity| identity.pid = std::os::unix::process::parent_id())
    // A client may find it out before it sends a probe.
    .needs(&[])
    .note(),
];

/// Sends the proof with a change. A client that takes it finds an open connection for its request.
fn changed(probe: &RawFrame, identity: &[u8], change: fn(&mut RawFrame)) -> Vec<Step> {
    let mut proof = proof_of(probe, identity);
    change(&mut proof);
    vec![Step::Send(proof.bytes())]
}
