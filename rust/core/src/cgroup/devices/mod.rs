//! Device access: rules of the runtime-spec, the writes of version 1, the eBPF program of version 2.
//!
//! One meaning for both: a request (read, write, mknod) is judged bit by bit, the last rule that matches a bit decides
//! it, a bit that no rule matches is denied, and the request passes if every bit does.
pub mod program;
pub mod v1;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::{Error, Kind, Result};

/// mknod(2).
pub const MKNOD: u8 = 1;
/// Opening for reading.
pub const READ: u8 = 2;
/// Opening for writing.
pub const WRITE: u8 = 4;
/// All three.
pub const ALL: u8 = MKNOD | READ | WRITE;

/// Block or character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceKind {
    /// Block device.
    Block,
    /// Character device.
    Char,
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// None: both kinds.
    pub kind: Option<DeviceKind>,
    /// None: any.
    pub major: Option<u32>,
    /// None: any.
    pub minor: Option<u32>,
    /// Bits of [`MKNOD`], [`READ`], [`WRITE`]; never 0.
    pub access: u8,
}

impl Rule {
    /// Whether it is about every device and every access.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }
}

/// Checks the rules of a runtime-spec document. Absent or -1 numbers mean any; absent access means all.
///
/// # Errors
/// `invalid` for a kind, number or access that makes no sense, and for more than 1000 rules.
pub fn rules(spec: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
    if spec.len() > MAX_RULES {
        return Err(Error::new(
            Kind::Limit,
            "use device rules",
            spec.len().to_string(),
            "at most 1000 are possible",
        ));
    }
    spec.iter().map(rule).collect()
}

/// The kernel takes programs of at most a million instructions; a container needs about 20 rules.
const MAX_RULES: usize = 1000;

fn rule(spec: &LinuxDeviceCgroup) -> Result<Rule> {
    let invalid = |why: &str| {
        Error::new(
            Kind::Invalid,
            "use device rule",
            spec.to_string().escape_debug().to_string(),
            why,
        )
    };
    let kind = match spec.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(DeviceKind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(DeviceKind::Char),
        Some(LinuxDeviceType::P) => return Err(invalid("a FIFO is not a device")),
    };
    let number = |n: Option<i64>| match n {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n)
            .map(Some)
            .map_err(|_| invalid("a device number is between 0 and 4294967295")),
    };
    let mut access = 0;
    match spec.access().as_deref() {
        None | Some("") => access = ALL,
        Some(text) => {
            for letter in text.bytes() {
                access |= match letter {
                    b'r' => READ,
                    b'w' => WRITE,
                    b'm' => MKNOD,
                    _ => return Err(invalid("access is made of the letters r, w and m")),
                };
            }
        }
    }
    Ok(Rule {
        allow: spec.allow(),
        kind,
        major: number(spec.major())?,
        minor: number(spec.minor())?,
        access,
    })
}

/// The meaning of rules, by definition; programs and lists are tested against it.
#[cfg(test)]
pub(super) fn allowed(
    rules: &[Rule],
    kind: DeviceKind,
    major: u32,
    minor: u32,
    access: u8,
) -> bool {
    let any = |rule: Option<u32>, n: u32| rule.is_none_or(|r| r == n);
    [MKNOD, READ, WRITE]
        .into_iter()
        .filter(|bit| access & bit != 0)
        .all(|bit| {
            let matching = |r: &&Rule| {
                r.kind.is_none_or(|k| k == kind)
                    && any(r.major, major)
                    && any(r.minor, minor)
                    && r.access & bit != 0
            };
            rules.iter().rev().find(matching).is_some_and(|r| r.allow)
        })
}

#[cfg(test)]
pub(super) mod strategy {
    use super::{DeviceKind, Rule};
    use proptest::prelude::*;

    pub fn kind() -> impl Strategy<Value = DeviceKind> {
        prop_oneof![Just(DeviceKind::Block), Just(DeviceKind::Char)]
    }

    pub fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let number = || prop::option::weighted(0.7, 0u32..4);
        let rule = (
            any::<bool>(),
            prop::option::weighted(0.7, kind()),
            number(),
            number(),
            1u8..8,
        )
            .prop_map(|(allow, kind, major, minor, access)| Rule {
                allow,
                kind,
                major,
                minor,
                access,
            });
        let all = any::<bool>().prop_map(|allow| Rule {
            allow,
            kind: None,
            major: None,
            minor: None,
            access: super::ALL,
        });
        prop::collection::vec(prop_oneof![6 => rule, 1 => all], 0..12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxDeviceCgroupBuilder;

    #[test]
    fn reads_the_spec() {
        let spec = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(LinuxDeviceType::C)
            .major(1)
            .minor(-1)
            .access("rm")
            .build()
            .unwrap();
        let got = rules(&[spec]).unwrap()[0];
        assert_eq!(
            got,
            Rule {
                allow: true,
                kind: Some(DeviceKind::Char),
                major: Some(1),
                minor: None,
                access: READ | MKNOD
            }
        );
        let everything = LinuxDeviceCgroupBuilder::default()
            .allow(false)
            .build()
            .unwrap();
        assert!(rules(&[everything]).unwrap()[0].is_everything());
    }

    #[test]
    fn refuses_nonsense() {
        let base = || LinuxDeviceCgroupBuilder::default().typ(LinuxDeviceType::C);
        for bad in [
            base().major(-2),
            base().minor(1i64 << 32),
            base().access("rx"),
            base().typ(LinuxDeviceType::P),
        ] {
            assert_eq!(
                rules(&[bad.build().unwrap()]).unwrap_err().kind,
                Kind::Invalid
            );
        }
        assert_eq!(
            rules(&vec![LinuxDeviceCgroup::default(); 1001])
                .unwrap_err()
                .kind,
            Kind::Limit
        );
    }
}
