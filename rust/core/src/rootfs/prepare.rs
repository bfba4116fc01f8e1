//! The container's tree of mounts: sources opened in the parent, everything put together in the new mount namespace.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, fstat, fstatfs, mkdirat};
use rustix::process::umask;

use super::devices::{self, Device};
use super::masks::{self, Places};
use super::sources::Opener;
use super::{BindSource, Rootfs, cgroups, copy_up, detached, host, overlay, pivot};
use crate::error::{Context, Error, Kind, Result};
use crate::mount::{self, Options, Propagation, Source, Step, attach};
use crate::namespace;
use crate::path::{Node, Root, text};
use crate::security::selinux;
use crate::sys::{AT_RECURSIVE, MountAttr, mount_setattr};

/// What the parent has opened and planned before the container's namespaces exist.
#[derive(Debug)]
pub struct Prepared {
    root: OwnedFd,
    /// Submounts of a host root: target and detached mount.
    below: Vec<(PathBuf, OwnedFd)>,
    steps: Vec<(Step, Option<OwnedFd>)>,
    devices: Vec<Device>,
    bind_devices: bool,
    masked: Vec<String>,
    readonly: Vec<String>,
    root_readonly: bool,
    propagation: Option<Propagation>,
    label: Option<String>,
    cgroup_namespace: bool,
}

/// Opens the root filesystem and the sources of all binds, with the caller's privileges, and plans the rest. `sources` says what binds
/// show instead of their path.
pub fn prepare(
    spec: &Spec,
    bundle: &Path,
    rootfs: &Rootfs,
    sources: &[BindSource],
    namespaces: &namespace::Plan,
    warnings: &mut Vec<String>,
) -> Result<Prepared> {
    let linux = spec.linux().as_ref();
    let label = linux
        .and_then(|l| l.mount_label().clone())
        .filter(|l| !l.is_empty() && selinux::is_enabled());
    let mut below = Vec::new();
    let root = match rootfs {
        Rootfs::Overlay(o) => overlay::mount(o, label.as_deref())?,
        Rootfs::Directory(path) => detached::directory(path)?,
        Rootfs::Host(h) => {
            let (root, more) = host::mount(h, label.as_deref(), warnings)?;
            below = more;
            root
        }
    };
    let mut steps = Vec::new();
    let mut opener = Opener::new(sources, label.as_deref());
    for step in mount::plan(spec, bundle)? {
        let fd = match &step.source {
            Source::Bind { path, recursive } => {
                Some(open_source(&mut opener, &step, path, *recursive)?)
            }
            _ => None,
        };
        steps.push((step, fd));
    }
    opener.finish()?;
    let propagation = match linux
        .and_then(|l| l.rootfs_propagation().as_deref())
        .filter(|p| !p.is_empty())
    {
        None => None,
        Some(word) => Some(Propagation::parse(word).ok_or_else(|| {
            Error::new(
                Kind::Invalid,
                "plan mounts",
                word,
                "not a mount propagation",
            )
        })?),
    };
    Ok(Prepared {
        root,
        below,
        steps,
        devices: devices::plan(spec)?,
        bind_devices: namespaces.is_own(libc::CLONE_NEWUSER),
        masked: linux
            .and_then(|l| l.masked_paths().clone())
            .unwrap_or_default(),
        readonly: linux
            .and_then(|l| l.readonly_paths().clone())
            .unwrap_or_default(),
        root_readonly: spec
            .root()
            .as_ref()
            .and_then(|r| r.readonly())
            .unwrap_or(false),
        propagation,
        label,
        cgroup_namespace: namespaces.is_own(libc::CLONE_NEWCGROUP),
    })
}

fn open_source(
    opener: &mut Opener<'_>,
    step: &Step,
    path: &Path,
    recursive: bool,
) -> Result<OwnedFd> {
    let fd = opener.open(step, path, recursive)?;
    if step.destination == Path::new("/proc") && !is_procfs_root(fd.as_fd())? {
        return Err(Error::new(
            Kind::Denied,
            "mount",
            "/proc",
            format!("{} is not a procfs", text(path)),
        ));
    }
    Ok(fd)
}

const PROC_SUPER_MAGIC: u64 = 0x9fa0;
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

fn on_filesystem(fd: BorrowedFd<'_>, magic: u64) -> Result<bool> {
    Ok(fstatfs(fd).context("stat filesystem", String::new)?.f_type as u64 == magic)
}

fn is_procfs_root(fd: BorrowedFd<'_>) -> Result<bool> {
    // PROC_ROOT_INO
    Ok(on_filesystem(fd, PROC_SUPER_MAGIC)? && fstat(fd).context("stat", || "/proc")?.st_ino == 1)
}

impl Prepared {
    /// The container's root.
    pub fn root(&self) -> Root<'_> {
        Root::new(self.root.as_fd())
    }

    /// In the new mount namespace: makes every mount and node. `proc` is a private procfs of the container's pid
    /// namespace; the document's procfs mount takes this very one.
    pub fn assemble(&self, proc: &OwnedFd) -> Result<()> {
        // Modes of nodes and directories are the document's, not the caller's.
        let before = umask(Mode::empty());
        let done = self.assemble_inner(proc);
        umask(before);
        done
    }

    fn assemble_inner(&self, proc: &OwnedFd) -> Result<()> {
        pivot::isolate()?;
        pivot::attach_root(self.root.as_fd())?;
        for (target, fd) in &self.below {
            let Ok(at) = self.root().open(target, OFlags::PATH) else {
                continue;
            };
            attach(fd.as_fd(), at.as_fd()).context("mount", || text(target))?;
        }
        let mut dev = None;
        let mut proc_mounted = false;
        for (step, source) in &self.steps {
            let fail = || text(&step.destination);
            match (&step.source, source) {
                (Source::Bind { .. }, Some(source)) => {
                    let node = if is_directory(source.as_fd())? {
                        Node::Directory
                    } else {
                        Node::File
                    };
                    self.attach_checked(step, source.as_fd(), node)?;
                }
                (Source::Proc, _) => {
                    let attr = MountAttr {
                        set: step.options.set,
                        clear: step.options.clear,
                        ..MountAttr::default()
                    };
                    mount_setattr(proc.as_fd(), 0, &attr).context("set mount options of", fail)?;
                    self.attach_ordinary(step, proc.as_fd())?;
                    proc_mounted |= step.destination == Path::new("/proc");
                }
                (Source::Sysfs, _) => {
                    let fd = mount::filesystem("sysfs", "sysfs", &step.options)?;
                    self.attach_ordinary(step, fd.as_fd())?;
                }
                (Source::Cgroup, _) => {
                    let fds = cgroups::mounts(&step.options, self.cgroup_namespace)?;
                    self.attach_checked(step, fds.top.as_fd(), Node::Directory)?;
                    fds.attach_below()?;
                }
                (Source::Filesystem { kind, source }, _) => {
                    let mut options = step.options.clone();
                    self.label(kind, &mut options);
                    if kind == "tmpfs" {
                        copy_up::keep_mode(&self.root(), &step.destination, &mut options);
                    }
                    // An attribute that forbids writing comes after the writing.
                    let read_only = options.set & libc::MOUNT_ATTR_RDONLY;
                    options.set &= !read_only;
                    let fd = mount::filesystem(kind, source, &options)?;
                    if let (Some(label), "mqueue") = (&self.label, kind.as_str()) {
                        // Its file system exists already, and takes no context any more. Where the policy forbids even
                        // this, the queues are no worse protected.
                        let _ = selinux::set_label(fd.as_fd(), label);
                    }
                    if step.destination == Path::new("/dev") && kind == "tmpfs" {
                        self.populate_dev(&fd)?;
                    } else if options.copy_up && kind == "tmpfs" {
                        copy_up::copy(&self.root(), &step.destination, fd.as_fd())?;
                    }
                    if read_only != 0 {
                        mount_setattr(
                            fd.as_fd(),
                            0,
                            &MountAttr {
                                set: read_only,
                                ..MountAttr::default()
                            },
                        )
                        .context("make read-only", fail)?;
                    }
                    self.attach_checked(step, fd.as_fd(), Node::Directory)?;
                    if step.destination == Path::new("/dev") {
                        dev = Some(fd);
                    }
                }
                (Source::Bind { .. }, None) => unreachable!("every bind has been opened"),
            }
        }
        self.more_devices(dev.as_ref())?;
        let places = Places {
            root: self.root(),
            proc: proc_mounted.then(|| proc.as_fd()),
        };
        // Never the host's node: a container that changes the mode of what masks a file would change it for the host.
        let null = devices::open_null(&places.root)?;
        masks::mask(&places, &self.masked, &null, self.label.as_deref())?;
        Ok(())
    }

    /// The last of the mounts: read-only paths come after everything (sysctls) that writes there.
    pub fn seal(&self, proc: &OwnedFd) -> Result<()> {
        let mounted = self
            .steps
            .iter()
            .any(|(s, _)| s.source == Source::Proc && s.destination == Path::new("/proc"));
        let places = Places {
            root: self.root(),
            proc: mounted.then(|| proc.as_fd()),
        };
        masks::read_only(&places, &self.readonly)?;
        if self.root_readonly {
            mount_setattr(
                self.root.as_fd(),
                0,
                &MountAttr {
                    set: libc::MOUNT_ATTR_RDONLY,
                    ..MountAttr::default()
                },
            )
            .context("make read-only", || "/")?;
        }
        Ok(())
    }

    /// Enters the root: after this, the host's tree cannot be reached.
    pub fn enter(&self) -> Result<()> {
        pivot::enter(self.root.as_fd())?;
        if let Some(p) = self.propagation {
            let flags = if p.recursive { AT_RECURSIVE } else { 0 };
            mount_setattr(
                self.root.as_fd(),
                flags,
                &MountAttr {
                    propagation: p.kind,
                    ..MountAttr::default()
                },
            )
            .context("set mount propagation", || "/")?;
        }
        Ok(())
    }

    fn label(&self, kind: &str, options: &mut Options) {
        if let (Some(label), "tmpfs" | "devpts") = (&self.label, kind) {
            options.data.push(format!("context={label}"));
        }
    }

    /// For procfs and sysfs: an image that has a link there would get them, and all that is set through them, elsewhere.
    fn attach_ordinary(&self, step: &Step, mount: BorrowedFd<'_>) -> Result<()> {
        let fail = || text(&step.destination);
        let target = match self
            .root()
            .open_no_links(&step.destination, OFlags::PATH | OFlags::DIRECTORY)
        {
            Err(rustix::io::Errno::NOENT) => {
                self.root().ensure(&step.destination, Node::Directory)?;
                self.root()
                    .open_no_links(&step.destination, OFlags::PATH | OFlags::DIRECTORY)
            }
            other => other,
        };
        let target = target.map_err(|e| {
            let why = format!("it must be an ordinary directory of the root filesystem ({e})");
            Error::new(Kind::Denied, "mount", fail(), why)
        })?;
        attach(mount, target.as_fd()).context("mount", fail)
    }

    /// Attaches where the destination leads, but never into a procfs that a link of the image leads to.
    fn attach_checked(&self, step: &Step, mount: BorrowedFd<'_>, node: Node) -> Result<()> {
        let fail = || text(&step.destination);
        let target = match self.root().ensure(&step.destination, node) {
            Err(e) if e.kind == Kind::Invalid || e.errno == Some(libc::ENOTDIR) => {
                let why = "not a directory: Are you trying to mount a directory onto a file (or vice-versa)? \
                    Check if the specified host path exists and is the expected type";
                return Err(Error::new(Kind::Invalid, "mount", fail(), why));
            }
            other => other?,
        };
        if on_filesystem(target.as_fd(), PROC_SUPER_MAGIC)?
            && !mount::PROC_FILES
                .iter()
                .any(|f| step.destination == Path::new(f))
        {
            let own_proc = step.destination == Path::new("/proc")
                && matches!(step.source, Source::Bind { .. });
            if !own_proc {
                return Err(Error::new(
                    Kind::Denied,
                    "mount",
                    fail(),
                    "a link of the image leads into /proc",
                ));
            }
        }
        if step.destination != Path::new("/proc")
            && let Ok(proc) = self.root().open_no_links(Path::new("/proc"), OFlags::PATH)
        {
            let (a, b) = (
                fstat(&proc).context("stat", || "/proc")?,
                fstat(&target).context("stat", fail)?,
            );
            if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) {
                return Err(Error::new(
                    Kind::Denied,
                    "mount",
                    fail(),
                    "a link of the image leads to /proc",
                ));
            }
        }
        attach(mount, target.as_fd()).context("mount", fail)
    }

    /// Nodes, links and mount points of a fresh `/dev`, while nobody can see it.
    fn populate_dev(&self, dev: &OwnedFd) -> Result<()> {
        if !self.bind_devices {
            for device in &self.devices {
                if device.path.parent() == Some(Path::new("/dev")) {
                    devices::create(device, Some(dev), &self.root(), false)?;
                }
            }
        }
        devices::links(dev)?;
        for name in ["pts", "shm", "mqueue"] {
            mkdirat(dev, name, Mode::from_raw_mode(0o755))
                .context("make directory in /dev", || name)?;
        }
        Ok(())
    }

    /// Nodes elsewhere, or all of them where there is no fresh `/dev`. A `/dev` bound from the host has its own.
    fn more_devices(&self, dev: Option<&OwnedFd>) -> Result<()> {
        let bound = self.steps.iter().any(|(s, _)| {
            s.destination == Path::new("/dev") && matches!(s.source, Source::Bind { .. })
        });
        if bound {
            return Ok(());
        }
        for device in &self.devices {
            let made = dev.is_some()
                && !self.bind_devices
                && device.path.parent() == Some(Path::new("/dev"));
            if !made {
                devices::create(device, None, &self.root(), self.bind_devices)?;
            }
        }
        if dev.is_none() {
            let dir = self.root().ensure(Path::new("/dev"), Node::Directory)?;
            devices::links(&dir)?;
        }
        Ok(())
    }

    /// A new terminal of the container's own devpts: its master, and its slave bound on `/dev/console`.
    pub fn console(&self) -> Result<(OwnedFd, OwnedFd)> {
        let (master, slave) = open_terminal(&self.root())?;
        let target = self.root().ensure(Path::new("/dev/console"), Node::File)?;
        let tree =
            mount::clone_tree(slave.as_fd(), false).context("open console", || "/dev/console")?;
        attach(tree.as_fd(), target.as_fd()).context("mount", || "/dev/console")?;
        Ok((master, slave))
    }
}

/// A new terminal of the devpts that `root` has: master and slave.
pub fn open_terminal(root: &Root<'_>) -> Result<(OwnedFd, OwnedFd)> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
    let path = Path::new("/dev/pts/ptmx");
    let at = root
        .open(path, OFlags::PATH)
        .context("open terminal", || text(path))?;
    if !on_filesystem(at.as_fd(), DEVPTS_SUPER_MAGIC)? {
        return Err(Error::new(
            Kind::Denied,
            "open terminal",
            text(path),
            "not on a devpts; a terminal needs one on /dev/pts",
        ));
    }
    let master = root
        .open(path, OFlags::RDWR | OFlags::NOCTTY)
        .context("open terminal", || text(path))?;
    unlockpt(&master).context("unlock terminal", || text(path))?;
    let slave = ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .context("open terminal", || text(path))?;
    Ok((master, slave))
}

fn is_directory(fd: BorrowedFd<'_>) -> Result<bool> {
    let stat = fstat(fd).context("stat bind source", String::new)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory)
}

/// Opens a file of a private procfs for writing; never through a link or onto another mount (SECURITY.md R2).
pub fn open_proc(proc: BorrowedFd<'_>, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    crate::path::open_below(
        proc,
        Path::new(path),
        flags,
        ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS,
    )
}

/// A private procfs of the current pid namespace.
pub fn private_proc() -> Result<OwnedFd> {
    mount::pseudo(
        "proc",
        &[],
        libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
    )
    .context("mount", || "procfs")
}
