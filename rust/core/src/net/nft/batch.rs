//! Changes that are made together or not at all.
use super::message::{APPEND, Attributes, CREATE, EXCL, REQUEST, message};
use super::{Family, Rule, SUBSYSTEM, kind};

/// `NFT_SET_INTERVAL`.
pub const INTERVAL: u32 = 0x4;
/// `NFT_SET_MAP`.
pub const MAP: u32 = 0x8;

/// What is to happen with a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It is gone.
    Drop,
    /// This base chain lets it pass.
    Accept,
    /// Back to where the chain was jumped to from.
    Return,
    /// On in another chain, and back here after it.
    Jump(String),
}

impl Verdict {
    const JUMP: i32 = -3;
    const RETURN: i32 = -5;

    pub(super) fn write(&self, to: &mut Attributes<'_>) {
        let (code, chain) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Return => (Self::RETURN, None),
            Self::Jump(chain) => (Self::JUMP, Some(chain)),
        };
        to.nested(2, |a| {
            a.put(1, &code.to_be_bytes());
            if let Some(chain) = chain {
                a.text(2, chain);
            }
        });
    }

    pub(super) fn read(code: u32, chain: String) -> Option<Self> {
        match code.cast_signed() {
            0 => Some(Self::Drop),
            1 => Some(Self::Accept),
            Self::RETURN => Some(Self::Return),
            Self::JUMP => Some(Self::Jump(chain)),
            _ => None,
        }
    }
}

/// What an element of a set is mapped to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// It is in the set, no more.
    None,
    /// Bytes for registers.
    Value(Vec<u8>),
    /// A verdict.
    Verdict(Verdict),
}

/// Where a base chain is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: String,
    /// `NF_INET_*`.
    pub number: u32,
    /// Smaller ones come first.
    pub priority: i32,
    /// What happens at its end: accept, or drop.
    pub accept: bool,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// None for one that is jumped to.
    pub hook: Option<Hook>,
}

/// A set or map. The types are nft(8)'s numbers, with which it lists the elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// [`INTERVAL`], [`MAP`].
    pub flags: u32,
    /// Type and length of keys.
    pub key: (u32, u32),
    /// Type and length of what they are mapped to.
    pub data: Option<(u32, u32)>,
}

/// A transaction in the making.
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

impl Batch {
    /// A batch; with a generation it is refused with `ERESTART` if anything of nf_tables has changed since.
    #[must_use]
    pub fn new(generation: Option<u32>) -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            count: 0,
        };
        batch.add_raw(kind::BATCH_BEGIN, 0, None, |a| {
            if let Some(generation) = generation {
                a.number(1, generation);
            }
        });
        batch
    }

    /// The number of the next message, by which a [`super::Refusal`] names it.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.count
    }

    /// Nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 1
    }

    /// The datagram.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.add_raw(kind::BATCH_END, 0, None, |_| {});
        self.bytes
    }

    fn add_raw(
        &mut self,
        kind: u16,
        flags: u16,
        family: Option<Family>,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        // struct nfgenmsg: family, version, and the subsystem in network order for a batch's ends.
        let fixed = match family {
            Some(family) => [family as u8, 0, 0, 0],
            None => [0, 0, 0, SUBSYSTEM as u8],
        };
        let sequence = self.count;
        message(
            &mut self.bytes,
            kind,
            REQUEST | flags,
            sequence,
            &fixed,
            fill,
        );
        self.count += 1;
    }

    /// Makes a table, which must not exist.
    pub fn create_table(&mut self, family: Family, table: &str) {
        self.add_raw(kind::NEW_TABLE, CREATE | EXCL, Some(family), |a| {
            a.text(1, table)
        });
    }

    /// Makes a table if it does not exist.
    pub fn add_table(&mut self, family: Family, table: &str) {
        self.add_raw(kind::NEW_TABLE, CREATE, Some(family), |a| a.text(1, table));
    }

    /// Deletes a table and all in it.
    pub fn delete_table(&mut self, family: Family, table: &str) {
        self.add_raw(kind::DEL_TABLE, 0, Some(family), |a| a.text(1, table));
    }

    /// Makes a chain if it does not exist.
    pub fn add_chain(&mut self, family: Family, table: &str, chain: &Chain) {
        self.add_raw(kind::NEW_CHAIN, CREATE, Some(family), |a| {
            a.text(1, table);
            a.text(3, &chain.name);
            if let Some(hook) = &chain.hook {
                a.nested(4, |a| {
                    a.number(1, hook.number);
                    a.put(2, &hook.priority.to_be_bytes());
                });
                a.number(5, u32::from(hook.accept));
                a.text(7, &hook.kind);
            }
        });
    }

    /// Deletes a chain, which nothing jumps to any more.
    pub fn delete_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.add_raw(kind::DEL_CHAIN, 0, Some(family), |a| {
            a.text(1, table);
            a.text(3, chain);
        });
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule) {
        self.rule(APPEND, family, table, chain, rule);
    }

    /// Adds a rule at the head of a chain.
    pub fn insert_rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule) {
        self.rule(0, family, table, chain, rule);
    }

    fn rule(&mut self, flags: u16, family: Family, table: &str, chain: &str, rule: &Rule) {
        self.add_raw(kind::NEW_RULE, CREATE | flags, Some(family), |a| {
            a.text(1, table);
            a.text(2, chain);
            a.nested(4, |a| a.0.extend(rule.expressions()));
            a.put(7, &rule.userdata());
        });
    }

    /// Deletes one rule of a chain by its handle, or all.
    pub fn delete_rules(&mut self, family: Family, table: &str, chain: &str, handle: Option<u64>) {
        self.add_raw(kind::DEL_RULE, 0, Some(family), |a| {
            a.text(1, table);
            a.text(2, chain);
            if let Some(handle) = handle {
                a.put(3, &handle.to_be_bytes());
            }
        });
    }

    /// Makes a set if it does not exist.
    pub fn add_set(&mut self, family: Family, table: &str, set: &Set) {
        let id = self.count;
        self.add_raw(kind::NEW_SET, CREATE, Some(family), |a| {
            a.text(1, table);
            a.text(2, &set.name);
            a.number(3, set.flags);
            a.number(4, set.key.0);
            a.number(5, set.key.1);
            if let Some((kind, length)) = set.data {
                a.number(6, kind);
                // A verdict has no length.
                if kind != super::expr::VERDICT {
                    a.number(7, length);
                }
            }
            a.number(10, id);
            if set.key.0 == super::expr::NAME {
                // NFTNL_UDATA_SET_KEYBYTEORDER: of the host. Without it nft(8) does not show the names.
                let order = 1u32.to_ne_bytes();
                a.put(13, &[&[0, 4], &order[..]].concat());
            }
        });
    }

    /// Adds elements to a set; it is well if they are there already, mapped to the same. Each is a key, whether it is more
    /// than the end of an interval, and what it is mapped to.
    pub fn add_elements<'a>(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        elements: impl Iterator<Item = (&'a [u8], bool, &'a Data)>,
    ) {
        self.elements(kind::NEW_ELEMENT, CREATE, family, table, set, elements);
    }

    /// Takes elements out of a set, which must be in it, whatever they are mapped to.
    pub fn delete_elements<'a>(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        elements: impl Iterator<Item = (&'a [u8], bool)>,
    ) {
        let elements = elements.map(|(key, start)| (key, start, &Data::None));
        self.elements(kind::DEL_ELEMENT, 0, family, table, set, elements);
    }

    fn elements<'a>(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        table: &str,
        set: &str,
        elements: impl Iterator<Item = (&'a [u8], bool, &'a Data)>,
    ) {
        self.add_raw(kind, flags, Some(family), |a| {
            a.text(1, table);
            a.text(2, set);
            a.nested(3, |a| {
                for (key, start, data) in elements {
                    a.nested(1, |a| {
                        if !start {
                            a.number(3, 1);
                        }
                        a.nested(1, |a| a.put(1, key));
                        match data {
                            Data::None => {}
                            Data::Value(value) => a.nested(2, |a| a.put(1, value)),
                            Data::Verdict(verdict) => a.nested(2, |a| verdict.write(a)),
                        }
                    });
                }
            });
        });
    }
}
