//! The mount options of the runtime-spec (config.md, "Linux mount options").
use crate::error::{Error, Kind, Result};

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;
const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;

/// A propagation type and whether it goes to the mounts below, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`.
    pub kind: u64,
    /// The `r` forms.
    pub recursive: bool,
}

impl Propagation {
    /// `private`, `rslave` and the like; `None` for any other word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let kind = |w| match w {
            "private" => Some(libc::MS_PRIVATE),
            "slave" => Some(libc::MS_SLAVE),
            "shared" => Some(libc::MS_SHARED),
            "unbindable" => Some(libc::MS_UNBINDABLE),
            _ => None,
        };
        kind(word)
            .map(|kind| Self {
                kind,
                recursive: false,
            })
            .or_else(|| {
                word.strip_prefix('r').and_then(kind).map(|kind| Self {
                    kind,
                    recursive: true,
                })
            })
    }
}

/// Parsed mount options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `Some(recursive)` for `bind` and `rbind`.
    pub bind: Option<bool>,
    /// `MOUNT_ATTR_*` of this mount to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` of this mount to clear.
    pub clear: u64,
    /// `MOUNT_ATTR_*` to set on this mount and all below it.
    pub set_recursive: u64,
    /// `MOUNT_ATTR_*` to clear on this mount and all below it.
    pub clear_recursive: u64,
    /// Propagation types, in order.
    pub propagation: Vec<Propagation>,
    /// Flags of the filesystem itself, as `fsconfig` names them (`sync`, `dirsync`, `lazytime`, `mand`).
    pub filesystem_flags: Vec<&'static str>,
    /// Options for the filesystem: `key=value` or a flag.
    pub data: Vec<String>,
    /// Copy what the root filesystem has there into the new tmpfs.
    pub copy_up: bool,
    /// `Some(recursive)` for `idmap` and `ridmap`.
    pub idmap: Option<bool>,
}

impl Options {
    /// Parses a list of words. Fails with `Invalid` on `remount` (nothing is mounted yet) and on NUL bytes.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self> {
        let mut o = Self::default();
        for word in words {
            o.word(word.as_ref())?;
        }
        Ok(o)
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if let Some(p) = Propagation::parse(word) {
            self.propagation.push(p);
            return Ok(());
        }
        if let Some((set, clear)) = attribute(word) {
            (self.set, self.clear) = merge((self.set, self.clear), (set, clear));
            return Ok(());
        }
        if let Some((set, clear)) = word.strip_prefix('r').and_then(attribute) {
            (self.set_recursive, self.clear_recursive) =
                merge((self.set_recursive, self.clear_recursive), (set, clear));
            return Ok(());
        }
        match word {
            "" | "defaults" | "async" | "loud" | "silent" | "nomand" | "nolazytime" | "acl"
            | "noacl" | "iversion" | "noiversion" | "norelatime" | "nostrictatime"
            | "rnorelatime" | "rnostrictatime" => {}
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "sync" => self.filesystem_flags.push("sync"),
            "dirsync" => self.filesystem_flags.push("dirsync"),
            "lazytime" => self.filesystem_flags.push("lazytime"),
            "mand" => self.filesystem_flags.push("mand"),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            "remount" => {
                return Err(Error::new(
                    Kind::Invalid,
                    "parse mount option",
                    word,
                    "a new mount cannot be a remount",
                ));
            }
            _ if word.contains('\0') => {
                return Err(Error::new(
                    Kind::Invalid,
                    "parse mount option",
                    word.replace('\0', "\\0"),
                    "contains a NUL byte",
                ));
            }
            _ => self.data.push(word.to_owned()),
        }
        Ok(())
    }
}

/// A later word wins over an earlier one about the same bits.
fn merge((set, clear): (u64, u64), (more, less): (u64, u64)) -> (u64, u64) {
    ((set & !less) | more, (clear & !more) | less)
}

/// What a word about attributes sets and clears. Times of access are one field of several values, cleared as a whole.
fn attribute(word: &str) -> Option<(u64, u64)> {
    Some(match word {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "noatime" => (NOATIME, ATIME),
        "strictatime" => (STRICTATIME, ATIME),
        // MOUNT_ATTR_RELATIME is 0: the kernel's default.
        "relatime" | "atime" => (0, ATIME),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_attributes_propagation_and_data() {
        let o = Options::parse(&[
            "nosuid",
            "noexec",
            "ro",
            "mode=755",
            "size=64k",
            "rslave",
            "strictatime",
            "sync",
        ])
        .unwrap();
        assert_eq!(o.set, NOSUID | NOEXEC | RDONLY | STRICTATIME);
        assert_eq!(o.clear, ATIME);
        assert_eq!(o.data, ["mode=755", "size=64k"]);
        assert_eq!(
            o.propagation,
            [Propagation {
                kind: libc::MS_SLAVE,
                recursive: true
            }]
        );
        assert_eq!(o.filesystem_flags, ["sync"]);
        assert_eq!(o.bind, None);
    }

    #[test]
    fn the_last_word_wins() {
        let o = Options::parse(&["ro", "rw", "noatime", "relatime", "exec", "noexec"]).unwrap();
        assert_eq!((o.set, o.clear), (NOEXEC, RDONLY | ATIME));
    }

    #[test]
    fn recursive_forms() {
        let o = Options::parse(&["rbind", "rro", "rnosuid", "ridmap", "runbindable"]).unwrap();
        assert_eq!((o.bind, o.idmap), (Some(true), Some(true)));
        assert_eq!((o.set, o.set_recursive), (0, RDONLY | NOSUID));
        assert_eq!(o.propagation[0].kind, libc::MS_UNBINDABLE);
        let o = Options::parse(&["rbind", "relatime", "rrelatime"]).unwrap();
        assert_eq!((o.clear, o.clear_recursive), (ATIME, ATIME));
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        assert!(Options::parse(&["remount"]).is_err());
        assert!(Options::parse(&["size=1\0"]).is_err());
        // `relatime` is no recursive `elatime`, `rw` no recursive `w`.
        assert_eq!(Options::parse(&["rw"]).unwrap().clear_recursive, 0);
    }
}
