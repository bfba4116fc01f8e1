//! Each kind of namespace, made for real.
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rustix::process::getuid;

use super::{Context, Report, Step, fail, scratch, wait, warn};

/// CLONE_NEWTIME, which nix lacks.
const NEWTIME: i32 = 0x80;

const KINDS: &[(&str, i32)] = &[
    ("mount", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("uts", libc::CLONE_NEWUTS),
    ("ipc", libc::CLONE_NEWIPC),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("user", libc::CLONE_NEWUSER),
    ("time", NEWTIME),
];

pub(super) fn check(context: &Context, report: &mut Report) {
    for &(name, _) in KINDS {
        let outcome = make(context, name).map(|()| "can be made".to_owned());
        let blame = match name {
            "user" => warn(
                "--userns=remap is not possible",
                "kernel option CONFIG_USER_NS, sysctl user.max_user_namespaces > 0",
            ),
            "time" => warn(
                "--time (time offsets of the runtime-spec) is not possible",
                "kernel option CONFIG_TIME_NS",
            ),
            "cgroup" => fail(
                "containers see the host's cgroup paths",
                "kernel option CONFIG_CGROUPS, sysctl user.max_cgroup_namespaces > 0",
            ),
            "net" => fail(
                "containers cannot have a network of their own",
                "kernel option CONFIG_NET_NS, sysctl user.max_net_namespaces > 0",
            ),
            "pid" => fail(
                "containers cannot have processes of their own",
                "kernel option CONFIG_PID_NS, sysctl user.max_pid_namespaces > 0",
            ),
            "ipc" => fail(
                "containers cannot have shared memory of their own",
                "kernel option CONFIG_IPC_NS, sysctl user.max_ipc_namespaces > 0",
            ),
            "uts" => fail(
                "containers cannot have a host name of their own",
                "kernel option CONFIG_UTS_NS, sysctl user.max_uts_namespaces > 0",
            ),
            _ => fail(
                "containers cannot have mounts of their own",
                "run as root; in a container, start that with --privileged",
            ),
        };
        report.tried(name, outcome, &blame);
    }
    let outcome = mapped(context).map(|_| "ids can be mapped".to_owned());
    let blame = warn(
        "--userns=remap is not possible",
        "kernel option CONFIG_USER_NS; CAP_SETUID and CAP_SETGID are needed to write the maps",
    );
    report.tried("user id maps", outcome, &blame);
}

/// Makes a namespace of one kind in a process of its own, and starts a process in it.
fn make(context: &Context, name: &str) -> Result<(), String> {
    let mut child = Helper::start(context, name)?;
    child.said("made")
}

/// A process in a new user namespace with maps, and a descriptor of that namespace.
pub(super) fn mapped(context: &Context) -> Result<OwnedFd, String> {
    let mut child = Helper::start(context, "user")?;
    child.said("made")?;
    let pid = child.child.id();
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, "0 100000 65536\n").step(&format!("write {file}"))?;
    }
    fs::File::open(format!("/proc/{pid}/ns/user"))
        .step("open namespace")
        .map(OwnedFd::from)
}

/// A scratch process that makes a namespace and waits until it is dropped.
struct Helper {
    child: Child,
}

impl Helper {
    fn start(context: &Context, name: &str) -> Result<Self, String> {
        let mut command = scratch(context, &format!("helper:{name}"));
        let child = command
            .stdin(Stdio::piped())
            .spawn()
            .step("start a process")?;
        Ok(Self { child })
    }

    /// Waits for its answer.
    fn said(&mut self, expected: &str) -> Result<(), String> {
        let stdout = self.child.stdout.as_mut().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).step("read")?;
        if line.trim_end() == expected {
            Ok(())
        } else {
            Err(line.trim_end().to_owned())
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        wait(&mut self.child, Duration::from_secs(2));
    }
}

/// The scratch process's side: makes the namespace, says so, and waits for the end of its input.
pub(super) fn helper(name: &str) {
    let kind = KINDS.iter().find(|(n, _)| *n == name);
    let outcome = match kind {
        Some(&(_, flag)) => unshare(CloneFlags::from_bits_retain(flag)).step("unshare"),
        // A process that only starts, to show that one can be.
        None => return,
    };
    let outcome = outcome.and_then(|()| {
        // The unsharing process itself stays outside of a new pid or time namespace; its child is inside.
        if matches!(name, "pid" | "time") {
            let context = Context {
                data_root: "/".into(),
            };
            // With a user it is started by fork: before Linux 6.3 a time namespace takes no child of vfork.
            let status = scratch(&context, "helper:nothing")
                .uid(getuid().as_raw())
                .status()
                .step("start a process in it")?;
            if !status.success() {
                return Err(format!("a process in it ended with {status}"));
            }
        }
        Ok(())
    });
    let _ = writeln!(
        std::io::stdout(),
        "{}",
        outcome.err().unwrap_or_else(|| "made".to_owned())
    );
    let _ = std::io::stdin().lines().next();
}
