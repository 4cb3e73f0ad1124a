//! Requests of which the daemon has not received the end.

use crate::common::SERVED;
use running_process::broker::backend_sdk::ClientConnection;

#[test]
fn requests_that_were_not_written_to_their_end_are_told_in_the_order_of_the_output() {
    let mut client = ClientConnection::new();
    let unwritten = |client: &ClientConnection| client.unwritten_requests().collect::<Vec<_>>();
    let mut lengths = Vec::new();
    let ids = [1, 0, 100_000, 7].map(|length| {
        let before = client.unwritten();
        let id = client.send_request(SERVED, vec![0; length]).unwrap();
        lengths.push(client.unwritten() - before);
        id
    });
    let ends = |written: usize| {
        let mut end = 0;
        let all = ids.iter().zip(&lengths).map(|(id, length)| {
            end += length;
            (*id, end)
        });
        all.filter(|(_, end)| *end > written).map(|(id, end)| (id, end - written)).collect::<Vec<_>>()
    };
    let mut written = 0;
    for step in [0, 3, lengths[0] - 3, lengths[1] + 50_000, lengths[2] - 50_001, 1, lengths[3] - 1, 1] {
        client.output_written(step);
        written += step;
        assert_eq!(unwritten(&client), ends(written), "after {written} bytes");
    }
    assert_eq!(unwritten(&client), []);
    let next = client.send_request(SERVED, *b"next").unwrap();
    client.cancel(next);
    assert_eq!(unwritten(&client), [], "a cancelled request is not in flight");
}
