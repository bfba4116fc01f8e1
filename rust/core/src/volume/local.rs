//! The options `type`, `device` and `o` of the driver `local`: a mount on the volume's directory, in the caller's mount namespace.
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount as umount2};

use crate::error::{Context, Error, Kind, Result};
use crate::mount::{self, Options, attach, set_attributes};
use crate::path::text;
use crate::sys::{AT_RECURSIVE, MountAttr, mount_setattr};

/// How a failure begins, in Docker's words.
const OP: &str = "failed to mount local volume: mount";

/// Words of `o` that are flags of mount(2), and the bits that a message shows for them.
const FLAGS: [(&str, u64); 18] = [
    ("ro", libc::MS_RDONLY),
    ("nosuid", libc::MS_NOSUID),
    ("nodev", libc::MS_NODEV),
    ("noexec", libc::MS_NOEXEC),
    ("sync", libc::MS_SYNCHRONOUS),
    ("dirsync", libc::MS_DIRSYNC),
    ("mand", libc::MS_MANDLOCK),
    ("noatime", libc::MS_NOATIME),
    ("nodiratime", libc::MS_NODIRATIME),
    ("bind", libc::MS_BIND),
    ("rbind", libc::MS_BIND | libc::MS_REC),
    ("relatime", libc::MS_RELATIME),
    ("strictatime", libc::MS_STRICTATIME),
    ("lazytime", 1 << 25),
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
    ("slave", libc::MS_SLAVE),
    ("rslave", libc::MS_SLAVE | libc::MS_REC),
];

/// Mounts `device` on the directory `target`; `kind` is its file system, and `options` a list with commas (`o`). The host's other
/// mounts do not see what is mounted inside. Returns the id of the mount.
///
/// # Errors
/// `Invalid` without a device, with `remount`, or for what propagates; `NotFound` for an address without a name server's answer and for
/// a missing device or target; and the kernel's, in Docker's words with all that was asked for.
pub fn mount(target: &Path, kind: &str, device: &str, options: &str) -> Result<u64> {
    if device.is_empty() {
        let why = "missing device in volume options";
        return Err(Error::new(Kind::Invalid, "mount", text(target), why));
    }
    let options = if kind == "nfs" || kind == "nfs4" {
        resolved(options)?
    } else {
        options.to_owned()
    };
    let words: Vec<&str> = options.split(',').filter(|w| !w.is_empty()).collect();
    let parsed = Options::parse(&words)?;
    if parsed.propagation.iter().any(|p| p.kind == libc::MS_SHARED) {
        let why =
            "a volume is not shared with other mounts of the host: leave out shared and rshared";
        return Err(Error::new(Kind::Invalid, OP, text(target), why));
    }
    let shown = || {
        let mut line = format!("{device}:{}", text(target));
        let flags = flags(&words);
        if flags != 0 {
            line += &format!(", flags: {flags:#x}");
        }
        if !parsed.data.is_empty() {
            line += ", data: ";
            line += &parsed.data.join(",");
        }
        line
    };
    let named = |e: Error| {
        // What failed is clear; the errno says why, and so does an error without one.
        let Some(errno) = e.errno else {
            return Error::new(e.kind, OP, shown(), e.to_string());
        };
        Error::errno(OP, shown(), errno)
    };
    let fd = detached(kind, device, &parsed).map_err(named)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(CWD, target, flags, Mode::empty()).context(OP, shown)?;
    attach(fd.as_fd(), place.as_fd()).context(OP, shown)?;
    // Below a shared mount it has become shared itself.
    let private = MountAttr {
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    let id = mount_setattr(fd.as_fd(), AT_RECURSIVE, &private)
        .and_then(|()| statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID))
        .context(OP, shown);
    match id {
        Ok(found) => Ok(found.stx_mnt_id),
        Err(e) => {
            let _ = unmount(target);
            Err(e)
        }
    }
}

fn detached(kind: &str, device: &str, options: &Options) -> Result<OwnedFd> {
    let Some(recursive) = options.bind else {
        return mount::filesystem(kind, device, options);
    };
    if let Some(word) = options.data.first() {
        return Err(Error::new(
            Kind::Invalid,
            "bind",
            device,
            format!("it has no option {word:?}"),
        ));
    }
    let fd = mount::open_bind(Path::new(device), recursive)?;
    set_attributes(fd.as_fd(), options, None)?;
    Ok(fd)
}

/// Takes away what is mounted on `target`, at once where nothing uses it and else when its last user ends; whether there was something.
///
/// # Errors
/// Those of the kernel.
pub fn unmount(target: &Path) -> Result<bool> {
    match umount2(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOENT) => Ok(false),
        Err(e) => Err(e).context("unmount", || text(target)),
    }
}

fn flags(words: &[&str]) -> u64 {
    let bits = |word: &&str| {
        FLAGS
            .iter()
            .find(|(name, _)| name == word)
            .map(|(_, bits)| bits)
    };
    words
        .iter()
        .filter_map(bits)
        .fold(0, |all, bits| all | bits)
}

/// The options with `addr=NAME` as an address: the kernel knows no names.
fn resolved(options: &str) -> Result<String> {
    let mut out = Vec::new();
    for word in options.split(',') {
        match word.strip_prefix("addr=") {
            Some(name) if name.parse::<IpAddr>().is_err() => {
                out.push(format!("addr={}", address(name)?));
            }
            _ => out.push(word.to_owned()),
        }
    }
    Ok(out.join(","))
}

fn address(name: &str) -> Result<IpAddr> {
    const OP: &str = "error resolving passed in network volume address: lookup";
    let none = || Error::new(Kind::NotFound, OP, name, "no such host");
    let mut found = (name, 0).to_socket_addrs().map_err(|_| none())?;
    found.next().map(|address| address.ip()).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::testdir::TestDir;

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    fn line_of(path: &Path) -> Option<String> {
        let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let place = format!(" {} ", path.display());
        all.lines()
            .find(|line| line.contains(&place))
            .map(str::to_owned)
    }

    #[test]
    fn names_become_addresses() {
        let same = "rw,addr=192.0.2.1,nfsvers=4";
        assert_eq!(resolved(same).unwrap(), same);
        assert_eq!(resolved("addr=2001:db8::1").unwrap(), "addr=2001:db8::1");
        let local = resolved("addr=localhost,ro").unwrap();
        assert!(
            local == "addr=127.0.0.1,ro" || local == "addr=::1,ro",
            "{local}"
        );
        let e = resolved("addr=none.invalid").unwrap_err();
        assert!(
            e.to_string().ends_with("lookup none.invalid: no such host"),
            "{e}"
        );
    }

    #[test]
    fn a_tmpfs_and_a_bind_come_and_go() {
        if !is_root() {
            return;
        }
        let tmp = TestDir::new();
        let (target, source) = (tmp.path().join("target"), tmp.path().join("source"));
        std::fs::create_dir(&target).unwrap();
        std::fs::create_dir(&source).unwrap();
        assert!(!unmount(&target).unwrap());
        let id = mount(&target, "tmpfs", "tmpfs", "size=1m,mode=0750,nodev").unwrap();
        let line = line_of(&target).unwrap();
        assert!(line.starts_with(&format!("{id} ")), "{line}");
        assert!(
            line.contains("nodev") && line.contains("size=1024k"),
            "{line}"
        );
        assert!(!line.contains("shared:"), "{line}");
        assert!(unmount(&target).unwrap());
        mount(&target, "none", source.to_str().unwrap(), "bind,ro").unwrap();
        assert!(std::fs::write(target.join("x"), "").is_err());
        assert!(unmount(&target).unwrap());
        assert!(line_of(&target).is_none());
    }

    #[test]
    fn failures_are_docker_s() {
        if !is_root() {
            return;
        }
        let tmp = TestDir::new();
        let target = tmp.path().join("target");
        std::fs::create_dir(&target).unwrap();
        let place = target.display();
        for (kind, device, options, why) in [
            (
                "none",
                "/none",
                "bind",
                format!("/none:{place}, flags: 0x1000: no such file or directory"),
            ),
            (
                "tmpfs",
                "tmpfs",
                "size=1m,uid=1000,nodev,wrong=2",
                format!(
                    "tmpfs:{place}, flags: 0x4, data: size=1m,uid=1000,wrong=2: invalid argument"
                ),
            ),
            ("nosuchfs", "x", "", format!("x:{place}: no such device")),
        ] {
            let said = mount(&target, kind, device, options)
                .unwrap_err()
                .to_string();
            assert_eq!(said, format!("failed to mount local volume: mount {why}"));
        }
        assert_eq!(
            mount(&target, "tmpfs", "", "").unwrap_err().kind,
            Kind::Invalid
        );
        assert!(mount(&target, "none", "/tmp", "bind,rshared").is_err());
        assert!(mount(&target, "tmpfs", "tmpfs", "remount").is_err());
        assert!(line_of(&target).is_none());
        let link = tmp.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(mount(&link, "tmpfs", "tmpfs", "").is_err());
    }
}
