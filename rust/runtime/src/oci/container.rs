//! Making a container out of a bundle, and undoing it.
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use minidock_core::cgroup::resources::{Missing, Options};
use minidock_core::cgroup::{Cgroup, Hierarchies};
use minidock_core::process::hooks::{self, When};
use minidock_core::process::{self, CgroupEntry, Failure, Hold, LaunchRequest, Launched};
use minidock_core::rootfs::Rootfs;
use minidock_core::{Error, Kind, Result, sys};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::Global;
use super::bundle::{self, Bundle};
use super::console;
use super::process::Process;
use super::state::{Container, Folder, Record, Status};
use crate::clock;

/// How long the last processes of a container may take to be gone.
const END: Duration = Duration::from_secs(10);

/// How a container is made.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// PID 1 waits for `start`.
    pub hold: bool,
    /// Nobody waits for PID 1 here.
    pub detached: bool,
    /// Where PID 1's number is written.
    pub pid_file: Option<&'a Path>,
    /// Where the terminal's master side is sent.
    pub console_socket: Option<&'a Path>,
    /// Descriptors from 3 upwards that PID 1 inherits.
    pub preserve_fds: u32,
}

/// A container just made, and what its maker holds of it.
pub struct Made {
    /// Its record and directory.
    pub container: Container,
    /// PID 1, a child of this process.
    pub pidfd: OwnedFd,
    /// The terminal's master side, unless it was sent away.
    pub console: Option<OwnedFd>,
}

/// Checks that the descriptors which PID 1 inherits are the caller's, all of them: were one closed, a descriptor that is
/// opened later would get its number, and the container would get that. Call it before anything is opened.
pub fn check_preserved(count: u32) -> Result<()> {
    for number in 3..3_i64 + i64::from(count) {
        let open = i32::try_from(number)
            .is_ok_and(|number| rustix::io::fcntl_getfd(sys::borrow_fd(number)).is_ok());
        if !open {
            let why = format!("--preserve-fds {count} includes it, but it is not open");
            return Err(Error::new(
                Kind::Invalid,
                "pass descriptor",
                number.to_string(),
                why,
            ));
        }
    }
    Ok(())
}

/// Makes the container `id` of a bundle. Nothing is left behind on failure.
pub fn make(
    global: &Global,
    id: &str,
    bundle: &Bundle,
    request: &Request<'_>,
) -> std::result::Result<Made, Failure> {
    console::check(
        bundle.spec.process().as_ref(),
        request.console_socket,
        request.detached,
    )?;
    let folder = Folder::create(&global.root, id)?;
    let made = fill(global, id, bundle, request, &folder);
    if made.is_err() {
        let _ = folder.remove();
    }
    made
}

fn fill(
    global: &Global,
    id: &str,
    bundle: &Bundle,
    request: &Request<'_>,
    folder: &Folder,
) -> std::result::Result<Made, Failure> {
    folder.save_config(&bundle.text)?;
    let seccomp = bundle::seccomp(&bundle.spec)?;
    let hierarchies = Hierarchies::detect()?;
    let mut group = Cgroup::new(&hierarchies, &bundle::cgroup_path(&bundle.spec, id))?;
    group.create()?;
    let launched = limit(global, bundle, &group)
        .map_err(Failure::from)
        .and_then(|()| {
            let mut launch = LaunchRequest::new(
                id,
                &bundle.spec,
                bundle.path.clone(),
                Rootfs::Directory(bundle.rootfs.clone()),
            );
            let (tasks, unified) = (group.join_files()?, group.v2_dir()?);
            launch.cgroup = CgroupEntry {
                unified: unified.as_ref().map(AsFd::as_fd),
                tasks: &tasks,
            };
            launch.seccomp = seccomp;
            launch.hold = request.hold.then(|| Hold::Fifo(folder.fifo()));
            launch.die_with_parent = false;
            launch.preserve_fds = request.preserve_fds;
            process::launch(launch)
        });
    let done = launched
        .and_then(|launched| publish(global, id, bundle, request, folder, &group, launched));
    if done.is_err() {
        let _ = group.kill_all(libc::SIGKILL, END);
        let _ = group.remove(END);
    }
    done
}

/// Limits that the host cannot enforce are errors, as the specification wants it.
fn limit(global: &Global, bundle: &Bundle, group: &Cgroup) -> Result<()> {
    let Some(resources) = bundle.linux().and_then(|l| l.resources().as_ref()) else {
        return Ok(());
    };
    let mut resources = resources.clone();
    if let Some(rules) = resources
        .devices()
        .clone()
        .filter(|rules| !rules.is_empty())
    {
        resources.set_devices(Some(rules.into_iter().chain(default_devices()).collect()));
    }
    let options = Options {
        missing: Missing::Refuse,
        ..Options::START
    };
    for warning in group.apply_with(&resources, options)? {
        global.warn(&warning.to_string());
    }
    Ok(())
}

/// Access to the devices that every container has by the specification, whatever the document's own rules deny: any
/// node may be made; null, zero, full, random, urandom, tty, console, ptmx and the terminals may be used.
fn default_devices() -> impl Iterator<Item = LinuxDeviceCgroup> {
    use LinuxDeviceType::{B, C};
    let make = [(C, None, None), (B, None, None)].map(|kind| (kind, "m"));
    let numbers = [
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 1),
        (5, 2),
    ];
    let usable = numbers.map(|(major, minor)| ((C, Some(major), Some(minor)), "rwm"));
    let terminals = [((C, Some(136), None), "rwm")];
    make.into_iter()
        .chain(usable)
        .chain(terminals)
        .map(|((kind, major, minor), access)| {
            let mut rule = LinuxDeviceCgroup::default();
            rule.set_allow(true)
                .set_typ(Some(kind))
                .set_major(major)
                .set_minor(minor)
                .set_access(Some(access.to_owned()));
            rule
        })
}

/// Records the launched container, and hands out its terminal and number.
fn publish(
    global: &Global,
    id: &str,
    bundle: &Bundle,
    request: &Request<'_>,
    folder: &Folder,
    group: &Cgroup,
    launched: Launched,
) -> std::result::Result<Made, Failure> {
    launched
        .warnings
        .iter()
        .for_each(|warning| global.warn(warning));
    let record = Record {
        oci_version: bundle.spec.version().clone(),
        id: id.to_owned(),
        init: Process::new(launched.pid)?,
        bundle: bundle.path.clone(),
        rootfs: bundle.rootfs.clone(),
        created: clock::now(),
        annotations: bundle.spec.annotations().clone().unwrap_or_default(),
        cgroup: group.path().as_str().to_owned(),
        own_pid_namespace: bundle.has_own_pid_namespace(),
    };
    let mut console = launched.console;
    if let (Some(socket), Some(master)) = (
        request.console_socket,
        console.take_if(|_| request.console_socket.is_some()),
    ) {
        console::send(socket, &master)?;
    }
    folder.save(&record)?;
    if let Some(path) = request.pid_file {
        write_pid(path, launched.pid)?;
    }
    Ok(Made {
        container: Container {
            folder: folder.clone(),
            record,
        },
        pidfd: launched.pidfd,
        console,
    })
}

/// Writes a process's number to a file, by rename: a reader sees all of it or nothing.
pub fn write_pid(path: &Path, pid: i32) -> Result<()> {
    use minidock_core::Context;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}"));
    let written = std::fs::write(&new, pid.to_string()).and_then(|()| std::fs::rename(&new, path));
    written.context("write pid file", || path.display().to_string())
}

/// Runs the `poststart` hooks. The container is killed when one fails.
pub fn after_start(container: &Container, status: Status) -> Result<()> {
    let spec = container.folder.config()?;
    let done = hooks::run(
        &hooks::of(&spec, When::Poststart),
        &container.hook_state(status),
    );
    if done.is_err() {
        let _ = container.record.init.kill(END);
    }
    done
}

/// Removes all that is left of a container whose PID 1 has ended, and runs its `poststop` hooks.
///
/// As the specification wants it, hooks that fail are reported and stop nothing.
pub fn remove(global: &Global, container: &Container) -> Result<()> {
    if let Some(mut group) = container.cgroup() {
        // Without a PID namespace of its own, processes may have outlived PID 1.
        group.kill_all(libc::SIGKILL, END)?;
        group.remove(END)?;
    }
    let hooks = container
        .folder
        .config()
        .map(|spec| hooks::of(&spec, When::Poststop));
    container.folder.remove()?;
    let state = container.hook_state(Status::Stopped);
    match hooks {
        Ok(hooks) => {
            for hook in hooks {
                if let Err(error) = hooks::run(&[hook], &state) {
                    global.warn(&format!("poststop hook: {error}"));
                }
            }
        }
        Err(error) => global.warn(&format!("poststop hooks: {error}")),
    }
    Ok(())
}
