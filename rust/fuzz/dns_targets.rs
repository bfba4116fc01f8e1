//! What the fuzzers of the name server run, and `cargo test` on the kept corpus (rust/runtime/tests/dns_corpus.rs).
use minidock_runtime::network::dns::message::{self, Code, Message, Record};

/// Any datagram, as a query and as an answer: no panic, answers of bounded size, and an answer is never taken for a query.
pub fn dns(data: &[u8]) {
    let refusal = match message::read(data) {
        Message::Query(query) => {
            assert!(query.question.len() <= 255 + 4);
            let records = [
                Record::Address([192, 0, 2, 1].into()),
                Record::Address([0; 16].into()),
                Record::Name(query.name.clone().unwrap_or_default()),
            ];
            let records: Vec<Record> = records.iter().cycle().take(90).cloned().collect();
            let answer = query.answer(Code::Fine, &records, query.limit());
            assert!(answer.len() <= query.limit());
            // The answer is one to this question, however it is cut.
            let id = message::id(&query);
            assert_eq!(
                message::check(&answer, id, query.question),
                message::Reply::Good
            );
            let mut cut = answer.clone();
            message::truncate(&mut cut, query.question, query.question.len() + 12);
            assert_eq!(
                message::check(&cut, id, query.question),
                message::Reply::Good
            );
            message::check(data, id, query.question);
            if let Some(name) = &query.name {
                message::address_of(name);
            }
            answer
        }
        Message::Refused(answer) => answer,
        Message::Nothing => return,
    };
    assert!(matches!(message::read(&refusal), Message::Nothing));
}
