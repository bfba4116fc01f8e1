//! create, start, run, kill, delete, pause and resume.
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use minidock_core::process as launch;
use minidock_core::{Error, Kind, Result};

use super::bundle::{Bundle, cgroup_path};
use super::container::{self, Request};
use super::foreground::{self, Signals};
use super::options::{Given, Opt, Verb, flag, value};
use super::process::signal_number;
use super::state::{Container, Folder, Status, check_id};
use super::{Global, Outcome, options};

/// How long a killed container may take to be gone.
const END: Duration = Duration::from_secs(10);

const BUNDLE: Opt = value(
    "bundle",
    Some('b'),
    "DIR",
    "the bundle [the current directory]",
);
const CONSOLE: Opt = value(
    "console-socket",
    None,
    "PATH",
    "send the terminal's master side to this unix socket",
);
const PID_FILE: Opt = value(
    "pid-file",
    None,
    "FILE",
    "write the number of PID 1 to FILE",
);
const PRESERVE: Opt = value(
    "preserve-fds",
    None,
    "N",
    "pass N descriptors from 3 upwards [0]",
);
const NO_PIVOT: Opt = flag(
    "no-pivot",
    None,
    "not supported: the root is always pivoted",
);
const NO_KEYRING: Opt = flag(
    "no-new-keyring",
    None,
    "not supported: there is always a new session keyring",
);

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        operands: "ID",
        help: "make a container of a bundle; its process waits for start",
        options: &[BUNDLE, CONSOLE, PID_FILE, PRESERVE, NO_PIVOT, NO_KEYRING],
        command: false,
        run: create,
    },
    Verb {
        name: "start",
        operands: "ID",
        help: "let a created container's process go",
        options: &[],
        command: false,
        run: start,
    },
    Verb {
        name: "run",
        operands: "ID",
        help: "create, start, wait for the end, and delete",
        options: &[
            BUNDLE,
            CONSOLE,
            PID_FILE,
            PRESERVE,
            NO_PIVOT,
            NO_KEYRING,
            flag("detach", Some('d'), "create and start only"),
            flag("keep", None, "do not delete the container at its end"),
            flag(
                "no-subreaper",
                None,
                "never set here; accepted for runc's callers",
            ),
        ],
        command: false,
        run,
    },
    Verb {
        name: "kill",
        operands: "ID [SIGNAL]",
        help: "send a signal to a container's process [TERM]",
        options: &[
            flag("all", Some('a'), "to all processes of the container"),
            value(
                "signal",
                Some('s'),
                "SIGNAL",
                "the signal, instead of the second argument",
            ),
        ],
        command: false,
        run: kill,
    },
    Verb {
        name: "delete",
        operands: "ID",
        help: "remove a stopped container",
        options: &[flag(
            "force",
            Some('f'),
            "kill it first; no error if there is none",
        )],
        command: false,
        run: delete,
    },
    Verb {
        name: "pause",
        operands: "ID",
        help: "freeze all processes of a container",
        options: &[],
        command: false,
        run: pause,
    },
    Verb {
        name: "resume",
        operands: "ID",
        help: "thaw them",
        options: &[],
        command: false,
        run: resume,
    },
];

/// What create and run have in common.
fn request(given: &Given) -> Result<Request<'_>> {
    let refuse =
        |option: &str, why: &str| Err(Error::new(Kind::Unsupported, "use option", option, why));
    if given.has("no-pivot") {
        return refuse(
            "--no-pivot",
            "without pivot_root the host's files stay reachable; use a root file system that can be pivoted (no initramfs)",
        );
    }
    if given.has("no-new-keyring") {
        return refuse(
            "--no-new-keyring",
            "a container never shares its caller's keyring",
        );
    }
    let preserve_fds = given.parsed("preserve-fds", "a number")?.unwrap_or(0);
    container::check_preserved(preserve_fds)?;
    Ok(Request {
        pid_file: given.path("pid-file"),
        console_socket: given.path("console-socket"),
        preserve_fds,
        ..Request::default()
    })
}

fn bundle(given: &Given) -> Result<Bundle> {
    Bundle::open(given.path("bundle").unwrap_or(Path::new(".")))
}

fn create(global: &Global, given: &Given) -> Outcome {
    let (id, _) = given.id(0)?;
    let request = Request {
        hold: true,
        detached: true,
        ..request(given)?
    };
    container::make(global, id, &bundle(given)?, &request)?;
    Ok(0)
}

fn start(global: &Global, given: &Given) -> Outcome {
    let (id, _) = given.id(0)?;
    let container = Container::open(&global.root, id)?;
    let status = container.status();
    if status != Status::Created {
        return Err(container.refuse("start container", status).into());
    }
    let ended = || container.refuse("start container", Status::Stopped);
    let pidfd = container.record.init.open()?.ok_or_else(ended)?;
    launch::release(&container.folder.fifo(), pidfd.as_fd())?;
    container::after_start(&container, Status::Running)?;
    Ok(0)
}

fn run(global: &Global, given: &Given) -> Outcome {
    let (id, _) = given.id(0)?;
    let detached = given.has("detach");
    if detached && given.has("keep") {
        return Err(options::invalid("--keep", "a detached container is always kept").into());
    }
    let request = Request {
        detached,
        ..request(given)?
    };
    let mut bundle = bundle(given)?;
    if request.console_socket.is_none() {
        crate::terminal::fit(&mut bundle.spec, rustix::stdio::stdin());
    }
    if detached {
        let made = container::make(global, id, &bundle, &request)?;
        container::after_start(&made.container, Status::Running)?;
        return Ok(0);
    }
    let signals = Signals::catch()?;
    let made = container::make(global, id, &bundle, &request)?;
    let hooks = container::after_start(&made.container, Status::Running);
    let ended = foreground::wait(&signals, made.pidfd.as_fd(), made.console.as_ref());
    if !given.has("keep") {
        container::remove(global, &made.container)?;
    }
    hooks?;
    Ok(ended?)
}

fn kill(global: &Global, given: &Given) -> Outcome {
    let (id, more) = given.id(1)?;
    let signal = match (given.text("signal")?, more.first()) {
        (Some(_), Some(_)) => {
            return Err(options::invalid("--signal", "the signal is given twice").into());
        }
        (Some(text), None) => signal_number(&text)?,
        (None, Some(text)) => signal_number(&text.to_string_lossy())?,
        (None, None) => libc::SIGTERM,
    };
    let container = Container::open(&global.root, id)?;
    let everyone = given.has("all");
    let status = container.status();
    if everyone {
        // Processes may have outlived PID 1.
        if let Some(group) = container.cgroup() {
            group.kill_all(signal, END)?;
        }
        return Ok(0);
    }
    if status == Status::Stopped {
        return Err(container.refuse("kill container", status).into());
    }
    if signal == libc::SIGKILL && (!container.record.own_pid_namespace || status == Status::Paused)
    {
        // No end of PID 1 takes the others with it; and a frozen process of version 1 does not die before it thaws.
        if let Some(group) = container.cgroup() {
            group.kill_all(signal, END)?;
        }
    }
    container.record.init.signal(signal)?;
    Ok(0)
}

fn delete(global: &Global, given: &Given) -> Outcome {
    let (id, _) = given.id(0)?;
    let force = given.has("force");
    let container = match Container::open(&global.root, id) {
        Ok(container) => container,
        Err(error) if force && error.kind == Kind::NotFound => return Ok(0),
        // Its creation was interrupted, before anything else was recorded.
        Err(error) if force && error.kind == Kind::Busy => {
            remove_half_made(global, id)?;
            return Ok(0);
        }
        Err(error) => return Err(error.into()),
    };
    let status = container.status();
    if status != Status::Stopped {
        if !force {
            return Err(container.refuse("delete container", status).into());
        }
        if let Some(group) = container.cgroup() {
            group.kill_all(libc::SIGKILL, END)?;
        }
        container.record.init.kill(END)?;
    }
    container::remove(global, &container)?;
    Ok(0)
}

/// A directory without a record: its maker was killed, or is still at work.
fn remove_half_made(global: &Global, id: &str) -> Result<()> {
    use minidock_core::cgroup::{Cgroup, Hierarchies};
    let folder = Folder::open(&global.root, check_id(OsStr::new(id))?)?;
    if let Ok(spec) = folder.config()
        && let Ok(mut group) = Cgroup::open(&Hierarchies::detect()?, &cgroup_path(&spec, id))
    {
        group.kill_all(libc::SIGKILL, END)?;
        group.remove(END)?;
    }
    folder.remove()
}

fn pause(global: &Global, given: &Given) -> Outcome {
    let (id, _) = given.id(0)?;
    let container = Container::open(&global.root, id)?;
    match container.status() {
        Status::Running | Status::Created => {}
        status => return Err(container.refuse("pause container", status).into()),
    }
    let group = group_of(&container, "pause container")?;
    group.freeze(END)?;
    Ok(0)
}

fn resume(global: &Global, given: &Given) -> Outcome {
    let (id, _) = given.id(0)?;
    let container = Container::open(&global.root, id)?;
    let status = container.status();
    if status != Status::Paused {
        return Err(container.refuse("resume container", status).into());
    }
    group_of(&container, "resume container")?.thaw()?;
    Ok(0)
}

/// A container's group, which must exist.
pub fn group_of(container: &Container, op: &'static str) -> Result<minidock_core::cgroup::Cgroup> {
    let missing = || {
        Error::new(
            Kind::NotFound,
            op,
            container.record.id.clone(),
            "it has no cgroup",
        )
    };
    container.cgroup().ok_or_else(missing)
}
