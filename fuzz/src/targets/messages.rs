use crate::script::Script;
use prost::Message;
use running_process::broker::protocol::{
    FrameKind, FrameRef, Notice, Refusal, RefusalReason, ServerStatus, TraceParent,
};

/// Refusals, notices and statuses of any bytes are read the same after they were written again, no number in them overflows, and a
/// frame carries one of them at most.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    match script.byte() % 4 {
        0 => {
            let (kind, protocol, request_id) = (script.below(4), script.byte() % 2, script.byte() % 2);
            let kind = i32::try_from(kind).expect("it is below 4");
            let request = FrameRef::request(protocol.into(), request_id.into(), script.rest());
            let frame = FrameRef { kind, ..request };
            let (refusal, notice) = (Refusal::from_frame(&frame), Notice::from_frame(&frame));
            assert!(refusal.is_none() || kind == i32::from(FrameKind::Response) && protocol == 0);
            assert!(
                notice.is_none() || kind == i32::from(FrameKind::Event) && protocol == 0 && request_id == 0
            );
            if let Some(refusal) = refusal {
                let payload = refusal.encode_to_vec();
                let request = FrameRef::request(7, request_id.into(), b"");
                let frame = FrameRef::refusal_of(&request, &payload);
                assert_eq!(Refusal::from_frame(&frame).as_ref(), Some(&refusal));
                assert!(!refusal.to_string().contains('\n'), "{refusal}");
                let unknown = refusal.reason() == RefusalReason::Unspecified;
                assert!(!unknown || refusal.may_have_run());
            }
            if let Some(notice) = notice {
                let payload = notice.encode_to_vec();
                assert_eq!(Notice::from_frame(&FrameRef::notice(&payload)), Some(notice));
            }
        }
        1 => {
            let text = script.rest().utf8_chunks().next().map_or("", |chunk| chunk.valid());
            if let Some(parsed) = TraceParent::parse(text) {
                assert_eq!(TraceParent::parse(&parsed.to_string()), Some(parsed));
            }
        }
        _ => {
            let earlier = script.bytes();
            let Ok(status) = ServerStatus::from_payload(script.rest()) else { return };
            let again = ServerStatus::from_payload(&status.encode_to_vec());
            assert_eq!(again.as_ref(), Ok(&status));
            let latencies = status.latencies();
            let (half, most) = (latencies.quantile(0.5), latencies.max());
            assert!(half <= most);
            assert_eq!(half.is_some(), latencies.count() > 0);
            let counted = latencies.counted().fold(0_u64, |sum, (_, count)| sum.saturating_add(count));
            assert_eq!(counted, latencies.count());
            assert!(status.refused(RefusalReason::Overloaded) <= status.refused_in_all());
            let _saturates = (status.limits_hit(), status.uptime());
            let earlier = ServerStatus::from_payload(earlier).unwrap_or_default().latencies();
            assert!(latencies.since(&earlier).count() <= latencies.count());
        }
    }
}
