//! What a new container process does between `clone3` and `execve`.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, fchdir, getcwd, set_parent_process_death_signal, setsid, umask,
};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::channel::ChildEnd;
use super::plan::Plan;
use super::{Failure, credentials, hooks, init, limits};
use crate::error::{Context, Error, Kind, Result};
use crate::namespace;
use crate::path::{Root, text};
use crate::rootfs::{Prepared, open_proc, private_proc};
use crate::security::{apparmor, seccomp, selinux};
use crate::sys;

/// Runs the whole sequence; never returns.
pub(super) fn run(plan: &Plan<'_>, end: ChildEnd) -> ! {
    let failure = match start(plan, &end) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    end.fail(&failure);
    sys::exit_now(i32::from(failure.exit_code))
}

enum Never {}

fn start(plan: &Plan<'_>, end: &ChildEnd) -> std::result::Result<Never, Failure> {
    // A fresh process group and session: no signal of the caller's terminal reaches the container, and it cannot type there.
    setsid().context("make session", String::new)?;
    if plan.handshake {
        end.ready()?;
    }
    let (proc, console) = match (&plan.container, &plan.rootfs) {
        (Some((pidfd, flags)), _) => enter_container(plan, pidfd.as_fd(), *flags, end)?,
        (None, Some(rootfs)) => build_container(plan, rootfs, end)?,
        (None, None) => join_mounts(plan, end)?,
    };
    finish(plan, end, &proc, console)
}

/// What [`finish`] needs: a private procfs of the process's pid namespace, and the slave of its terminal.
type Inside = (OwnedFd, Option<OwnedFd>);

/// Makes the container around this process, its first.
fn build_container(plan: &Plan<'_>, rootfs: &Prepared, end: &ChildEnd) -> Result<Inside> {
    enter_namespaces(plan)?;
    let proc = private_proc()?;
    make_time_namespace(plan, proc.as_fd())?;
    rootfs.assemble(&proc)?;
    let mut console = None;
    if plan.terminal {
        let (master, slave) = rootfs.console()?;
        end.console(&master)?;
        console = Some(slave);
    }
    settings(plan, &proc, end)?;
    rootfs.seal(&proc)?;
    plan.hooks.run_in_container(hooks::When::CreateContainer)?;
    make_cwd(&rootfs.root(), plan.process.cwd())?;
    rootfs.enter()?;
    Ok((proc, console))
}

/// A time namespace belongs to the children of who makes it; its offsets are set, and then it is entered by name.
fn make_time_namespace(plan: &Plan<'_>, proc: BorrowedFd<'_>) -> Result<()> {
    if !plan.namespaces.is_new(libc::CLONE_NEWTIME) {
        return Ok(());
    }
    sys::unshare(libc::CLONE_NEWTIME).context("make time namespace", String::new)?;
    let me = rustix::process::getpid().as_raw_nonzero();
    let offsets = plan
        .spec
        .linux()
        .as_ref()
        .and_then(|l| l.time_offsets().as_ref());
    for (clock, offset) in offsets.into_iter().flatten() {
        let line = format!(
            "{clock} {} {}",
            offset.secs().unwrap_or(0),
            offset.nanosecs().unwrap_or(0)
        );
        let file = open_proc(proc, &format!("{me}/timens_offsets"), OFlags::WRONLY)
            .context("open time offsets", String::new)?;
        rustix::io::write(&file, line.as_bytes()).context("set time offset", || line.as_str())?;
    }
    // A magic link, in a procfs that nobody else can reach.
    let path = format!("{me}/ns/time_for_children");
    let fd = rustix::fs::openat(
        proc,
        path.as_str(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context("open namespace", || "time")?;
    sys::setns(fd.as_fd(), libc::CLONE_NEWTIME).context("enter namespace", || "time")
}

/// A container in somebody else's mount namespace: its mounts are as they are.
fn join_mounts(plan: &Plan<'_>, end: &ChildEnd) -> Result<Inside> {
    enter_namespaces(plan)?;
    let proc = private_proc()?;
    let console = terminal(plan, end)?;
    settings(plan, &proc, end)?;
    plan.hooks.run_in_container(hooks::When::CreateContainer)?;
    Ok((proc, console))
}

/// Enters a running container. This process is in its pid namespace already.
fn enter_container(
    plan: &Plan<'_>,
    pidfd: BorrowedFd<'_>,
    flags: i32,
    end: &ChildEnd,
) -> Result<Inside> {
    join_cgroups(plan)?;
    // Before the mount and user namespaces: what is masked in the container's /proc would forbid a new one there.
    let proc = private_proc()?;
    settings(plan, &proc, end)?;
    if flags != 0 {
        sys::setns(pidfd, flags)
            .context("join namespaces of container", || format!("{flags:#x}"))?;
    }
    if flags & libc::CLONE_NEWUSER != 0 {
        become_namespace_root()?;
    }
    let console = terminal(plan, end)?;
    Ok((proc, console))
}

/// A terminal of the devpts that the process sees.
fn terminal(plan: &Plan<'_>, end: &ChildEnd) -> Result<Option<OwnedFd>> {
    if !plan.terminal {
        return Ok(None);
    }
    let root = open_root()?;
    let (master, slave) = crate::rootfs::open_terminal(&Root::new(root.as_fd()))?;
    end.console(&master)?;
    Ok(Some(slave))
}

/// Everything of new and joined namespaces but the mounts.
fn enter_namespaces(plan: &Plan<'_>) -> Result<()> {
    if plan.namespaces.is_own(libc::CLONE_NEWUSER) {
        become_namespace_root()?;
    }
    join_cgroups(plan)?;
    join_namespaces(plan)?;
    if plan.namespaces.is_new(libc::CLONE_NEWNET) {
        namespace::loopback_up()?;
    }
    set_names(plan)
}

/// Root of the user namespace: until now the process has ids that are not mapped there.
fn become_namespace_root() -> Result<()> {
    let (u, g) = (Uid::ROOT, Gid::ROOT);
    set_thread_groups(&[]).context("set groups", String::new)?;
    set_thread_res_gid(g, g, g).context("set group", || "0")?;
    set_thread_res_uid(u, u, u).context("set user", || "0")
}

fn join_cgroups(plan: &Plan<'_>) -> Result<()> {
    for file in plan.tasks {
        rustix::io::write(file, b"0").context("join cgroup", String::new)?;
    }
    // Its root is the cgroup that the process is in now, so not at clone3.
    if plan.namespaces.is_new(libc::CLONE_NEWCGROUP) {
        sys::unshare(libc::CLONE_NEWCGROUP).context("make cgroup namespace", String::new)?;
    }
    Ok(())
}

/// The pid and user namespaces have been joined before the clone.
fn join_namespaces(plan: &Plan<'_>) -> Result<()> {
    for (flag, fd) in &plan.namespaces.join {
        if !matches!(*flag, libc::CLONE_NEWPID | libc::CLONE_NEWUSER) {
            sys::setns(fd.as_fd(), *flag)
                .context("join namespace", || format!("of kind {flag:#x}"))?;
        }
    }
    Ok(())
}

fn set_names(plan: &Plan<'_>) -> Result<()> {
    let own = plan.namespaces.is_own(libc::CLONE_NEWUTS);
    for (name, set, value) in [
        (
            "hostname",
            sys::set_hostname as fn(&[u8]) -> rustix::io::Result<()>,
            plan.spec.hostname(),
        ),
        ("domainname", sys::set_domainname, plan.spec.domainname()),
    ] {
        if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
            if !own {
                return Err(Error::new(
                    Kind::Invalid,
                    "set name of host",
                    value,
                    format!("a {name} needs a uts namespace that is not the host's"),
                ));
            }
            set(value.as_bytes()).context("set name of host", || value)?;
        }
    }
    Ok(())
}

/// Settings that need the private procfs or the caller's privileges.
fn settings(plan: &Plan<'_>, proc: &OwnedFd, end: &ChildEnd) -> Result<()> {
    limits::write_sysctls(proc.as_fd(), &plan.sysctls)?;
    if let Some(score) = plan.process.oom_score_adj() {
        // In a user namespace the file belongs to the host's root: the parent has written it.
        if !plan.namespaces.is_own(libc::CLONE_NEWUSER) {
            let pid = rustix::process::getpid().as_raw_nonzero().get();
            if let Some(warning) = limits::set_oom_score(proc.as_fd(), pid, score)? {
                end.warn(&warning);
            }
        }
    }
    limits::set_scheduling(plan.process, plan.spec)?;
    match sys::new_session_keyring() {
        // A kernel without keyrings has none to leak.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        // A filter around this very process (a container in a container) that denies keyctl.
        Err(Errno::PERM) => {
            end.warn("no session keyring of its own: keyctl is denied here");
            Ok(())
        }
        Err(e) => Err(e).context("make session keyring", String::new),
    }
}

fn open_root() -> Result<OwnedFd> {
    rustix::fs::openat(
        rustix::fs::CWD,
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context("open", || "/")
}

/// A missing working directory is made, as Docker does.
fn make_cwd(root: &Root<'_>, cwd: &Path) -> Result<()> {
    if !cwd.is_absolute() {
        return Err(Error::new(
            Kind::Invalid,
            "change directory",
            text(cwd),
            "the working directory must be an absolute path",
        ));
    }
    if cwd == Path::new("/") {
        return Ok(());
    }
    match root.open(cwd, OFlags::PATH) {
        Err(Errno::NOENT) => root.ensure(cwd, crate::path::Node::Directory).map(drop),
        _ => Ok(()),
    }
}

/// Everything inside the container's root.
fn finish(
    plan: &Plan<'_>,
    end: &ChildEnd,
    proc: &OwnedFd,
    console: Option<OwnedFd>,
) -> std::result::Result<Never, Failure> {
    wire_streams(plan, console)?;
    limits::set_rlimits(plan.process)?;
    umask(Mode::from_raw_mode(
        plan.process.user().umask().unwrap_or(0o022),
    ));
    let no_new_privs = plan.process.no_new_privileges().unwrap_or(false);
    // Filters older than close_range and openat2 deny them: what needs those comes before the filter.
    sys::close_range_cloexec(3).context("close descriptors", String::new)?;
    keep_descriptors(plan.preserve_fds)?;
    // First with root's rights, for a directory that the user cannot reach by itself (runc does so, too).
    let entered = change_directory(plan.process.cwd());
    // Without no_new_privs a filter needs CAP_SYS_ADMIN, so it comes before the capabilities go.
    if !no_new_privs {
        load_seccomp(plan, end)?;
    }
    plan.capabilities.drop_bounding()?;
    credentials::apply(&plan.identity, &plan.capabilities)?;
    match entered {
        // A directory that only the user can reach, as on a network file system.
        Err(e) if e.errno == Some(libc::EACCES) => change_directory_as_user(plan.process.cwd())?,
        other => other?,
    }
    // The kernel clears it when credentials change, so only now.
    if plan.die_with_parent {
        set_parent_process_death_signal(Some(Signal::KILL))
            .context("set parent death signal", String::new)?;
        parent_alive(end)?;
    }
    let path = plan.program.find()?;
    if let Some(fifo) = &plan.hold {
        end.held()?;
        wait_for_start(proc, fifo)?;
    }
    plan.hooks.run_in_container(hooks::When::StartContainer)?;
    if no_new_privs {
        set_no_new_privs(true).context("set no_new_privs", String::new)?;
    }
    if plan.init {
        return init::run(plan, end, proc, &path, no_new_privs);
    }
    if no_new_privs {
        load_seccomp(plan, end)?;
    }
    confine(plan, proc)?;
    sys::reset_signals();
    Err(plan.program.execute(&path))
}

/// The AppArmor profile that the document names.
pub(super) fn apparmor_profile<'a>(plan: &Plan<'a>) -> Option<&'a str> {
    let named = plan.process.apparmor_profile().as_deref();
    named.filter(|p| !p.is_empty())
}

/// AppArmor profile and SELinux label, from the `execve` on; through the private procfs (SECURITY.md R2).
pub(super) fn confine(plan: &Plan<'_>, proc: &OwnedFd) -> Result<()> {
    if let Some(profile) = apparmor_profile(plan) {
        apparmor::confine(proc.as_fd(), profile)?;
    }
    if let Some(label) = plan
        .process
        .selinux_label()
        .as_deref()
        .filter(|l| !l.is_empty())
    {
        selinux::confine(proc.as_fd(), label)?;
    }
    Ok(())
}

/// The parent may have died before the death signal was set: its end of the channel is closed then.
fn parent_alive(end: &ChildEnd) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(&end.0, PollFlags::IN)];
    poll(
        &mut fds,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )
    .context("look for the parent", String::new)?;
    if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
        sys::exit_now(137);
    }
    Ok(())
}

pub(super) fn load_seccomp(plan: &Plan<'_>, end: &ChildEnd) -> Result<()> {
    let Some(seccomp) = &plan.seccomp else {
        return Ok(());
    };
    let listener = seccomp::load(&seccomp.program)?;
    if let Some(fd) = listener {
        end.listener(&fd)?;
    }
    Ok(())
}

/// Descriptors 0 to 2, the controlling terminal and their owner.
fn wire_streams(plan: &Plan<'_>, console: Option<OwnedFd>) -> Result<()> {
    use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
    let wire = |fds: [&OwnedFd; 3]| -> rustix::io::Result<()> {
        dup2_stdin(fds[0])?;
        dup2_stdout(fds[1])?;
        dup2_stderr(fds[2])
    };
    if let Some(slave) = console {
        if let Some(size) = plan.process.console_size() {
            let cells = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
            let size = rustix::termios::Winsize {
                ws_row: cells(size.height()),
                ws_col: cells(size.width()),
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            rustix::termios::tcsetwinsize(&slave, size)
                .context("set size of terminal", String::new)?;
        }
        rustix::process::ioctl_tiocsctty(&slave)
            .context("set controlling terminal", String::new)?;
        wire([&slave; 3]).context("set up streams", String::new)?;
    } else if let Some([a, b, c]) = &plan.stdio {
        // Sources below 3 would be overwritten before their turn.
        let up = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let wired = up(a)
            .and_then(|a| Ok([a, up(b)?, up(c)?]))
            .and_then(|[a, b, c]| wire([&a, &b, &c]));
        wired.context("set up streams", String::new)?;
    }
    // So that a user other than root can open /dev/stdout: pipes and the terminal become its own.
    for number in 0..3 {
        let fd = sys::borrow_fd(number);
        let Ok(stat) = fstat(fd) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let ours = kind == FileType::Fifo || plan.terminal;
        if ours && stat.st_uid != plan.identity.uid {
            match fchown(fd, Some(Uid::from_raw(plan.identity.uid)), None) {
                // EINVAL: an id that a user namespace does not map. Streams work without it.
                Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => {}
                Err(e) => {
                    return Err(e)
                        .context("give stream to the container's user", || number.to_string());
                }
            }
        }
    }
    Ok(())
}

/// Changes the working directory without magic links, and verifies that it lies in the root (CVE-2024-21626).
pub(super) fn change_directory(cwd: &Path) -> Result<()> {
    let root = open_root()?;
    let dir = Root::new(root.as_fd())
        .open(cwd, OFlags::PATH | OFlags::DIRECTORY)
        .context("change directory", || text(cwd))?;
    fchdir(&dir).context("change directory", || text(cwd))?;
    verify_directory(cwd)
}

/// The same under the container's filter, which may lack openat2: the verification stands alone then.
fn change_directory_as_user(cwd: &Path) -> Result<()> {
    rustix::process::chdir(cwd).context("change directory", || text(cwd))?;
    verify_directory(cwd)
}

fn verify_directory(cwd: &Path) -> Result<()> {
    let now = getcwd(Vec::new()).context("change directory", || text(cwd))?;
    if !now.as_bytes().starts_with(b"/") {
        return Err(Error::new(
            Kind::Denied,
            "change directory",
            text(cwd),
            "it lies outside the container's root",
        ));
    }
    Ok(())
}

/// Opens the fifo anew, by the procfs entry of the `O_PATH` descriptor, which waits until `start` reads.
fn wait_for_start(proc: &OwnedFd, fifo: &OwnedFd) -> Result<()> {
    let me = Pid::as_raw(Some(rustix::process::getpid()));
    let path = format!("{me}/fd/{}", fifo.as_raw_fd());
    let fd = loop {
        match rustix::fs::openat(
            proc,
            path.as_str(),
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Err(Errno::INTR) => {}
            other => break other.context("wait for start", String::new)?,
        }
    };
    rustix::io::write(&fd, b"0")
        .context("wait for start", String::new)
        .map(drop)
}

fn keep_descriptors(count: u32) -> Result<()> {
    for number in 3..3 + i32::try_from(count).unwrap_or(0) {
        let fd = sys::borrow_fd(number);
        match rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()) {
            Ok(()) => {}
            Err(e) => return Err(e).context("pass descriptor", || number.to_string()),
        }
    }
    Ok(())
}
