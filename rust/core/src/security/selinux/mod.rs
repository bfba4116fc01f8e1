//! SELinux: labels of a container's processes and files (SECURITY.md section 4), and relabelling of binds.
mod host;
mod pipe;
mod relabel;

use std::collections::HashSet;
use std::fmt;
use std::os::fd::BorrowedFd;

pub use host::{Host, is_enabled};
pub use pipe::pipe;
pub use relabel::{check_relabel, relabel, set_label};

use super::attributes;
use crate::{Error, Kind, Result};

/// Categories of the targeted policy: c0 to c1023.
const CATEGORIES: u16 = 1024;
/// The level of the files of containers whose processes have no label: none that has one gets at them.
const RESERVED: &str = "s0:c1022,c1023";

/// A security context: `user:role:type:level`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// SELinux user.
    pub user: String,
    /// Role.
    pub role: String,
    /// Type, or a process's domain.
    pub kind: String,
    /// Sensitivity and categories.
    pub level: String,
}

impl Label {
    fn new(user: &str, role: &str, kind: &str, level: &str) -> Self {
        Self {
            user: user.into(),
            role: role.into(),
            kind: kind.into(),
            level: level.into(),
        }
    }

    /// Reads a context; a level may hold colons.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        let label = Self::new(
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next().unwrap_or("s0"),
        );
        [&label.user, &label.role, &label.kind, &label.level]
            .iter()
            .all(|part| is_word(part))
            .then_some(label)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}:{}",
            self.user, self.role, self.kind, self.level
        )
    }
}

/// Labels of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Its processes.
    pub process: Label,
    /// Its files.
    pub file: Label,
}

impl Labels {
    /// Labels for a container: the policy's types, or container_t and container_file_t, changed by the options of
    /// `--security-opt label=` (`user`, `role`, `type`, `level`, `filetype`), at `level`.
    ///
    /// `contexts` is the text of the policy's `lxc_contexts`, if it has one.
    ///
    /// # Errors
    /// `invalid`: an option that is none, or a value that cannot be part of a label.
    pub fn new(contexts: Option<&str>, options: &[(&str, &str)], level: &str) -> Result<Self> {
        let mut process = contexts
            .and_then(|text| context(text, "process"))
            .unwrap_or_else(|| Label::new("system_u", "system_r", "container_t", "s0"));
        let mut file = Self::default_file(contexts);
        level.clone_into(&mut process.level);
        level.clone_into(&mut file.level);
        for (key, value) in options {
            if !is_word(value) {
                return Err(Error::new(
                    Kind::Invalid,
                    "label container",
                    *value,
                    "it cannot be part of a label",
                ));
            }
            match *key {
                "user" => {
                    process.user = (*value).into();
                    file.user = (*value).into();
                }
                "role" => process.role = (*value).into(),
                "type" => process.kind = (*value).into(),
                "filetype" => file.kind = (*value).into(),
                "level" => {
                    process.level = (*value).into();
                    file.level = (*value).into();
                }
                _ => {
                    return Err(Error::new(
                        Kind::Invalid,
                        "label container",
                        *key,
                        "unknown label option",
                    ));
                }
            }
        }
        Ok(Self { process, file })
    }

    /// The label of the files of a container whose processes have none (`label=disable`).
    #[must_use]
    pub fn of_unlabelled(contexts: Option<&str>) -> Label {
        let mut file = Self::default_file(contexts);
        RESERVED.clone_into(&mut file.level);
        file
    }

    fn default_file(contexts: Option<&str>) -> Label {
        contexts
            .and_then(|text| context(text, "file"))
            .unwrap_or_else(|| Label::new("system_u", "object_r", "container_file_t", "s0"))
    }
}

/// A level with a pair of categories that no other container has, so that containers cannot read each other's files.
///
/// `used` holds the levels in use; `random` yields numbers to try.
///
/// # Errors
/// `limit` if no pair is found.
pub fn unique_level(
    used: &HashSet<String>,
    mut random: impl FnMut() -> Result<u32>,
) -> Result<String> {
    // 523,776 pairs: trying stays short until nearly all are taken.
    for _ in 0..1000 {
        let number = random()?;
        let a = (number & 0xffff) as u16 % CATEGORIES;
        let b = (number >> 16) as u16 % CATEGORIES;
        let level = format!("s0:c{},c{}", a.min(b), a.max(b));
        if a != b && level != RESERVED && !used.contains(&level) {
            return Ok(level);
        }
    }
    Err(Error::new(
        Kind::Limit,
        "choose SELinux level",
        "",
        "no free pair of categories was found",
    ))
}

/// Gives the calling thread a label at its next execve. `procfs` is the root of a private procfs.
///
/// # Errors
/// `invalid` if the policy does not know the label; any error must abort the start.
pub fn confine(procfs: BorrowedFd<'_>, label: &str) -> Result<()> {
    attributes::write(procfs, &["selinux/exec", "exec"], label)
        .map_err(|e| Error::new(e.kind, "apply SELinux label", label, e.to_string()))
}

/// One line of `lxc_contexts`: `process = "system_u:system_r:container_t:s0"`.
fn context(text: &str, key: &str) -> Option<Label> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == key)
        .and_then(|(_, value)| Label::parse(value.trim().trim_matches('"')))
}

/// Whether a text can stand in a label, a mount option and a line.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | ','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_labels() {
        let labels = Labels::new(None, &[], "s0:c1,c2").unwrap();
        assert_eq!(
            labels.process.to_string(),
            "system_u:system_r:container_t:s0:c1,c2"
        );
        assert_eq!(
            labels.file.to_string(),
            "system_u:object_r:container_file_t:s0:c1,c2"
        );
        assert_eq!(
            Labels::of_unlabelled(None).to_string(),
            "system_u:object_r:container_file_t:s0:c1022,c1023"
        );
    }

    #[test]
    fn policys_own_types_are_used() {
        let contexts = "# comment\nprocess = \"system_u:system_r:svirt_lxc_net_t:s0\"\nfile = \"system_u:object_r:svirt_sandbox_file_t:s0\"\n";
        let labels = Labels::new(Some(contexts), &[], "s0:c3,c4").unwrap();
        assert_eq!(
            labels.process.to_string(),
            "system_u:system_r:svirt_lxc_net_t:s0:c3,c4"
        );
        assert_eq!(
            labels.file.to_string(),
            "system_u:object_r:svirt_sandbox_file_t:s0:c3,c4"
        );
        for damaged in ["", "process =", "process = a:b", "process = a:b:c d:s0"] {
            assert_eq!(
                Labels::new(Some(damaged), &[], "s0").unwrap().process.kind,
                "container_t",
                "{damaged}"
            );
        }
    }

    #[test]
    fn options_change_labels() {
        let options = [
            ("user", "u"),
            ("role", "r"),
            ("type", "t"),
            ("filetype", "f_t"),
            ("level", "s0:c9,c10"),
        ];
        let labels = Labels::new(None, &options, "s0:c1,c2").unwrap();
        assert_eq!(labels.process.to_string(), "u:r:t:s0:c9,c10");
        assert_eq!(labels.file.to_string(), "u:object_r:f_t:s0:c9,c10");
    }

    #[test]
    fn option_cannot_bring_mount_options_with_it() {
        for value in ["", "x\",exec", "a b", "a\nb", "a\0", "é"] {
            assert_eq!(
                Labels::new(None, &[("level", value)], "s0")
                    .unwrap_err()
                    .kind,
                Kind::Invalid,
                "{value:?}"
            );
        }
        assert_eq!(
            Labels::new(None, &[("colour", "x")], "s0")
                .unwrap_err()
                .kind,
            Kind::Invalid
        );
    }

    #[test]
    fn level_is_a_pair_that_nobody_has() {
        let tried = [5 << 16 | 5, 7 << 16 | 3, 3 << 16 | 7, 1022 << 16 | 1023];
        let mut numbers = tried.into_iter().chain([1024 << 16 | 1]);
        let used = HashSet::from(["s0:c3,c7".to_owned()]);
        let level = unique_level(&used, || Ok(numbers.next().expect("five are enough"))).unwrap();
        assert_eq!(level, "s0:c0,c1", "1024 is category 0 again");
        let error = unique_level(&used, || Ok(7 << 16 | 3)).unwrap_err();
        assert_eq!(error.kind, Kind::Limit);
    }
}
