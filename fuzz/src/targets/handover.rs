use crate::handover_messages::Message;

/// A message of a handover is complete with its last byte and not before, and is written as it was read.
pub(crate) fn run(input: &[u8]) {
    let Ok(Some((message, length))) = Message::decode(input) else { return };
    assert_eq!(message.encode(), &input[..length]);
    for end in 0..length {
        assert_eq!(Message::decode(&input[..end]), Ok(None), "cut at {end}");
    }
}
