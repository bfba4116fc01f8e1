//! Another OCI runtime makes the container, and the supervisor is the parent of its PID 1 all the same.
//!
//! The root filesystem is mounted in a mount namespace of the supervisor's own, where the runtime runs: the host does
//! not see the mount, and it goes with the supervisor. The supervisor is the reaper of what the runtime leaves, so PID 1
//! becomes its child when `create` has ended.

mod call;
mod config;
mod console;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use minidock_core::cgroup::{Cgroup, Hierarchies};
use minidock_core::error::{Context, Error, Kind, Result};
use minidock_core::process::{Failure, Launched, Stdio, UserNames};
use minidock_core::rootfs::{self, BindSource, Rootfs};
use minidock_core::security::apparmor;
use minidock_core::{mount, sys};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal,
    set_child_subreaper, waitid,
};

use call::{Call, Ended};
use console::Console;

use super::document::{Document, StdioMode};
use super::network::Network;
use super::record::Start;
use super::start::{Started, Traces};
use super::streams::Streams;
use config::Config;

/// Starts the container by the document's runtime, as [`super::start`] does with ours.
pub(super) fn start(
    bundle: &Path,
    document: &mut Document,
    text: &[u8],
    traces: &mut Traces,
    network: Option<&mut Network>,
) -> std::result::Result<Started, Failure> {
    let Some(given) = document.runtime.take() else {
        return Err(Error::new(Kind::Invalid, "start container", "", "no runtime").into());
    };
    let mut config = Config::parse(text)?;
    apparmor::reload(config.apparmor_profile())?;
    let runtime = Runtime {
        program: given.path,
        arguments: given.args,
        id: document.id.clone(),
        folder: document.run_dir.clone(),
    };
    let (rootfs, user) = (document.take_rootfs(), document.take_user());
    let sources = document.take_sources();
    runtime.prepare(bundle, &mut config, &rootfs, &sources, user.as_ref())?;
    // What the runtime itself says must not get into the container's streams.
    document.stdio = StdioMode::Relay;
    let (stdio, ends) = Streams::make(document, config.terminal(), config.mount_label())?.split();
    let hierarchies = Hierarchies::detect()?;
    let begun = Start::now();
    let runtime = traces.runtime.insert(runtime);
    let launched = {
        let outputs: Vec<&OwnedFd> = ends.outputs.iter().collect();
        runtime.launch(bundle, &config, stdio, &outputs, network)
    };
    // The runtime has made it; it is looked at and removed by us.
    traces.cgroup = config
        .cgroup()
        .and_then(|path| Cgroup::open(&hierarchies, path).ok());
    Ok(Started {
        launched: launched?,
        ends,
        begun,
        warnings: Vec::new(),
    })
}

/// Puts a mount without a place on a directory, or a file, of the bundle.
fn show(mount: &OwnedFd, place: &Path) -> Result<()> {
    let shown = || place.display().to_string();
    // That of the run before.
    let _ = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
    let stat = fstat(mount).context("look at", shown)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
    let made = if is_directory {
        std::fs::create_dir(place)
    } else {
        std::fs::File::create_new(place).map(drop)
    };
    match made {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(e).context("make", shown);
        }
        _ => {}
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = openat(CWD, place, flags, Mode::empty()).context("open", shown)?;
    mount::attach(mount.as_fd(), target.as_fd()).context("mount", shown)
}

/// The runtime, and what it needs to know of one container.
#[derive(Debug)]
pub struct Runtime {
    program: PathBuf,
    arguments: Vec<String>,
    id: String,
    folder: PathBuf,
}

impl Runtime {
    /// Mounts the root filesystem at `BUNDLE/rootfs`, and what binds show that is no path of the host beside it, for this
    /// process and the runtime only, and completes `config.json` with the numbers of the user.
    pub fn prepare(
        &self,
        bundle: &Path,
        config: &mut Config,
        rootfs: &Rootfs,
        sources: &[BindSource],
        user: Option<&UserNames>,
    ) -> Result<()> {
        let tree = rootfs::detached(rootfs, config.mount_label())?;
        let opened: Vec<OwnedFd> = sources
            .iter()
            .map(|source| source.detached(config.mount_label()))
            .collect::<Result<_>>()?;
        sys::unshare(libc::CLONE_NEWNS).context("make mount namespace", String::new)?;
        // What the host unmounts goes here too, so that the supervisor does not hold it; nothing goes the other way.
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", slave).context("cut off mounts from the host's", || "/")?;
        show(&tree, &bundle.join("rootfs"))?;
        for (i, (source, fd)) in sources.iter().zip(&opened).enumerate() {
            let place = bundle.join(format!("source-{i}"));
            show(fd, &place)?;
            config.set_source(&source.destination, &place)?;
        }
        if let Some(user) = user {
            config.set_user(&tree, user)?;
        }
        config.write(bundle)?;
        let made = std::fs::create_dir_all(&self.folder);
        made.context("make", || self.folder.display().to_string())
    }

    /// Has the runtime create the container and start it.
    ///
    /// `stdio` are the container's descriptors, and `outputs` the other ends of the last two, whose content before the
    /// start is the runtime's; `Inherit` stands for a terminal. PID 1 is a child of this process afterwards.
    ///
    /// Fails with 127 or 126 where the runtime says that the command is missing or cannot be executed, else with 125.
    pub fn launch(
        &self,
        bundle: &Path,
        config: &Config,
        stdio: Stdio,
        outputs: &[&OwnedFd],
        network: Option<&mut Network>,
    ) -> std::result::Result<Launched, Failure> {
        let console = match stdio {
            Stdio::Fds(_) => None,
            Stdio::Inherit => Some(Console::listen(&self.folder)?),
        };
        let pid_file = self.folder.join("runtime.pid");
        let mut words: Vec<OsString> = vec!["create".into(), "--bundle".into(), bundle.into()];
        words.extend(["--pid-file".into(), pid_file.clone().into()]);
        if let Some(console) = &console {
            words.extend(["--console-socket".into(), console.path().into()]);
        }
        // Only while the runtime runs: orphans of a container in the host's pid namespace are not ours to reap.
        set_child_subreaper(Some(getpid())).context("become reaper", String::new)?;
        let created = match &stdio {
            Stdio::Fds(fds) => self.call(&words, fds.each_ref(), outputs),
            Stdio::Inherit => self.call_alone(&words),
        };
        set_child_subreaper(None).context("end being reaper", String::new)?;
        drop(stdio);
        self.check(&created?, "create container", config)?;
        let launched = self.adopt(&pid_file)?;
        let start = || {
            if let Some(network) = network {
                network.set_up(launched.pid)?;
            }
            let console = console.map(Console::receive).transpose()?;
            self.check(
                &self.call_alone(&["start".into()])?,
                "start container",
                config,
            )?;
            Ok(console)
        };
        match start() {
            Ok(console) => Ok(Launched {
                console,
                ..launched
            }),
            Err(failure) => {
                let _ = pidfd_send_signal(&launched.pidfd, Signal::KILL);
                let ended = WaitId::PidFd(launched.pidfd.as_fd());
                let _ = waitid(ended, WaitIdOptions::EXITED);
                Err(failure)
            }
        }
    }

    /// The process that the runtime has made; it must be our child, or its end could not be seen.
    fn adopt(&self, pid_file: &Path) -> Result<Launched> {
        let text = std::fs::read_to_string(pid_file)
            .context("read pid file of runtime", || self.program())?;
        let broken = |why: &str| Error::new(Kind::Corrupt, "run runtime", self.program(), why);
        let number = text.trim().parse().ok().filter(|n| *n > 1);
        let pid = number
            .and_then(Pid::from_raw)
            .ok_or_else(|| broken("its pid file holds no process id"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|_| broken("its pid file names no process"))?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(pidfd.as_fd()), look)
            .map_err(|_| broken("its pid file names a process that it has not left to us"))?;
        Ok(Launched {
            pid: pid.as_raw_nonzero().get(),
            pidfd,
            console: None,
            warnings: Vec::new(),
        })
    }

    /// Removes what the runtime knows of the container; a failure is no news, as the run directory and the cgroup go anyway.
    pub fn delete(&self) {
        let _ = self.call_alone(&["delete".into(), "--force".into()]);
        // Whatever it has left to us: a zombie would keep its cgroup.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        while let Ok(Some(_)) = waitid(WaitId::All, look) {}
    }

    fn program(&self) -> String {
        self.program.display().to_string()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("runtime.log")
    }

    /// Calls the runtime with its output captured.
    fn call_alone(&self, words: &[OsString]) -> Result<Ended> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let null =
            openat(CWD, "/dev/null", flags, Mode::empty()).context("open", || "/dev/null")?;
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .context("make pipe", String::new)?;
        self.call(words, [&null, &write, &write], &[&read])
    }

    /// Calls `RUNTIME [ARGUMENTS] --root … --log … WORDS ID` and waits for its end.
    fn call(&self, words: &[OsString], stdio: [&OwnedFd; 3], read: &[&OwnedFd]) -> Result<Ended> {
        let _ = std::fs::remove_file(self.log());
        let mut argv: Vec<OsString> = vec![self.program.clone().into()];
        argv.extend(self.arguments.iter().map(OsString::from));
        argv.extend(["--root".into(), self.folder.join("runtime").into()]);
        argv.extend(["--log".into(), self.log().into()]);
        argv.extend(["--log-format".into(), "json".into()]);
        argv.extend_from_slice(words);
        argv.push(self.id.clone().into());
        Call::new(&self.program, &argv)?.run(stdio, read)
    }

    /// The failure of a call, in the runtime's words.
    fn check(
        &self,
        ended: &Ended,
        op: &'static str,
        config: &Config,
    ) -> std::result::Result<(), Failure> {
        let Some(status) = &ended.failed else {
            return Ok(());
        };
        let said = call::last_error(
            &std::fs::read(self.log()).unwrap_or_default(),
            &ended.output,
        );
        let exit_code = said.as_deref().map_or(125, |s| config.exit_code(s));
        let why = said.unwrap_or_else(|| "it says nothing".to_owned());
        Err(Failure {
            error: Error::new(
                Kind::System(libc::ECHILD),
                op,
                format!("with runtime {}", self.program()),
                format!("it {status}: {why}"),
            ),
            exit_code,
        })
    }
}
