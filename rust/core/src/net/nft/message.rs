//! Netlink messages and their attributes, written and read; netlink(7).
/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub const ACK: u16 = 0x4;
/// `NLM_F_DUMP_INTR`, in answers: what was listed has changed meanwhile.
pub const INTERRUPTED: u16 = 0x10;
/// `NLM_F_EXCL`.
pub const EXCL: u16 = 0x200;
/// `NLM_F_DUMP`.
pub const DUMP: u16 = 0x300;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub const APPEND: u16 = 0x800;

/// `NLMSG_ERROR`.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`.
pub const DONE: u16 = 3;
/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const TYPE: u16 = 0x3fff;

/// Adds a message to a buffer: its kind, flags, sequence number and fixed part, then attributes.
pub fn message(
    to: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    fixed: &[u8],
    fill: impl FnOnce(&mut Attributes<'_>),
) {
    let start = to.len();
    to.extend([0; 4]);
    to.extend(kind.to_ne_bytes());
    to.extend(flags.to_ne_bytes());
    to.extend(sequence.to_ne_bytes());
    to.extend([0; 4]);
    to.extend(fixed);
    fill(&mut Attributes(to));
    let length = u32::try_from(to.len() - start).unwrap_or(u32::MAX);
    to[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// Where attributes are added.
pub struct Attributes<'a>(pub &'a mut Vec<u8>);

impl Attributes<'_> {
    /// Adds an attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        self.nested_as(kind, |a| a.0.extend(value));
    }

    /// Adds a text with the zero that ends it.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.nested_as(kind, |a| {
            a.0.extend(value.as_bytes());
            a.0.push(0);
        });
    }

    /// Adds a number in network order.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Adds an attribute made of attributes.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.nested_as(kind | NESTED, fill);
    }

    fn nested_as(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(&mut Attributes(self.0));
        // Too long for 16 bits is refused by the kernel; nothing here comes near.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        // All begins at a multiple of four bytes.
        let padded = self.0.len().next_multiple_of(4);
        self.0.resize(padded, 0);
    }
}

/// A message that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Received<'a> {
    /// The errno of an [`ERROR`], 0 for an acknowledgement; `EBADMSG` if it is cut off.
    #[must_use]
    pub fn errno(&self) -> i32 {
        let code = self.body.first_chunk::<4>();
        code.map_or(libc::EBADMSG, |code| {
            i32::from_ne_bytes(*code).checked_neg().unwrap_or(i32::MAX)
        })
    }

    /// The family and the attributes of a message of nfnetlink; none for what is too short.
    #[must_use]
    pub fn parts(&self) -> Option<(u8, Reader<'a>)> {
        Some((*self.body.first()?, Reader(self.body.get(4..)?)))
    }
}

/// The messages of a datagram. It ends at the first malformed one, of which it gives `None`.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Option<Received<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let read = || {
            let header = bytes.first_chunk::<HEADER>()?;
            let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *header;
            let length = u32::from_ne_bytes([a, b, c, d]) as usize;
            let received = Received {
                kind: u16::from_ne_bytes([e, f]),
                flags: u16::from_ne_bytes([g, h]),
                sequence: u32::from_ne_bytes([i, j, k, l]),
                body: bytes.get(HEADER..length)?,
            };
            let next = length.next_multiple_of(4).min(bytes.len());
            Some((received, &bytes[next..]))
        };
        let found = read();
        bytes = found.map_or(&[], |(_, rest)| rest);
        Some(found.map(|(received, _)| received))
    })
}

/// Attributes that were received: kind and value, up to the first malformed one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d] = *self.0.first_chunk::<4>()?;
        let length = u16::from_ne_bytes([a, b]) as usize;
        let Some(value) = self.0.get(4..length) else {
            self.0 = &[];
            return None;
        };
        let next = length.next_multiple_of(4).min(self.0.len());
        self.0 = &self.0[next..];
        Some((u16::from_ne_bytes([c, d]) & TYPE, value))
    }
}

impl<'a> Reader<'a> {
    /// The value of an attribute.
    #[must_use]
    pub fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(k, _)| *k == kind).map(|(_, value)| value)
    }

    /// The attributes inside of one; empty without it.
    #[must_use]
    pub fn nested(self, kind: u16) -> Self {
        Self(self.get(kind).unwrap_or_default())
    }

    /// A number in network order.
    #[must_use]
    pub fn number(self, kind: u16) -> Option<u32> {
        let bytes = self.get(kind)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    /// A long number in network order.
    #[must_use]
    pub fn long(self, kind: u16) -> Option<u64> {
        let bytes = self.get(kind)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    }

    /// A text, without the zero that ends it; empty without it.
    #[must_use]
    pub fn text(self, kind: u16) -> String {
        let bytes = self.get(kind).unwrap_or_default();
        let bytes = bytes.split(|b| *b == 0).next().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_the_kernels() {
        let mut bytes = Vec::new();
        message(
            &mut bytes,
            0x0a00,
            REQUEST | CREATE,
            7,
            &[1, 0, 0, 0],
            |a| {
                a.text(1, "ab");
                a.nested(4, |a| a.number(1, 2));
            },
        );
        let mut expected = Vec::new();
        expected.extend(40u32.to_ne_bytes());
        expected.extend(0x0a00u16.to_ne_bytes());
        expected.extend(0x401u16.to_ne_bytes());
        expected.extend(7u32.to_ne_bytes());
        expected.extend([0; 4]);
        expected.extend([1, 0, 0, 0]);
        expected.extend(7u16.to_ne_bytes());
        expected.extend(1u16.to_ne_bytes());
        expected.extend(*b"ab\0\0");
        expected.extend(12u16.to_ne_bytes());
        expected.extend(0x8004u16.to_ne_bytes());
        expected.extend(8u16.to_ne_bytes());
        expected.extend(1u16.to_ne_bytes());
        expected.extend([0, 0, 0, 2]);
        assert_eq!(bytes, expected);
        let all: Vec<_> = messages(&bytes).collect();
        let received = all[0].unwrap();
        assert_eq!(
            (all.len(), received.kind, received.sequence),
            (1, 0x0a00, 7)
        );
        let (family, attributes) = received.parts().unwrap();
        assert_eq!(family, 1);
        assert_eq!(attributes.text(1), "ab");
        assert_eq!(attributes.nested(4).number(1), Some(2));
    }

    #[test]
    fn errors() {
        for (body, errno) in [
            (&(-17i32).to_ne_bytes()[..], 17),
            (&0i32.to_ne_bytes(), 0),
            (&i32::MIN.to_ne_bytes(), i32::MAX),
            (&[1], libc::EBADMSG),
        ] {
            let received = Received {
                kind: ERROR,
                flags: 0,
                sequence: 1,
                body,
            };
            assert_eq!(received.errno(), errno);
        }
    }

    proptest! {
        /// Whatever arrives is read to its end, and nothing outside of it.
        #[test]
        fn garbage(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for found in messages(&bytes).flatten() {
                let _ = (found.errno(), found.parts());
            }
            let read: usize = Reader(&bytes).map(|(_, value)| value.len() + 4).sum();
            prop_assert!(read <= bytes.len() + 4);
            let _ = (Reader(&bytes).text(1), Reader(&bytes).long(2), Reader(&bytes).nested(3).number(1));
        }
    }
}
