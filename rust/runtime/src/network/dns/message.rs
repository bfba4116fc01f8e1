//! Queries as they come, and answers as they go.
//!
//! Only what is needed is read: what is passed on to other name servers is none of our business but for its question.
use std::net::IpAddr;

/// Address of IPv4.
pub const A: u16 = 1;
/// Name of an address.
pub const PTR: u16 = 12;
/// Address of IPv6.
pub const AAAA: u16 = 28;
const OPT: u16 = 41;
const INTERNET: u16 = 1;
const ANY_CLASS: u16 = 255;

const HEADER: usize = 12;
/// What fits into a datagram unless the client says more.
const PLAIN: usize = 512;
/// What we take ourselves.
const OURS: u16 = 1232;
/// More records than a query has any use for.
const RECORDS: usize = 32;
/// How long an answer holds, as Docker says.
const TTL: u32 = 600;

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

/// How an answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// The name exists.
    Fine = 0,
    /// It was no query.
    Malformed = 1,
    /// Nobody knows.
    Failure = 2,
    /// Not a kind of query that we know.
    Unknown = 4,
}

/// A query with one question.
#[derive(Debug)]
pub struct Query<'a> {
    id: u16,
    flags: u16,
    /// Name, type and class as they came.
    pub question: &'a [u8],
    /// In lower case, with dots, without the last one; None if a label has a dot in it.
    pub name: Option<Vec<u8>>,
    /// The type of record that is wanted.
    pub kind: u16,
    /// Whether it is about the Internet.
    pub internet: bool,
    /// The largest answer by datagram, if the client has said so.
    edns: Option<u16>,
}

/// What a message turned out to be.
#[derive(Debug)]
pub enum Message<'a> {
    /// A query.
    Query(Query<'a>),
    /// Nothing that can be dealt with; this is the answer.
    Refused(Vec<u8>),
    /// Nothing to be answered.
    Nothing,
}

/// Reads a message of a client.
pub fn read(data: &[u8]) -> Message<'_> {
    let (Some(id), Some(flags)) = (word(data, 0), word(data, 2)) else {
        return Message::Nothing;
    };
    if data.len() < HEADER || flags & RESPONSE != 0 {
        return Message::Nothing;
    }
    let refuse = |code| Message::Refused(header(id, flags, code, 0, 0).to_vec());
    if flags & OPCODE != 0 {
        return refuse(Code::Unknown);
    }
    match parse(data, id, flags) {
        Some(query) => Message::Query(query),
        None => refuse(Code::Malformed),
    }
}

fn parse(data: &[u8], id: u16, flags: u16) -> Option<Query<'_>> {
    if word(data, 4)? != 1 {
        return None;
    }
    let (name, mut at) = name(data)?;
    let (kind, class) = (word(data, at)?, word(data, at + 2)?);
    at += 4;
    let question = &data[HEADER..at];
    let mut edns = None;
    let counts = [word(data, 6)?, word(data, 8)?, word(data, 10)?];
    let records: usize = counts.iter().map(|count| usize::from(*count)).sum();
    if records > RECORDS {
        return None;
    }
    for _ in 0..records {
        at = skip_name(data, at)?;
        if word(data, at)? == OPT {
            edns = Some(word(data, at + 2)?);
        }
        at += 10 + usize::from(word(data, at + 8)?);
        if at > data.len() {
            return None;
        }
    }
    Some(Query {
        id,
        flags,
        question,
        name,
        kind,
        internet: class == INTERNET || class == ANY_CLASS,
        edns,
    })
}

/// The name that is asked for, and where it ends. It cannot be compressed: there is nothing before it.
fn name(data: &[u8]) -> Option<(Option<Vec<u8>>, usize)> {
    let mut name = Vec::with_capacity(64);
    let mut plain = true;
    let mut at = HEADER;
    loop {
        let length = usize::from(*data.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 || at + length - HEADER > 254 {
            return None;
        }
        let label = data.get(at..at + length)?;
        plain &= !label.contains(&b'.');
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend(label.iter().map(u8::to_ascii_lowercase));
        at += length;
    }
    Some((plain.then_some(name), at))
}

/// Where the name that begins at `at` ends; what a pointer leads to is not looked at.
fn skip_name(data: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *data.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

fn word(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn header(id: u16, flags: u16, code: Code, questions: u16, others: u16) -> [u8; HEADER] {
    let kept = flags & (OPCODE | RECURSION_DESIRED);
    let flags = RESPONSE | RECURSION_AVAILABLE | kept | code as u16;
    let mut header = [0; HEADER];
    let words = [id, flags, questions, 0, 0, others];
    for (to, word) in header.chunks_exact_mut(2).zip(words) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    header
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An address, of type A or AAAA.
    Address(IpAddr),
    /// A name.
    Name(Vec<u8>),
}

impl Query<'_> {
    /// The size that an answer by datagram may have.
    pub fn limit(&self) -> usize {
        usize::from(self.edns.unwrap_or(0)).max(PLAIN)
    }

    /// The answer, of as many of the records as fit into `limit`.
    pub fn answer(&self, code: Code, records: &[Record], limit: usize) -> Vec<u8> {
        let edns = self.edns.is_some();
        let mut out = header(self.id, self.flags, code, 1, edns.into()).to_vec();
        out.extend_from_slice(self.question);
        let limit = limit - if edns { 11 } else { 0 };
        let mut count: u16 = 0;
        for record in records {
            let before = out.len();
            if !append(&mut out, record) || out.len() > limit {
                out.truncate(before);
                out[2] |= (TRUNCATED >> 8) as u8;
                break;
            }
            count += 1;
        }
        out[6..8].copy_from_slice(&count.to_be_bytes());
        if edns {
            out.push(0);
            for word in [OPT, OURS, 0, 0, 0] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        out
    }
}

/// Adds a record about the name that was asked for; false if it cannot be written.
fn append(out: &mut Vec<u8>, record: &Record) -> bool {
    let (kind, data) = match record {
        Record::Address(IpAddr::V4(ip)) => (A, ip.octets().to_vec()),
        Record::Address(IpAddr::V6(ip)) => (AAAA, ip.octets().to_vec()),
        Record::Name(name) => match encode(name) {
            Some(data) => (PTR, data),
            None => return false,
        },
    };
    out.extend_from_slice(&[0xc0, HEADER as u8]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&INTERNET.to_be_bytes());
    out.extend_from_slice(&TTL.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(&data);
    true
}

/// A name with dots as labels; None if it is too long.
fn encode(name: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len() + 2);
    for label in name.split(|byte| *byte == b'.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.push(0);
    (out.len() <= 255).then_some(out)
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
pub fn address_of(name: &[u8]) -> Option<IpAddr> {
    let name = std::str::from_utf8(name).ok()?;
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let mut bytes = [0; 4];
        let mut parts = rest.split('.');
        for to in bytes.iter_mut().rev() {
            *to = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then(|| IpAddr::from(bytes));
    }
    let rest = name.strip_suffix(".ip6.arpa")?;
    let mut number: u128 = 0;
    let mut count = 0;
    for (at, part) in rest.split('.').enumerate() {
        if at >= 32 || part.len() != 1 {
            return None;
        }
        number |= u128::from(u8::from_str_radix(part, 16).ok()?) << (4 * at);
        count += 1;
    }
    (count == 32).then(|| IpAddr::from(number.to_be_bytes()))
}

/// What another name server has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Something else than what was asked.
    Foreign,
    /// It does not know, and another might.
    Failed,
    /// An answer.
    Good,
}

/// Looks at what has come from a name server that was asked `question` under the number `id`.
pub fn check(data: &[u8], id: u16, question: &[u8]) -> Reply {
    let (Some(found), Some(flags)) = (word(data, 0), word(data, 2)) else {
        return Reply::Foreign;
    };
    if found != id || flags & RESPONSE == 0 || data.len() < HEADER {
        return Reply::Foreign;
    }
    let failed = matches!(flags & 0xf, 1 | 2 | 4 | 5);
    let same = data
        .get(HEADER..HEADER + question.len())
        .is_some_and(|asked| asked.eq_ignore_ascii_case(question));
    match (word(data, 4), failed) {
        (Some(1), false) if same => Reply::Good,
        (Some(1), true) if same => Reply::Failed,
        // Who understands nothing repeats nothing.
        (Some(0), true) => Reply::Failed,
        _ => Reply::Foreign,
    }
}

/// Cuts an answer that is too large for the client to its question, and says so.
pub fn truncate(data: &mut Vec<u8>, question: &[u8], limit: usize) {
    if data.len() <= limit {
        return;
    }
    data.truncate(HEADER + question.len());
    if data.len() >= HEADER {
        data[2] |= (TRUNCATED >> 8) as u8;
        data[6..HEADER].fill(0);
    }
}

/// Gives a message another number.
pub fn set_id(data: &mut [u8], id: u16) {
    if let Some(to) = data.get_mut(..2) {
        to.copy_from_slice(&id.to_be_bytes());
    }
}

/// The number of a query.
pub fn id(query: &Query<'_>) -> u16 {
    query.id
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
