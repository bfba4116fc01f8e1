//! Rules: what they look at and what they do. Registers are counted in units of four bytes.
use super::message::Attributes;
use super::{Family, Verdict};

// nft(8)'s types of keys.

/// What is to happen with a packet.
pub const VERDICT: u32 = 0xffff_ff00;
/// An IPv4 address.
pub const IPV4: u32 = 7;
/// An IPv6 address.
pub const IPV6: u32 = 8;
/// `IPPROTO_*`.
pub const PROTOCOL: u32 = 12;
/// A port.
pub const SERVICE: u32 = 13;
/// Name of an interface.
pub const NAME: u32 = 41;

/// The type of keys of several parts.
#[must_use]
pub const fn concatenated(parts: &[u32]) -> u32 {
    let mut kind = 0;
    let mut at = 0;
    while at < parts.len() {
        kind = (kind << 6) | parts[at];
        at += 1;
    }
    kind
}

/// `NFT_META_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Meta {
    /// Name of the interface that it came in by, 16 bytes.
    In = 6,
    /// Name of the interface that it goes out by, 16 bytes.
    Out = 7,
    /// `ARPHRD_*` of the interface that it came in by, two bytes in host order.
    InKind = 8,
    /// [`Family`], one byte.
    Family = 15,
    /// `IPPROTO_*`, one byte.
    Protocol = 16,
}

/// `NFT_CT_*`: what is known of the connection, four bytes in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Ct {
    /// A bit of [`ESTABLISHED`] …
    State = 0,
    /// Bits of `IPS_*`.
    Status = 2,
}

/// Bit of [`Ct::State`].
pub const ESTABLISHED: u32 = 2;
/// Bit of [`Ct::State`].
pub const RELATED: u32 = 4;
/// Bit of [`Ct::Status`]: its destination was changed.
pub const DESTINATION_CHANGED: u32 = 0x20;

/// Where in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Base {
    /// IP header.
    Network = 1,
    /// TCP, UDP or SCTP header.
    Transport = 2,
}

/// A rule in the making: expressions are evaluated in their order until one does not match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    comment: &'static str,
    bytes: Vec<u8>,
}

/// `NFT_REG32_00` and following.
const fn register(number: u32) -> u32 {
    8 + number
}

impl Rule {
    /// A rule without expressions.
    #[must_use]
    pub fn new(comment: &'static str) -> Self {
        Self {
            comment,
            bytes: Vec::new(),
        }
    }

    pub(super) fn expressions(&self) -> &[u8] {
        &self.bytes
    }

    /// The comment that nft(8) lists, with a sum over the expressions: by it is seen whether a rule is still ours.
    #[must_use]
    pub fn tag(&self) -> String {
        // FNV-1a.
        let sum = self.bytes.iter().fold(0x811c_9dc5u32, |sum, byte| {
            (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        format!("{} ({sum:08x})", self.comment)
    }

    /// `NFTNL_UDATA_RULE_COMMENT`: type, length, text with its zero.
    pub(super) fn userdata(&self) -> Vec<u8> {
        let mut text = self.tag().into_bytes();
        text.push(0);
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        [vec![0, length], text].concat()
    }

    fn add(mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) -> Self {
        Attributes(&mut self.bytes).nested(1, |a| {
            a.text(1, name);
            a.nested(2, fill);
        });
        self
    }

    /// Loads what is known of the packet.
    #[must_use]
    pub fn meta(self, key: Meta, to: u32) -> Self {
        self.add("meta", |a| {
            a.number(1, register(to));
            a.number(2, key as u32);
        })
    }

    /// Loads what is known of the connection.
    #[must_use]
    pub fn ct(self, key: Ct, to: u32) -> Self {
        self.add("ct", |a| {
            a.number(1, register(to));
            a.number(2, key as u32);
        })
    }

    /// Loads bytes of the packet.
    #[must_use]
    pub fn payload(self, base: Base, offset: u32, length: u32, to: u32) -> Self {
        self.add("payload", |a| {
            a.number(1, register(to));
            a.number(2, base as u32);
            a.number(3, offset);
            a.number(4, length);
        })
    }

    /// The source's address of a packet that is known to be of a family.
    #[must_use]
    pub fn source(self, family: Family, to: u32) -> Self {
        match family {
            Family::Ip6 => self.payload(Base::Network, 8, 16, to),
            _ => self.payload(Base::Network, 12, 4, to),
        }
    }

    /// The destination's address of a packet that is known to be of a family.
    #[must_use]
    pub fn destination(self, family: Family, to: u32) -> Self {
        match family {
            Family::Ip6 => self.payload(Base::Network, 24, 16, to),
            _ => self.payload(Base::Network, 16, 4, to),
        }
    }

    /// The transport protocol and the destination's port, eight bytes.
    #[must_use]
    pub fn port(self, to: u32) -> Self {
        self.meta(Meta::Protocol, to)
            .payload(Base::Transport, 2, 2, to + 1)
    }

    /// Only packets of a family.
    #[must_use]
    pub fn family(self, family: Family) -> Self {
        self.meta(Meta::Family, 0).equal(0, &[family as u8])
    }

    /// Only what is addressed to this host itself (`RTN_LOCAL`).
    #[must_use]
    pub fn to_this_host(self) -> Self {
        let rule = self.add("fib", |a| {
            a.number(1, register(0));
            a.number(2, 3);
            a.number(3, 2);
        });
        rule.equal(0, &2u32.to_ne_bytes())
    }

    /// Clears the bits of a register that are not in a mask.
    #[must_use]
    pub fn mask(self, at: u32, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        self.add("bitwise", |a| {
            a.number(1, register(at));
            a.number(2, register(at));
            a.number(3, length);
            a.nested(4, |a| a.put(1, mask));
            a.nested(5, |a| a.put(1, &vec![0; mask.len()]));
        })
    }

    fn compare(self, operator: u32, at: u32, value: &[u8]) -> Self {
        self.add("cmp", |a| {
            a.number(1, register(at));
            a.number(2, operator);
            a.nested(3, |a| a.put(1, value));
        })
    }

    /// Goes on if a register has a value.
    #[must_use]
    pub fn equal(self, at: u32, value: &[u8]) -> Self {
        self.compare(0, at, value)
    }

    /// Goes on if a register has another value.
    #[must_use]
    pub fn differs(self, at: u32, value: &[u8]) -> Self {
        self.compare(1, at, value)
    }

    /// Goes on if one of some bits is set in four bytes of host order.
    #[must_use]
    pub fn any_bit(self, at: u32, bits: u32) -> Self {
        self.mask(at, &bits.to_ne_bytes()).differs(at, &[0; 4])
    }

    /// Goes on if a set has what is in the registers, or has not.
    #[must_use]
    pub fn within(self, set: &str, at: u32, is: bool) -> Self {
        self.add("lookup", |a| {
            a.text(1, set);
            a.number(2, register(at));
            if !is {
                a.number(5, 1);
            }
        })
    }

    /// Loads what a map has for what is in the registers; ends without.
    #[must_use]
    pub fn map(self, map: &str, from: u32, to: u32) -> Self {
        self.add("lookup", |a| {
            a.text(1, map);
            a.number(2, register(from));
            a.number(3, register(to));
        })
    }

    /// Does what a map of verdicts has for what is in the registers.
    #[must_use]
    pub fn verdict_map(self, map: &str, from: u32) -> Self {
        self.add("lookup", |a| {
            a.text(1, map);
            a.number(2, register(from));
            // NFT_REG_VERDICT.
            a.number(3, 0);
        })
    }

    /// Writes a value to a register.
    #[must_use]
    pub fn load(self, value: &[u8], to: u32) -> Self {
        self.add("immediate", |a| {
            a.number(1, register(to));
            a.nested(2, |a| a.put(1, value));
        })
    }

    /// Ends with a verdict.
    #[must_use]
    pub fn verdict(self, verdict: &Verdict) -> Self {
        self.add("immediate", |a| {
            a.number(1, 0);
            a.nested(2, |a| verdict.write(a));
        })
    }

    /// Counts packets and bytes, which iptables(8) expects in every rule.
    #[must_use]
    pub fn counter(self) -> Self {
        self.add("counter", |a| {
            a.put(1, &[0; 8]);
            a.put(2, &[0; 8]);
        })
    }

    /// Changes the destination to the address and port in registers.
    #[must_use]
    pub fn change_destination(self, family: Family, address: u32, port: u32) -> Self {
        self.add("nat", |a| {
            a.number(1, 1);
            a.number(2, u32::from(family as u8));
            a.number(3, register(address));
            a.number(5, register(port));
        })
    }

    /// Changes the source to the address of the interface that the packet goes out by.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.add("masq", |_| {})
    }
}
