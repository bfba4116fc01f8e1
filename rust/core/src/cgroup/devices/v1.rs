//! Device rules as the version 1 controller keeps them: a default and a list of exceptions.
use std::collections::BTreeMap;

use super::{ALL, DeviceKind, MKNOD, READ, Rule, WRITE};
use crate::{Error, Kind, Result};

/// A device or many: kind, major, minor; None is any.
type Key = (DeviceKind, Option<u32>, Option<u32>);

/// What the controller holds in the end: a default, and what differs from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Access by default.
    pub allow: bool,
    /// What is denied (or, with a denying default, allowed) nevertheless.
    pub exceptions: BTreeMap<Key, u8>,
}

/// Whether every device of `inner` is one of `outer`.
fn covers(outer: Key, inner: Key) -> bool {
    let wide = |outer: Option<u32>, inner: Option<u32>| outer.is_none() || outer == inner;
    outer.0 == inner.0 && wide(outer.1, inner.1) && wide(outer.2, inner.2)
}

/// Whether the two have a device in common.
fn overlaps(a: Key, b: Key) -> bool {
    let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    a.0 == b.0 && meet(a.1, b.1) && meet(a.2, b.2)
}

impl List {
    /// The list that means what `rules` mean.
    ///
    /// # Errors
    /// `unsupported` if a rule takes back a part of what an earlier one gave: the controller knows no exception from an
    /// exception.
    pub fn from_rules(rules: &[Rule]) -> Result<Self> {
        let mut list = Self {
            allow: false,
            exceptions: BTreeMap::new(),
        };
        for rule in rules {
            if rule.is_everything() {
                list = Self {
                    allow: rule.allow,
                    exceptions: BTreeMap::new(),
                };
                continue;
            }
            let kinds = rule
                .kind
                .map_or(vec![DeviceKind::Block, DeviceKind::Char], |k| vec![k]);
            for key in kinds.into_iter().map(|kind| (kind, rule.major, rule.minor)) {
                if rule.allow != list.allow {
                    *list.exceptions.entry(key).or_insert(0) |= rule.access;
                    continue;
                }
                for (&exception, access) in &mut list.exceptions {
                    if covers(key, exception) {
                        *access &= !rule.access;
                    } else if overlaps(key, exception) && *access & rule.access != 0 {
                        let why = "cgroup version 1 cannot take back a part of an earlier, wider rule; put narrower rules instead of that one";
                        return Err(Error::new(
                            Kind::Unsupported,
                            "use device rule",
                            text(key, rule.access),
                            why,
                        ));
                    }
                }
                list.exceptions.retain(|_, access| *access != 0);
            }
        }
        if !list.allow {
            // The controller wants one exception that has all bits of a request, so a narrow one gets those of the wider.
            let wide = list.exceptions.clone();
            for (&key, access) in &mut list.exceptions {
                *access |= wide
                    .iter()
                    .filter(|&(&outer, _)| covers(outer, key))
                    .fold(0, |bits, (_, a)| bits | a);
            }
        }
        Ok(list)
    }

    /// The writes that bring a group from its parent's state to this one: (`devices.allow` or `devices.deny`, value).
    pub fn writes(&self) -> impl Iterator<Item = (&'static str, String)> {
        let (first, then) = if self.allow {
            ("devices.allow", "devices.deny")
        } else {
            ("devices.deny", "devices.allow")
        };
        let exceptions = self
            .exceptions
            .iter()
            .map(move |(&key, &access)| (then, text(key, access)));
        std::iter::once((first, "a".to_owned())).chain(exceptions)
    }

    /// Reads `devices.list`. A list that allows everything has the single entry `a *:* rwm`.
    pub(crate) fn parse(content: &str) -> Option<Self> {
        let mut list = Self {
            allow: false,
            exceptions: BTreeMap::new(),
        };
        for line in content.lines() {
            let mut words = line.split_ascii_whitespace();
            let kind = match words.next()? {
                "a" => {
                    return Some(Self {
                        allow: true,
                        exceptions: BTreeMap::new(),
                    });
                }
                "b" => DeviceKind::Block,
                "c" => DeviceKind::Char,
                _ => return None,
            };
            let (major, minor) = words.next()?.split_once(':')?;
            let number = |n: &str| {
                if n == "*" {
                    Some(None)
                } else {
                    n.parse().ok().map(Some)
                }
            };
            let access = words.next()?.bytes().fold(0, |bits, letter| {
                bits | match letter {
                    b'r' => READ,
                    b'w' => WRITE,
                    b'm' => MKNOD,
                    _ => 0,
                }
            });
            list.exceptions
                .insert((kind, number(major)?, number(minor)?), access);
        }
        Some(list)
    }

    /// The writes that bring a group in use from `present` to this state. Additions come first, so that nothing that
    /// is allowed before and after is denied for a moment; a change of the default starts anew.
    pub(crate) fn changes_from(&self, present: &Self) -> Vec<(&'static str, String)> {
        // What a list with an allowing default denies cannot be read back.
        if self.allow || present.allow {
            return self.writes().collect();
        }
        let mut changes = Vec::new();
        for (&key, &access) in &self.exceptions {
            let missing = access & !present.exceptions.get(&key).copied().unwrap_or(0);
            if missing != 0 {
                changes.push(("devices.allow", text(key, missing)));
            }
        }
        for (&key, &access) in &present.exceptions {
            let extra = access & !self.exceptions.get(&key).copied().unwrap_or(0);
            if extra != 0 {
                changes.push(("devices.deny", text(key, extra)));
            }
        }
        changes
    }
}

/// `c 1:3 rwm`.
fn text((kind, major, minor): Key, access: u8) -> String {
    let letter = match kind {
        DeviceKind::Block => 'b',
        DeviceKind::Char => 'c',
    };
    let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let mut text = format!("{letter} {}:{} ", number(major), number(minor));
    for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
        if access & ALL & bit != 0 {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{allowed, strategy};
    use super::*;
    use proptest::prelude::*;

    /// The kernel's judgement (security/device_cgroup.c, described in Documentation/admin-guide/cgroup-v1/devices.rst).
    fn kernel(list: &List, kind: DeviceKind, major: u32, minor: u32, access: u8) -> bool {
        let mut hits = list
            .exceptions
            .iter()
            .filter(|&(&key, _)| covers(key, (kind, Some(major), Some(minor))));
        if list.allow {
            !hits.any(|(_, &a)| a & access != 0)
        } else {
            hits.any(|(_, &a)| a & access == access)
        }
    }

    /// The kernel's treatment of one write.
    fn replay(list: &mut List, file: &str, value: &str) {
        let allow = file == "devices.allow";
        if value == "a" {
            *list = List {
                allow,
                exceptions: BTreeMap::new(),
            };
            return;
        }
        let one = List::parse(value).unwrap();
        let (&key, &access) = one.exceptions.iter().next().unwrap();
        if allow == list.allow {
            if let Some(bits) = list.exceptions.get_mut(&key) {
                *bits &= !access;
            }
            list.exceptions.retain(|_, bits| *bits != 0);
        } else {
            *list.exceptions.entry(key).or_insert(0) |= access;
        }
    }

    #[test]
    fn dockers_list() {
        let rule = |allow, kind, major, minor, access| Rule {
            allow,
            kind,
            major,
            minor,
            access,
        };
        let c = Some(DeviceKind::Char);
        let rules = [
            rule(false, None, None, None, ALL),
            rule(true, c, None, None, MKNOD),
            rule(true, c, Some(1), Some(3), READ | WRITE),
        ];
        let list = List::from_rules(&rules).unwrap();
        let writes: Vec<_> = list.writes().collect();
        assert_eq!(
            writes,
            [
                ("devices.deny", "a".to_owned()),
                ("devices.allow", "c *:* m".to_owned()),
                ("devices.allow", "c 1:3 rwm".to_owned())
            ]
        );
        assert_eq!(List::parse("c *:* m\nc 1:3 rwm\n"), Some(list));
    }

    #[test]
    fn an_exception_from_an_exception_is_refused() {
        let c = Some(DeviceKind::Char);
        let rules = [
            Rule {
                allow: true,
                kind: c,
                major: Some(1),
                minor: None,
                access: ALL,
            },
            Rule {
                allow: false,
                kind: c,
                major: Some(1),
                minor: Some(3),
                access: READ,
            },
        ];
        assert_eq!(
            List::from_rules(&rules).unwrap_err().kind,
            Kind::Unsupported
        );
    }

    proptest! {
        #[test]
        fn means_what_the_rules_mean(rules in strategy::rules(), kind in strategy::kind(), major in 0u32..5, minor in 0u32..5, bit in 0u8..3) {
            if let Ok(list) = List::from_rules(&rules) {
                let access = 1 << bit;
                prop_assert_eq!(kernel(&list, kind, major, minor, access), allowed(&rules, kind, major, minor, access));
                let mut replayed = List { allow: true, exceptions: BTreeMap::new() };
                for (file, value) in list.writes() {
                    replay(&mut replayed, file, &value);
                }
                prop_assert_eq!(replayed, list);
            }
        }

        #[test]
        fn never_more_than_the_rules_allow(rules in strategy::rules(), kind in strategy::kind(), major in 0u32..5, minor in 0u32..5, access in 1u8..8) {
            if let Ok(list) = List::from_rules(&rules) {
                prop_assert!(!kernel(&list, kind, major, minor, access) || allowed(&rules, kind, major, minor, access));
            }
        }

        #[test]
        fn changes_lead_to_the_new_list(old in strategy::rules(), new in strategy::rules()) {
            if let (Ok(mut old), Ok(new)) = (List::from_rules(&old), List::from_rules(&new)) {
                for (file, value) in new.changes_from(&old.clone()) {
                    replay(&mut old, file, &value);
                }
                prop_assert_eq!(old, new);
            }
        }
    }
}
