//! What works on this host: `minidock doctor` asks, by doing it.
//!
//! Every group of checks runs in a scratch process of its own (this executable once more), so that namespaces, mounts,
//! filters and limits that it tries end with it, and a check that hangs or crashes is a finding too.
mod cgroups;
mod kernel;
mod limits;
mod mounts;
mod namespaces;
mod netlink;
mod network;
mod process;
mod security;
mod storage;

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works.
    Ok,
    /// Something optional is missing.
    Warn,
    /// Containers cannot run, or not with their default isolation.
    Fail,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What it belongs to: `namespaces`, `mounts`, …
    pub group: String,
    /// What was tried.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What that means for containers; empty if all is well.
    pub meaning: String,
    /// What to do about it; empty if there is nothing to do.
    pub advice: String,
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct Context {
    /// The data root; its file system is the one that matters.
    pub data_root: PathBuf,
}

/// The findings of one group in the making.
struct Report {
    group: &'static str,
    checks: Vec<Check>,
}

/// What a failed try means and what to do, by how bad it is.
struct Blame {
    status: Status,
    meaning: &'static str,
    advice: &'static str,
}

const fn fail(meaning: &'static str, advice: &'static str) -> Blame {
    Blame {
        status: Status::Fail,
        meaning,
        advice,
    }
}

const fn warn(meaning: &'static str, advice: &'static str) -> Blame {
    Blame {
        status: Status::Warn,
        meaning,
        advice,
    }
}

impl Report {
    fn ok(&mut self, name: impl Into<String>, found: impl Into<String>) {
        self.add(name, Status::Ok, found, "", "");
    }

    fn add(
        &mut self,
        name: impl Into<String>,
        status: Status,
        found: impl Into<String>,
        meaning: &str,
        advice: &str,
    ) {
        self.checks.push(Check {
            group: self.group.to_owned(),
            name: name.into(),
            status,
            found: found.into(),
            meaning: meaning.to_owned(),
            advice: advice.to_owned(),
        });
    }

    /// Records the outcome of one try; tells whether it worked.
    fn tried(&mut self, name: &str, outcome: Result<String, String>, blame: &Blame) -> bool {
        match outcome {
            Ok(found) => {
                self.ok(name, found);
                true
            }
            Err(found) => {
                let denied = found.ends_with("operation not permitted")
                    && !blame.advice.starts_with("run as root");
                let first = if denied {
                    "run as root (in a container: start that with --privileged); otherwise: "
                } else {
                    ""
                };
                self.add(
                    name,
                    blame.status,
                    found,
                    blame.meaning,
                    &format!("{first}{}", blame.advice),
                );
                false
            }
        }
    }
}

/// A failed call as text: `unshare: operation not permitted`.
fn text(call: &str, errno: Errno) -> String {
    crate::Error::errno("", call, errno.raw_os_error())
        .to_string()
        .trim_start()
        .to_owned()
}

/// Names the step of a try that failed.
trait Step<T> {
    fn step(self, call: &str) -> Result<T, String>;
}

impl<T> Step<T> for rustix::io::Result<T> {
    fn step(self, call: &str) -> Result<T, String> {
        self.map_err(|e| text(call, e))
    }
}

impl<T> Step<T> for nix::Result<T> {
    fn step(self, call: &str) -> Result<T, String> {
        self.map_err(|e| text(call, Errno::from_raw_os_error(e as i32)))
    }
}

impl<T> Step<T> for std::io::Result<T> {
    fn step(self, call: &str) -> Result<T, String> {
        self.map_err(|e| text(call, Errno::from_io_error(&e).unwrap_or(Errno::IO)))
    }
}

type Group = (&'static str, fn(&Context, &mut Report));

/// All groups, in the order of the report. The second part of a name tells apart processes of one group.
const GROUPS: &[Group] = &[
    ("kernel", kernel::check),
    ("namespaces", namespaces::check),
    ("mounts", mounts::check),
    ("storage", storage::check),
    ("cgroups", cgroups::check),
    ("processes", process::check),
    ("security", security::check),
    ("network", network::check),
    ("limits", limits::check),
];

/// A group hangs if it takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs all checks, each group in a scratch process of this executable (`probe --group NAME`).
#[must_use]
pub fn run(context: &Context) -> Vec<Check> {
    // They wait more than they compute, so they run side by side.
    std::thread::scope(|scope| {
        let running: Vec<_> = GROUPS
            .iter()
            .map(|&(group, _)| scope.spawn(move || in_scratch(context, group)))
            .collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect()
    })
}

/// Runs one group in this process, which must have nothing else to do: its namespaces and mounts change. None for a name
/// that does not exist.
#[must_use]
pub fn run_group(context: &Context, name: &str) -> Option<Vec<Check>> {
    if let Some(helper) = name.strip_prefix("helper:") {
        namespaces::helper(helper);
        return Some(Vec::new());
    }
    let &(group, check) = GROUPS.iter().find(|(group, _)| *group == name)?;
    let mut report = Report {
        group,
        checks: Vec::new(),
    };
    check(context, &mut report);
    Some(report.checks)
}

/// This executable once more, as `probe --group NAME`.
fn scratch(context: &Context, name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["probe", "--group", name, "--data-root"])
        .arg(&context.data_root);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn in_scratch(context: &Context, group: &'static str) -> Vec<Check> {
    let broken = |found: String| {
        let mut report = Report {
            group,
            checks: Vec::new(),
        };
        let advice = "report this with the output of `minidock doctor --json`";
        report.add(
            "the checks themselves",
            Status::Fail,
            found,
            "nothing is known about this group",
            advice,
        );
        report.checks
    };
    let mut child = match scratch(context, group).spawn() {
        Ok(child) => child,
        Err(e) => return broken(format!("cannot be started: {e}")),
    };
    let Some(mut stdout) = child.stdout.take() else {
        return broken("no output".to_owned());
    };
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        // A truncated report is found out when it is read as JSON.
        let _ = stdout.read_to_end(&mut output);
        output
    });
    match wait(&mut child, LIMIT) {
        Some(status) if status.success() => {
            let output = reader.join().unwrap_or_default();
            serde_json::from_slice(&output)
                .unwrap_or_else(|e| broken(format!("unreadable report: {e}")))
        }
        Some(status) => broken(format!("ended with {status}")),
        None => broken(format!("still running after {} seconds", LIMIT.as_secs())),
    }
}

/// Waits for a child; kills it after `limit`.
fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_micros(500)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// A file's content without the last newline; None if it cannot be read.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path)
        .ok()
        .map(|t| t.trim_end().to_owned())
}
