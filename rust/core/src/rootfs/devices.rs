//! Device nodes and links of `/dev` (runtime-spec config-linux.md, "Default Devices" and "Dev symbolic links").
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fstat, major, makedev, minor,
    mknodat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};
use crate::mount::{attach, open_bind};
use crate::path::{Node, Root, clean, text};

/// One device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where, absolute.
    pub path: PathBuf,
    /// Character, block or fifo.
    pub kind: FileType,
    /// Its number.
    pub number: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Links that every container has.
pub const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
];

/// The nodes that the document asks for, after those that every container has; a later one replaces an earlier one.
pub fn plan(spec: &Spec) -> Result<Vec<Device>> {
    let standard = |name: &str, major, minor| Device {
        path: Path::new("/dev").join(name),
        kind: FileType::CharacterDevice,
        number: makedev(major, minor),
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let mut all = vec![
        standard("null", 1, 3),
        standard("zero", 1, 5),
        standard("full", 1, 7),
        standard("random", 1, 8),
        standard("urandom", 1, 9),
        standard("tty", 5, 0),
    ];
    for listed in spec
        .linux()
        .as_ref()
        .and_then(|l| l.devices().as_deref())
        .unwrap_or_default()
    {
        let device = parse(listed)?;
        all.retain(|d| d.path != device.path);
        all.push(device);
    }
    Ok(all)
}

fn parse(d: &LinuxDevice) -> Result<Device> {
    let invalid = |why: &str| Error::new(Kind::Invalid, "plan device", text(d.path()), why);
    let kind = match d.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => return Err(invalid("a node is of type b, c, u or p")),
    };
    let number =
        |n: i64| u32::try_from(n).map_err(|_| invalid("device numbers are 0 to 4294967295"));
    let number = if kind == FileType::Fifo {
        0
    } else {
        makedev(number(d.major())?, number(d.minor())?)
    };
    let path = clean(d.path());
    if path == Path::new("/") {
        return Err(invalid("not a path of a node"));
    }
    Ok(Device {
        path,
        kind,
        number,
        mode: d.file_mode().unwrap_or(0o666) & 0o7777,
        uid: d.uid().unwrap_or(0),
        gid: d.gid().unwrap_or(0),
    })
}

/// Makes a node (or, in a user namespace, binds the host's own), replacing what is there.
///
/// `dev` is the container's fresh `/dev` while it is still detached: nodes right below it are made there, by one call.
pub fn create(device: &Device, dev: Option<&OwnedFd>, root: &Root<'_>, bind: bool) -> Result<()> {
    let name = || text(&device.path);
    if let (Some(dev), Some(leaf), false) = (dev, direct_child(&device.path), bind) {
        return make(dev, Path::new(leaf), device).context("make device node", name);
    }
    if bind {
        let source = open_bind(&device.path, false)?;
        let target = root.ensure(&device.path, Node::File)?;
        return attach(source.as_fd(), target.as_fd()).context("bind device", name);
    }
    let parent = root.ensure(
        device.path.parent().unwrap_or(Path::new("/")),
        Node::Directory,
    )?;
    make(
        &parent,
        Path::new(device.path.file_name().unwrap_or_default()),
        device,
    )
    .context("make device node", name)
}

/// The name of a path right below `/dev`.
fn direct_child(path: &Path) -> Option<&std::ffi::OsStr> {
    (path.parent() == Some(Path::new("/dev")))
        .then(|| path.file_name())
        .flatten()
}

fn make(dir: &OwnedFd, name: &Path, device: &Device) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(device.mode);
    match mknodat(dir, name, device.kind, mode, device.number) {
        // An image's own node, or whatever it has there, is not trusted.
        Err(Errno::EXIST) => {
            unlinkat(dir, name, AtFlags::empty())?;
            mknodat(dir, name, device.kind, mode, device.number)?;
        }
        other => other?,
    }
    // umask is 0 while mounts are made, but setuid bits are lost by chown.
    if (device.uid, device.gid) != (0, 0) {
        chownat(
            dir,
            name,
            Some(Uid::from_raw(device.uid)),
            Some(Gid::from_raw(device.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        chmodat(dir, name, mode, AtFlags::empty())?;
    }
    Ok(())
}

/// Makes the links; `ptmx` leads to the container's own devpts.
pub fn links(dev: &OwnedFd) -> Result<()> {
    for (target, name) in LINKS.into_iter().chain([("pts/ptmx", "ptmx")]) {
        match symlinkat(target, dev, name) {
            Err(Errno::EXIST) if name == "ptmx" => {
                unlinkat(dev, name, AtFlags::empty()).context("remove from /dev", || name)?;
                symlinkat(target, dev, name).context("make link in /dev", || name)?;
            }
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e).context("make link in /dev", || name),
        }
    }
    Ok(())
}

/// The container's null device, checked to be one: what files are masked with (CVE-2025-31133).
pub fn open_null(root: &Root<'_>) -> Result<OwnedFd> {
    let path = Path::new("/dev/null");
    let fd = root
        .open(path, OFlags::PATH)
        .context("open", || text(path))?;
    let stat = fstat(&fd).context("stat", || text(path))?;
    let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !character || (major(stat.st_rdev), minor(stat.st_rdev)) != (1, 3) {
        let why = "it is not the null device (1:3)";
        return Err(Error::new(Kind::Denied, "open", text(path), why));
    }
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> Result<Vec<Device>> {
        let spec: Spec = serde_json::from_str(&format!(
            r#"{{"ociVersion":"1.2.0","linux":{{"devices":{json}}}}}"#
        ))
        .unwrap();
        plan(&spec)
    }

    #[test]
    fn standard_nodes_come_first_and_can_be_replaced() {
        let d = planned(r#"[{"path":"/dev/fuse","type":"c","major":10,"minor":229,"fileMode":432,"uid":7},{"path":"/dev//null","type":"c","major":1,"minor":3,"fileMode":420}]"#).unwrap();
        assert_eq!(d.len(), 7);
        assert_eq!(d[0].path, Path::new("/dev/zero"));
        let fuse = d.iter().find(|d| d.path.ends_with("fuse")).unwrap();
        assert_eq!(
            (fuse.mode, fuse.uid, fuse.number),
            (0o660, 7, makedev(10, 229))
        );
        assert_eq!(
            d.iter()
                .filter(|d| d.path.ends_with("null"))
                .map(|d| d.mode)
                .collect::<Vec<_>>(),
            [0o644]
        );
    }

    #[test]
    fn refuses_bad_numbers_and_types() {
        assert!(planned(r#"[{"path":"/dev/x","type":"c","major":-1,"minor":0}]"#).is_err());
        assert!(planned(r#"[{"path":"/dev/x","type":"a","major":1,"minor":0}]"#).is_err());
        assert!(planned(r#"[{"path":"/","type":"c","major":1,"minor":0}]"#).is_err());
    }

    #[test]
    fn the_hosts_null_is_null() {
        let root = std::fs::File::open("/").unwrap();
        assert!(open_null(&Root::new(root.as_fd())).is_ok());
    }
}
