//! SELinux: labels of a container's processes and files (SECURITY.md section 4), and relabelling of binds.
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use super::attributes;
use crate::{Context, Error, Kind, Result};

/// Categories of the targeted policy: c0 to c1023.
const CATEGORIES: u16 = 1024;
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
const XATTR: &str = "security.selinux";

/// Directories whose relabelling would break the host or hand it to the container (CVE-2021-43816); what lies below some of
/// them is no less the system's.
const SYSTEM_TREES: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
    "/sbin", "/sys", "/usr",
];
const SYSTEM_TOPS: &[&str] = &[
    "/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/tmp",
];

/// Whether the kernel enforces or reports by SELinux.
#[must_use]
pub fn is_enabled() -> bool {
    // The type's width differs by architecture; the magic has 32 bits.
    fs::statfs("/sys/fs/selinux").is_ok_and(|s| s.f_type as u64 & 0xffff_ffff == SELINUX_MAGIC)
}

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
        let from = |key| contexts.and_then(|text| context(text, key));
        let mut process = from("process")
            .unwrap_or_else(|| Label::new("system_u", "system_r", "container_t", "s0"));
        let mut file = from("file")
            .unwrap_or_else(|| Label::new("system_u", "object_r", "container_file_t", "s0"));
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

    /// The mount option that gives every file of a mount the file label.
    #[must_use]
    pub fn mount_option(&self) -> String {
        format!("context=\"{}\"", self.file)
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
        if a != b && !used.contains(&level) {
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

/// Checks that a bind's source may be relabelled (`:z`, `:Z`).
///
/// # Errors
/// `denied` for directories of the system, as `path` names them after `..` and links are resolved by the caller.
pub fn check_relabel(path: &Path) -> Result<()> {
    let clean: PathBuf = path
        .components()
        .filter(|c| !matches!(c, Component::CurDir))
        .collect();
    let refused = !clean.is_absolute()
        || clean.components().any(|c| c == Component::ParentDir)
        || SYSTEM_TOPS.iter().any(|top| clean == Path::new(top))
        || SYSTEM_TREES.iter().any(|tree| clean.starts_with(tree));
    if refused {
        let why = "relabelling it would change the host's own labels: mount it without z or Z";
        return Err(Error::new(
            Kind::Denied,
            "relabel",
            path.to_string_lossy(),
            why,
        ));
    }
    Ok(())
}

/// Labels a tree: `root` and all below it on the same file system, by descriptor, following no link.
///
/// `shared` (`:z`) drops the categories, so that every container reads it; else (`:Z`) it is this container's alone.
/// Returns how many files were labelled.
///
/// # Errors
/// `unsupported` if the file system has no labels.
pub fn relabel(root: BorrowedFd<'_>, label: &Label, shared: bool) -> Result<u64> {
    let mut label = label.clone();
    if shared {
        label.level = "s0".into();
    }
    let open = |path: &Path, flags| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        fs::openat2(
            root,
            path,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            resolve,
        )
    };
    if FileType::from_raw_mode(fs::fstat(root).context("relabel", || "")?.st_mode)
        != FileType::Directory
    {
        set(root, &label)?;
        return Ok(1);
    }
    // Names, not descriptors: a tree may be wider and deeper than the descriptor limit.
    let mut waiting = vec![PathBuf::from(".")];
    let mut count = 0;
    while let Some(path) = waiting.pop() {
        let directory = match open(&path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            // Gone, replaced by a link, or a mount point: not ours to label.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => continue,
            Err(e) => {
                return Err(Error::errno(
                    "relabel",
                    path.to_string_lossy(),
                    e.raw_os_error(),
                ));
            }
        };
        set(directory.as_fd(), &label)?;
        count += 1;
        for entry in
            Dir::read_from(&directory).context("read directory", || path.to_string_lossy())?
        {
            let entry = entry.context("read directory", || path.to_string_lossy())?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
            let file = match fs::openat2(&directory, name, flags, Mode::empty(), resolve) {
                Ok(file) => file,
                Err(Errno::NOENT | Errno::XDEV) => continue,
                Err(e) => {
                    return Err(Error::errno(
                        "relabel",
                        show(&path.join(name)),
                        e.raw_os_error(),
                    ));
                }
            };
            let stat = fs::fstat(&file).context("relabel", || show(&path.join(name)))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                waiting.push(path.join(name));
            } else {
                set(file.as_fd(), &label)?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Labels what a descriptor refers to; one opened with O_PATH takes no fsetxattr, but its name in /proc does.
fn set(file: BorrowedFd<'_>, label: &Label) -> Result<()> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::setxattr(
        &path,
        XATTR,
        format!("{label}\0").as_bytes(),
        XattrFlags::empty(),
    )
    .context("relabel", || label.to_string())
}

fn show(path: &Path) -> String {
    path.to_string_lossy().into_owned()
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
            labels.mount_option(),
            "context=\"system_u:object_r:container_file_t:s0:c1,c2\""
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
        let mut numbers = [5 << 16 | 5, 7 << 16 | 3, 3 << 16 | 7, 1024 << 16 | 1].into_iter();
        let used = HashSet::from(["s0:c3,c7".to_owned()]);
        let level = unique_level(&used, || Ok(numbers.next().expect("four are enough"))).unwrap();
        assert_eq!(level, "s0:c0,c1", "1024 is category 0 again");
        let error = unique_level(&used, || Ok(7 << 16 | 3)).unwrap_err();
        assert_eq!(error.kind, Kind::Limit);
    }

    #[test]
    fn cve_2021_43816_system_directories_are_not_relabelled() {
        for path in [
            "/",
            "/etc",
            "/etc/",
            "/etc/ssl",
            "/usr/share/x",
            "/home",
            "/var",
            "/./etc",
            "/srv/../etc",
            "etc",
            "/dev/shm",
            "/tmp/",
        ] {
            assert_eq!(
                check_relabel(Path::new(path)).unwrap_err().kind,
                Kind::Denied,
                "{path}"
            );
        }
        for path in [
            "/home/ann/data",
            "/srv/www",
            "/var/lib/app",
            "/etcetera",
            "/tmp/x",
        ] {
            assert!(check_relabel(Path::new(path)).is_ok(), "{path}");
        }
    }

    /// On a file system that takes the attribute without SELinux (root on tmpfs), else it says that it does not.
    #[test]
    fn relabel_walks_without_following_links() {
        let root = std::env::temp_dir().join(format!("minidock-selinux-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "").unwrap();
        let outside = root.with_extension("outside");
        std::fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("a/link")).unwrap();
        let top = std::fs::File::open(&root).unwrap();
        let label = Label::new("system_u", "object_r", "container_file_t", "s0:c1,c2");
        let value = |path: &Path| {
            let mut buffer = [0; 100];
            let length = fs::lgetxattr(path, XATTR, &mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        match relabel(top.as_fd(), &label, true) {
            Ok(count) => {
                assert_eq!(count, 5);
                for path in ["", "a", "a/b", "a/b/file", "a/link"] {
                    assert_eq!(
                        value(&root.join(path)).unwrap(),
                        "system_u:object_r:container_file_t:s0\0",
                        "{path}"
                    );
                }
                relabel(top.as_fd(), &label, false).unwrap();
                assert!(value(&root.join("a")).unwrap().contains("c1,c2"));
            }
            Err(e) => assert!(matches!(e.kind, Kind::Unsupported | Kind::Denied), "{e}"),
        }
        assert_eq!(value(&outside), None);
        std::fs::remove_dir_all(&root).unwrap();
        std::fs::remove_file(&outside).unwrap();
    }
}
