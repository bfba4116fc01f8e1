//! Users and groups by the image's own passwd and group files (SECURITY.md R7): read as data, never through NSS (R4).
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::path::Root;

/// The largest passwd or group file that is read.
const LIMIT: u64 = 10 << 20;
/// The largest id (R7): Docker's limit.
const MAX_ID: u32 = i32::MAX as u32;

/// A user as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups: the primary one first, then those that list the user, then added ones.
    pub groups: Vec<u32>,
    /// The home directory, if the user has an entry.
    pub home: Option<Vec<u8>>,
}

struct Entry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// Resolves `user[:group]` and added groups by Docker's rules.
///
/// Digits are a number, from 0 to 2147483647, or an error, never a name; a number without an entry has group 0. Without
/// `:group`, the groups that list the user's name are added. Fails with `NotFound` for an unknown name, with `Corrupt` or
/// `Limit` if a file is not regular or larger than 10 MiB.
pub fn resolve(root: &Root<'_>, user: &str, group_add: &[String]) -> Result<User> {
    let passwd = root
        .read(Path::new("/etc/passwd"), LIMIT)?
        .unwrap_or_default();
    let group = root
        .read(Path::new("/etc/group"), LIMIT)?
        .unwrap_or_default();
    resolve_in(&passwd, &group, user, group_add)
}

/// The home directory of a user id; `None` without an entry (or a file that can be read).
pub fn home(root: &Root<'_>, uid: u32) -> Option<Vec<u8>> {
    let passwd = root.read(Path::new("/etc/passwd"), LIMIT).ok()??;
    entries(&passwd)
        .find(|e| e.uid == uid)
        .map(|e| e.home.to_vec())
}

fn resolve_in(passwd: &[u8], group: &[u8], spec: &str, group_add: &[String]) -> Result<User> {
    let (name, group_name) = spec.split_once(':').map_or((spec, ""), |(u, g)| (u, g));
    let name = if name.is_empty() { "0" } else { name };
    let entry = match number(name).transpose()? {
        Some(uid) => entries(passwd).find(|e| e.uid == uid).unwrap_or(Entry {
            name: b"",
            uid,
            gid: 0,
            home: b"",
        }),
        None => entries(passwd)
            .find(|e| e.name == name.as_bytes())
            .ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    "find user",
                    name,
                    "no matching entries in the image's passwd file",
                )
            })?,
    };
    let gid = if group_name.is_empty() {
        entry.gid
    } else {
        find_group(group, group_name)?
    };
    let mut groups = vec![gid];
    let mut add = |gid| {
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    };
    if group_name.is_empty() && !entry.name.is_empty() {
        group_entries(group)
            .filter(|(_, _, members)| members.split(|b| *b == b',').any(|m| m == entry.name))
            .for_each(|(_, gid, _)| add(gid));
    }
    for extra in group_add {
        add(find_group(group, extra)?);
    }
    // 65536 is the kernel's limit (NGROUPS_MAX).
    if groups.len() > 65536 {
        return Err(Error::new(
            Kind::Limit,
            "find groups of user",
            name,
            "more than 65536",
        ));
    }
    Ok(User {
        uid: entry.uid,
        gid,
        groups,
        home: (!entry.home.is_empty()).then(|| entry.home.to_vec()),
    })
}

/// The number of a text of digits, `None` for a name.
fn number(text: &str) -> Option<Result<u32>> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        // A sign makes a number that is out of range, not a name.
        let signed = text
            .strip_prefix(['-', '+'])
            .is_some_and(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()));
        return signed.then(|| Err(out_of_range(text)));
    }
    Some(
        text.parse::<u32>()
            .ok()
            .filter(|n| *n <= MAX_ID)
            .ok_or_else(|| out_of_range(text)),
    )
}

fn out_of_range(text: &str) -> Error {
    Error::new(
        Kind::Invalid,
        "find user",
        text,
        "uids and gids must be in range 0-2147483647",
    )
}

fn find_group(file: &[u8], name: &str) -> Result<u32> {
    if name.is_empty() {
        return Err(Error::new(
            Kind::Invalid,
            "find group",
            name,
            "the name is empty",
        ));
    }
    if let Some(gid) = number(name).transpose()? {
        return Ok(gid);
    }
    group_entries(file)
        .find(|(n, _, _)| *n == name.as_bytes())
        .map(|(_, gid, _)| gid)
        .ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                "find group",
                name,
                "no matching entries in the image's group file",
            )
        })
}

fn parse_id(field: &[u8]) -> Option<u32> {
    if field.is_empty() || !field.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(field)
        .ok()?
        .parse()
        .ok()
        .filter(|id| *id <= MAX_ID)
}

/// `name:password:uid:gid:comment:home:shell`; lines that are not so are passed over.
fn entries(file: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    file.split(|b| *b == b'\n').filter_map(|line| {
        let mut fields = line.trim_ascii().split(|b| *b == b':');
        let (name, _, uid, gid) = (
            fields.next()?,
            fields.next()?,
            parse_id(fields.next()?)?,
            parse_id(fields.next()?)?,
        );
        let home = fields.nth(1).unwrap_or_default();
        (!name.is_empty() && !name.starts_with(b"#")).then_some(Entry {
            name,
            uid,
            gid,
            home,
        })
    })
}

/// `name:password:gid:members`.
fn group_entries(file: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    file.split(|b| *b == b'\n').filter_map(|line| {
        let mut fields = line.trim_ascii().split(|b| *b == b':');
        let (name, _, gid) = (fields.next()?, fields.next()?, parse_id(fields.next()?)?);
        (!name.is_empty()).then(|| (name, gid, fields.next().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nana:x:1000:1001::/home/ana:/bin/sh\n1234:x:7:8::/seven:\nbroken\nbad:x:4294967296:0::/:\n#c:x:5:5::/:\n";
    const GROUP: &[u8] =
        b"root:x:0:\nwheel:x:10:root,ana\naudio:x:29:ana\nana:x:1001:\nbanana:x:30:banana\n";

    fn get(user: &str, add: &[&str]) -> Result<User> {
        resolve_in(
            PASSWD,
            GROUP,
            user,
            &add.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn names_bring_their_groups() {
        let u = get("ana", &[]).unwrap();
        assert_eq!(
            (u.uid, u.gid, u.groups, u.home.unwrap()),
            (1000, 1001, vec![1001, 10, 29], b"/home/ana".to_vec())
        );
        let u = get("", &[]).unwrap();
        assert_eq!((u.uid, u.gid, u.groups), (0, 0, vec![0, 10]));
    }

    #[test]
    fn a_given_group_replaces_all() {
        let u = get("ana:audio", &["wheel", "77", "77"]).unwrap();
        assert_eq!((u.uid, u.gid, u.groups), (1000, 29, vec![29, 10, 77]));
        assert_eq!(get("5:6", &[]).unwrap().groups, [6]);
    }

    #[test]
    fn numbers_are_never_names() {
        let u = get("1234", &[]).unwrap();
        assert_eq!((u.uid, u.gid, u.home), (1234, 0, None));
        assert_eq!(get("1000", &[]).unwrap().groups, [1001, 10, 29]);
        for bad in [
            "2147483648",
            "4294967296",
            "99999999999999999999",
            "-1",
            "+1",
            "0:4294967296",
        ] {
            assert_eq!(get(bad, &[]).unwrap_err().kind, Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn unknown_and_broken_entries() {
        for unknown in ["nobody", "bad", "broken", "#c", "ana:none"] {
            assert_eq!(
                get(unknown, &[]).unwrap_err().kind,
                Kind::NotFound,
                "{unknown}"
            );
        }
        assert_eq!(get("ana", &["none"]).unwrap_err().kind, Kind::NotFound);
        assert!(get("ana", &[""]).is_err());
    }
}
