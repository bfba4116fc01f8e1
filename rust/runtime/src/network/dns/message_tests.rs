use proptest::prelude::*;
use simple_dns::rdata::RData;
use simple_dns::{Name, Packet, PacketFlag, QCLASS, QTYPE, RCODE, TYPE};

use super::*;

fn query(name: &str, kind: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(0x1234);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(simple_dns::Question::new(
        Name::new_unchecked(name).into_owned(),
        QTYPE::TYPE(kind),
        QCLASS::CLASS(simple_dns::CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().unwrap()
}

fn read_query(data: &[u8]) -> Query<'_> {
    match read(data) {
        Message::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_query_is_read() {
    let data = query("Web.Example", TYPE::AAAA);
    let query = read_query(&data);
    assert_eq!(query.name.as_deref(), Some(&b"web.example"[..]));
    assert_eq!(
        (query.kind, query.internet, query.limit()),
        (AAAA, true, 512)
    );
    assert_eq!(query.question, &data[12..]);
}

#[test]
fn an_answer_is_what_others_read() {
    let data = query("wEb", TYPE::A);
    let records = ["10.0.0.1", "10.0.0.2"].map(|ip| Record::Address(ip.parse().unwrap()));
    let answer = read_query(&data).answer(Code::Fine, &records, 512);
    let packet = Packet::parse(&answer).unwrap();
    assert_eq!(packet.id(), 0x1234);
    assert!(packet.has_flags(
        PacketFlag::RESPONSE | PacketFlag::RECURSION_AVAILABLE | PacketFlag::RECURSION_DESIRED
    ));
    assert!(!packet.has_flags(PacketFlag::TRUNCATION));
    // The name's case is kept.
    assert_eq!(packet.questions[0].qname.to_string(), "wEb");
    let addresses: Vec<_> = packet
        .answers
        .iter()
        .map(|record| match &record.rdata {
            RData::A(a) if record.ttl == 600 => std::net::Ipv4Addr::from(a.address).to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn an_answer_that_is_too_large_says_so() {
    let mut data = query("many", TYPE::AAAA);
    let records: Vec<Record> = (0..100)
        .map(|n| Record::Address(std::net::Ipv6Addr::from(n as u128).into()))
        .collect();
    let answer = read_query(&data).answer(Code::Fine, &records, 512);
    let packet = Packet::parse(&answer).unwrap();
    assert!(answer.len() <= 512 && packet.has_flags(PacketFlag::TRUNCATION));
    assert_eq!(packet.answers.len(), (512 - data.len()) / 28);

    // With EDNS there is more room, and the answer has a record of that, too.
    data[11] = 1;
    data.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    let query = read_query(&data);
    assert_eq!(query.limit(), 4096);
    let answer = query.answer(Code::Fine, &records, query.limit());
    let packet = Packet::parse(&answer).unwrap();
    assert_eq!(packet.answers.len(), 100);
    assert_eq!(packet.opt().unwrap().udp_packet_size, 1232);
    assert!(!packet.has_flags(PacketFlag::TRUNCATION));
}

#[test]
fn names_of_addresses() {
    for (name, ip) in [
        ("2.0.18.172.in-addr.arpa", Some("172.18.0.2")),
        (
            "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            Some("fd00::2"),
        ),
        ("18.172.in-addr.arpa", None),
        ("1.2.0.18.172.in-addr.arpa", None),
        ("256.0.18.172.in-addr.arpa", None),
        ("2.0.d.f.ip6.arpa", None),
        (
            "g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            None,
        ),
        (".in-addr.arpa", None),
        ("in-addr.arpa", None),
    ] {
        let ip = ip.map(|ip| ip.parse().unwrap());
        assert_eq!(address_of(name.as_bytes()), ip, "{name}");
    }
    let data = query("2.0.18.172.in-addr.arpa", TYPE::PTR);
    let records = [Record::Name(b"web.front".to_vec())];
    let answer = read_query(&data).answer(Code::Fine, &records, 512);
    let packet = Packet::parse(&answer).unwrap();
    match &packet.answers[0].rdata {
        RData::PTR(name) => assert_eq!(name.0.to_string(), "web.front"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_query_is_refused_or_passed_over() {
    let good = query("web", TYPE::A);
    let changed = |at: usize, value: u8| {
        let mut data = good.clone();
        data[at] = value;
        data
    };
    let code = |data: &[u8]| match read(data) {
        Message::Refused(answer) => Packet::parse(&answer).unwrap().rcode(),
        other => panic!("{other:?}"),
    };
    // No question, many, more than there are; records that are not there, or too many.
    for (at, value) in [
        (5, 0),
        (5, 2),
        (4, 0xff),
        (7, 1),
        (9, 1),
        (11, 1),
        (10, 0xff),
    ] {
        assert_eq!(code(&changed(at, value)), RCODE::FormatError, "{at}");
    }
    assert_eq!(code(&changed(2, 0x28)), RCODE::NotImplemented);
    // A pointer to itself, a label that is too long, one that goes on behind the end.
    for value in [0xc0, 0x40, 0x3f] {
        assert_eq!(code(&changed(12, value)), RCODE::FormatError, "{value}");
    }
    for end in 12..good.len() {
        assert_eq!(code(&good[..end]), RCODE::FormatError, "{end}");
    }
    // Nothing that could be answered, and answers.
    for data in [&good[..11], &[], &changed(2, 0x80)] {
        assert!(matches!(read(data), Message::Nothing));
    }
    // 254 bytes of labels are a name's most.
    for (count, fits) in [(127, true), (128, false)] {
        let mut data = good[..12].to_vec();
        data.extend(std::iter::repeat_n(*b"\x01a", count).flatten());
        data.extend_from_slice(&[0, 0, 1, 0, 1]);
        assert_eq!(matches!(read(&data), Message::Query(_)), fits);
    }
}

#[test]
fn types_that_nobody_knows_are_no_errors() {
    let mut data = query("web", TYPE::A);
    let at = data.len() - 4;
    data[at..at + 2].copy_from_slice(&64_999u16.to_be_bytes());
    assert_eq!(read_query(&data).kind, 64_999);
}

#[test]
fn only_what_was_asked_is_answered() {
    let mut data = query("web", TYPE::A);
    let question = data[12..].to_vec();
    assert_eq!(check(&data, 0x1234, &question), Reply::Foreign);
    data[2] |= 0x80;
    assert_eq!(check(&data, 0x1234, &question), Reply::Good);
    assert_eq!(check(&data, 0x1235, &question), Reply::Foreign);
    data[13] = b'W';
    assert_eq!(check(&data, 0x1234, &question), Reply::Good);
    data[13] = b'x';
    assert_eq!(check(&data, 0x1234, &question), Reply::Foreign);
    data[13] = b'w';
    for (code, reply) in [
        (1, Reply::Failed),
        (2, Reply::Failed),
        (3, Reply::Good),
        (5, Reply::Failed),
    ] {
        data[3] = code;
        assert_eq!(check(&data, 0x1234, &question), reply);
    }
    assert_eq!(check(&data[..20], 0x1234, &question), Reply::Foreign);
    data.truncate(12);
    data[5] = 0;
    assert_eq!(check(&data, 0x1234, &question), Reply::Failed);
}

proptest! {
    #[test]
    fn names_come_out_as_they_went_in(name in "[a-zA-Z0-9_äöü-]{1,20}(\\.[a-zA-Z0-9_-]{1,63}){0,3}") {
        let data = query(&name, TYPE::A);
        let found = read_query(&data);
        prop_assert_eq!(found.name.clone().unwrap(), name.to_ascii_lowercase().into_bytes());
        let answer = found.answer(Code::Fine, &[], 512);
        prop_assert_eq!(Packet::parse(&answer).unwrap().questions[0].qname.to_string(), name);
    }

    #[test]
    fn any_bytes_are_read(data in prop::collection::vec(any::<u8>(), 0..200), id: u16) {
        if let Message::Query(query) = read(&data) {
            let records = [Record::Name(data.clone()), Record::Address([1, 2, 3, 4].into())];
            let answer = query.answer(Code::Fine, &records, query.limit());
            prop_assert!(answer.len() <= query.limit());
        }
        check(&data, id, &data);
        address_of(&data);
        let mut cut = data.clone();
        truncate(&mut cut, &data[..data.len().min(20)], 16);
    }
}
