use prost::Message;
use running_process::broker::protocol::{Frame, FrameRef, encode_framed};

/// The borrowed frame and prost's take and refuse the same bodies, with the same fields (but for those of ours, which prost skips) and
/// in the same words; what was taken is written as prost writes it.
pub(crate) fn run(body: &[u8]) {
    match (FrameRef::decode(body), Frame::decode(body)) {
        (Ok(borrowed), Ok(owned)) => {
            assert_eq!(borrowed.to_frame(), owned);
            let mut whole = Vec::new();
            borrowed.encode_framed(&mut whole).expect("it came in a body that was small enough");
            assert_eq!(FrameRef::decode(&whole[5..]), Ok(borrowed));

            let borrowed = FrameRef { accepted_encodings: 0, descriptors: Default::default(), ..borrowed };
            assert_eq!(borrowed, owned.borrowed());
            let wire = encode_framed(&owned).expect("it came in a body that was small enough");
            assert_eq!(wire[5..], owned.encode_to_vec());
            let mut around = Vec::new();
            let at = borrowed.encode_around_payload(&mut around).expect("it was small enough a moment ago");
            assert_eq!([&around[..at], borrowed.payload, &around[at..]].concat(), wire);
        }
        (Err(borrowed), Err(owned)) => assert_eq!(borrowed.to_string(), owned.to_string()),
        (borrowed, owned) => panic!("borrowed {borrowed:?}, prost {owned:?}"),
    }
}
