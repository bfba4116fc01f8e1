//! exec: one more process in a running container.
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use minidock_core::process::{self as launch, CgroupEntry, ExecRequest, Stdio};
use minidock_core::{Context, Error, Kind, Result};
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};

use super::container::{check_preserved, write_pid};
use super::foreground::{self, Signals};
use super::options::{Given, Verb, flag, invalid, value};
use super::state::{Container, Status};
use super::{Global, Outcome, bundle, console};

/// The verb of this file.
pub const VERBS: &[Verb] = &[Verb {
    name: "exec",
    operands: "ID [COMMAND [ARGUMENT...]]",
    help: "run one more process in a running container",
    options: &[
        value(
            "process",
            Some('p'),
            "FILE",
            "the process as a JSON document, instead of the options below",
        ),
        value(
            "console-socket",
            None,
            "PATH",
            "send the terminal's master side to this unix socket",
        ),
        value(
            "pid-file",
            None,
            "FILE",
            "write the process's number to FILE",
        ),
        value(
            "preserve-fds",
            None,
            "N",
            "pass N descriptors from 3 upwards [0]",
        ),
        flag("detach", Some('d'), "do not wait for its end"),
        flag("tty", Some('t'), "give it a terminal"),
        value("cwd", None, "DIR", "its working directory"),
        value(
            "env",
            Some('e'),
            "NAME=VALUE",
            "add an environment variable; may be repeated",
        ),
        value("user", Some('u'), "UID[:GID]", "its user and group"),
        value(
            "additional-gids",
            Some('g'),
            "GID",
            "add a group; may be repeated",
        ),
        value(
            "cap",
            Some('c'),
            "NAME",
            "add a capability; may be repeated",
        ),
        value("apparmor", None, "PROFILE", "its AppArmor profile"),
        value("process-label", None, "LABEL", "its SELinux label"),
        flag("no-new-privs", None, "set no_new_privs"),
        flag(
            "ignore-paused",
            None,
            "in a paused container, too: it waits there until that is resumed",
        ),
    ],
    command: true,
    run: exec,
}];

fn exec(global: &Global, given: &Given) -> Outcome {
    let Some((first, command)) = given.operands.split_first() else {
        return Err(invalid("", "the container's id is missing").into());
    };
    let id = super::state::check_id(first)?;
    let preserve_fds = given.parsed("preserve-fds", "a number")?.unwrap_or(0);
    check_preserved(preserve_fds)?;
    let container = Container::open(&global.root, id)?;
    match container.status() {
        Status::Running | Status::Created => {}
        Status::Paused if given.has("ignore-paused") => {}
        status => return Err(container.refuse("exec in container", status).into()),
    }
    let spec = container.folder.config()?;
    let process = process(given, command, &spec)?;
    let detached = given.has("detach");
    console::check(Some(&process), given.path("console-socket"), detached)?;
    let group = container.cgroup();
    let tasks = group
        .as_ref()
        .map(|g| g.join_files())
        .transpose()?
        .unwrap_or_default();
    let unified = group.as_ref().map(|g| g.v2_dir()).transpose()?.flatten();
    let signals = if detached {
        None
    } else {
        Some(Signals::catch()?)
    };
    // Verified again after everything was opened by number: another process cannot have taken PID 1's place since.
    let held = container.record.init.open()?;
    if held.is_none() {
        return Err(container
            .refuse("exec in container", Status::Stopped)
            .into());
    }
    let started = launch::exec(ExecRequest {
        id,
        init_pid: container.record.init.pid,
        init: held.as_ref().map(AsFd::as_fd),
        process: &process,
        spec: &spec,
        user: None,
        cgroup: CgroupEntry {
            unified: unified.as_ref().map(AsFd::as_fd),
            tasks: &tasks,
        },
        seccomp: bundle::seccomp(&spec)?,
        stdio: Stdio::Inherit,
        preserve_fds,
        die_with_parent: false,
        wait: None,
    })?;
    started
        .warnings
        .iter()
        .for_each(|warning| global.warn(warning));
    let told = tell(given, &started);
    if let Err(error) = told {
        let _ = minidock_core::sys::pidfd_signal(started.pidfd.as_fd(), libc::SIGKILL);
        return Err(error.into());
    }
    match signals {
        Some(signals) => Ok(foreground::wait(
            &signals,
            started.pidfd.as_fd(),
            started.console.as_ref(),
        )?),
        None => Ok(0),
    }
}

fn tell(given: &Given, started: &launch::Launched) -> Result<()> {
    if let (Some(socket), Some(master)) = (given.path("console-socket"), &started.console) {
        console::send(socket, master)?;
    }
    given
        .path("pid-file")
        .map_or(Ok(()), |path| write_pid(path, started.pid))
}

/// The process to run: a document, or the container's own process with what the options change.
fn process(given: &Given, command: &[std::ffi::OsString], spec: &Spec) -> Result<Process> {
    if let Some(path) = given.path("process") {
        if !command.is_empty() {
            return Err(invalid("--process", "it excludes a command"));
        }
        return read_process(path, given.has("tty"));
    }
    if command.is_empty() {
        return Err(invalid("", "the command is missing"));
    }
    let args = command.iter().map(|arg| {
        arg.to_str()
            .map(str::to_owned)
            .ok_or_else(|| invalid(arg.to_string_lossy(), "not UTF-8"))
    });
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(args.collect::<Result<_>>()?));
    process.set_terminal(Some(given.has("tty")));
    process.set_console_size(None);
    if let Some(cwd) = given.path("cwd") {
        process.set_cwd(cwd.to_owned());
    }
    let added = given.texts("env")?;
    if let Some(bad) = added
        .iter()
        .find(|text| text.find('=').is_none_or(|at| at == 0))
    {
        return Err(invalid(format!("--env {bad}"), "write NAME=VALUE"));
    }
    let mut env = process.env().clone().unwrap_or_default();
    // The last of several counts, so that nothing has to be taken out for most programs; but some read the first.
    let name = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
    env.retain(|old| !added.iter().any(|new| name(new) == name(old)));
    env.extend(added);
    process.set_env(Some(env));
    set_user(&mut process, given)?;
    add_capabilities(&mut process, &given.texts("cap")?)?;
    if let Some(profile) = given.text("apparmor")? {
        process.set_apparmor_profile(Some(profile));
    }
    if let Some(label) = given.text("process-label")? {
        process.set_selinux_label(Some(label));
    }
    if given.has("no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    Ok(process)
}

fn read_process(path: &Path, terminal: bool) -> Result<Process> {
    let shown = || path.display().to_string();
    let text = std::fs::read(path).context("read", shown)?;
    let process: serde_json::Result<Process> = serde_json::from_slice(&text);
    let mut process =
        process.map_err(|e| Error::new(Kind::Invalid, "read", shown(), e.to_string()))?;
    if terminal {
        process.set_terminal(Some(true));
    }
    if process.cwd() == &PathBuf::new() {
        process.set_cwd("/".into());
    }
    Ok(process)
}

fn set_user(process: &mut Process, given: &Given) -> Result<()> {
    let number = |text: &str| {
        let parsed = text
            .parse::<u32>()
            .ok()
            .filter(|n| *n <= i32::MAX.unsigned_abs());
        parsed.ok_or_else(|| {
            invalid(
                format!("user or group {text:?}"),
                "not a number from 0 to 2147483647",
            )
        })
    };
    let mut user = process.user().clone();
    if let Some(text) = given.text("user")? {
        let (uid, gid) = text
            .split_once(':')
            .map_or((text.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        user.set_uid(number(uid)?);
        if let Some(gid) = gid {
            user.set_gid(number(gid)?);
        }
    }
    let more = given.texts("additional-gids")?;
    if !more.is_empty() {
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        for text in more {
            groups.push(number(&text)?);
        }
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
    Ok(())
}

/// Adds to the bounding, effective and permitted sets; a process of another user than root gets no ambient ones from this.
fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut all = process.capabilities().clone().unwrap_or_default();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let capability: Capability = short
            .parse()
            .map_err(|_| invalid(format!("--cap {name}"), "not a capability"))?;
        let with = |set: &Option<std::collections::HashSet<Capability>>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let changed: LinuxCapabilities = {
            let mut next = all.clone();
            next.set_bounding(with(all.bounding()));
            next.set_effective(with(all.effective()));
            next.set_permitted(with(all.permitted()));
            next
        };
        all = changed;
    }
    process.set_capabilities(Some(all));
    Ok(())
}
