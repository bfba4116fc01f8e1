//! nf_tables over netlink: batches of changes, the expressions of rules, and dumps; linux/netfilter/nf_tables.h.
pub mod batch;
pub mod conntrack;
pub mod expr;
pub mod message;
pub mod read;
pub mod socket;

pub use batch::{Batch, Chain, Data, Hook, Set, Verdict};
pub use expr::Rule;
pub use socket::{Refusal, Socket};

/// A protocol family of tables: `NFPROTO_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// IPv6.
    Ip6 = 10,
}

impl Family {
    /// The family of a number of `nfgenmsg`.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Inet),
            2 => Some(Self::Ip),
            10 => Some(Self::Ip6),
            _ => None,
        }
    }

    /// As nft(8) writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

/// `NFNL_SUBSYS_NFTABLES`.
pub const SUBSYSTEM: u16 = 10;

/// `NFT_MSG_*`, with the subsystem.
pub mod kind {
    use super::SUBSYSTEM;

    const fn of(message: u16) -> u16 {
        (SUBSYSTEM << 8) | message
    }
    /// Makes, or tells of a table.
    pub const NEW_TABLE: u16 = of(0);
    /// Asks for a table.
    pub const GET_TABLE: u16 = of(1);
    /// Deletes, or tells of the end of a table.
    pub const DEL_TABLE: u16 = of(2);
    /// Makes, or tells of a chain.
    pub const NEW_CHAIN: u16 = of(3);
    /// Asks for a chain.
    pub const GET_CHAIN: u16 = of(4);
    /// Deletes, or tells of the end of a chain.
    pub const DEL_CHAIN: u16 = of(5);
    /// Makes, or tells of a rule.
    pub const NEW_RULE: u16 = of(6);
    /// Asks for a rule.
    pub const GET_RULE: u16 = of(7);
    /// Deletes, or tells of the end of a rule.
    pub const DEL_RULE: u16 = of(8);
    /// Makes, or tells of a set.
    pub const NEW_SET: u16 = of(9);
    /// Asks for a set.
    pub const GET_SET: u16 = of(10);
    /// Deletes, or tells of the end of a set.
    pub const DEL_SET: u16 = of(11);
    /// Makes, or tells of elements of a set.
    pub const NEW_ELEMENT: u16 = of(12);
    /// Asks for elements of a set.
    pub const GET_ELEMENT: u16 = of(13);
    /// Deletes, or tells of the end of elements of a set.
    pub const DEL_ELEMENT: u16 = of(14);
    /// Makes, or tells of the number of the last change.
    pub const NEW_GENERATION: u16 = of(15);
    /// Asks for the number of the last change.
    pub const GET_GENERATION: u16 = of(16);
    /// `NFNL_MSG_BATCH_BEGIN`, of no subsystem.
    pub const BATCH_BEGIN: u16 = 0x10;
    /// `NFNL_MSG_BATCH_END`.
    pub const BATCH_END: u16 = 0x11;
}
