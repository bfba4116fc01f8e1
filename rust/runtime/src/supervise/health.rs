//! Health checks as Docker's: a command is executed in the container every so often, and its exit codes decide.
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use minidock_core::error::{Context, Result};
use minidock_core::sys;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, waitid,
};
use serde::{Deserialize, Serialize};

use super::record;
use crate::clock;
use crate::supervise_exec::{Captured, Command, Request, capture};

/// How many results are kept.
const KEPT: usize = 5;
/// The most that a check reports to the supervisor: 4 KiB of output, JSON's escapes and more.
const LONGEST: usize = 64 * 1024;

/// Section `health` of the document; times in milliseconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthDocument {
    /// What is executed.
    process: Command,
    /// Between the end of one check and the next.
    interval_ms: u64,
    /// A check that takes longer has failed, and is killed.
    timeout_ms: u64,
    /// As long, failures do not count.
    start_period_ms: u64,
    /// The interval as long as the container is starting and in that period.
    start_interval_ms: u64,
    /// So many failures in a row are too many.
    retries: u32,
    /// What is done about it.
    #[serde(default)]
    on_failure: OnFailure,
}

/// What is done when a container gets unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Nothing.
    #[default]
    None,
    /// SIGKILL; the restart policy has its say.
    Kill,
    /// A stop with the container's signal and time.
    Stop,
    /// A stop, and another start whatever the policy says.
    Restart,
}

/// Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No check has passed yet.
    Starting,
    /// The last ones passed.
    Healthy,
    /// Too many have failed.
    Unhealthy,
}

impl Status {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One check, over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outcome {
    start: String,
    end: String,
    exit_code: i32,
    output: String,
}

/// What `health.json` holds: Docker's `State.Health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    status: Status,
    failing_streak: u32,
    log: VecDeque<Outcome>,
}

/// The rules, without clock and processes: times are milliseconds of any clock that does not jump.
#[derive(Debug)]
struct Machine {
    interval: u64,
    start_period: u64,
    start_interval: u64,
    retries: u32,
    report: Report,
    begun: u64,
    next: u64,
}

impl Machine {
    /// A container that has just been started; `log` is what is left of the runs before.
    fn new(document: &HealthDocument, log: VecDeque<Outcome>, now: u64) -> Self {
        let mut made = Self {
            interval: document.interval_ms,
            start_period: document.start_period_ms,
            start_interval: document.start_interval_ms,
            retries: document.retries.max(1),
            report: Report {
                status: Status::Starting,
                failing_streak: 0,
                log,
            },
            begun: now,
            next: 0,
        };
        made.rest(now);
        made
    }

    fn in_start_period(&self, at: u64) -> bool {
        at.saturating_sub(self.begun) < self.start_period
    }

    /// The next check is due an interval from now.
    fn rest(&mut self, now: u64) {
        let starting = self.report.status == Status::Starting && self.in_start_period(now);
        let pause = if starting {
            self.start_interval
        } else {
            self.interval
        };
        self.next = now.saturating_add(pause);
    }

    /// Takes the outcome of a check that began at `started`; the status, if that has changed.
    fn take(&mut self, outcome: Outcome, started: u64, now: u64) -> Option<Status> {
        let before = self.report.status;
        let report = &mut self.report;
        let passed = outcome.exit_code == 0;
        while report.log.len() >= KEPT {
            report.log.pop_front();
        }
        report.log.push_back(outcome);
        let forgiven = before == Status::Starting && self.in_start_period(started);
        let report = &mut self.report;
        if passed {
            report.failing_streak = 0;
            report.status = Status::Healthy;
        } else if !forgiven {
            report.failing_streak += 1;
            if report.failing_streak >= self.retries {
                report.status = Status::Unhealthy;
            }
        }
        self.rest(now);
        (self.report.status != before).then_some(self.report.status)
    }
}

/// A check under way: a process of its own, and what it will say.
#[derive(Debug)]
struct Probe {
    process: OwnedFd,
    answer: OwnedFd,
    text: Vec<u8>,
    started: u64,
    started_at: String,
}

/// Where the checks are made.
#[derive(Debug, Clone)]
pub struct Target {
    /// The container's id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its run directory.
    pub run_dir: PathBuf,
    /// Its cgroup.
    pub cgroup: String,
    /// PID 1.
    pub pid: i32,
    /// Field 22 of its `/proc/PID/stat`.
    pub start_time: u64,
}

/// What a container has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Its status.
    pub status: Status,
    /// What is to be done about it.
    pub action: OnFailure,
}

/// The health of one run of a container.
#[derive(Debug)]
pub struct Health {
    document: HealthDocument,
    target: Target,
    machine: Machine,
    probe: Option<Probe>,
}

impl Health {
    /// A container that has just been started.
    pub fn begin(document: HealthDocument, target: Target, now: u64) -> Self {
        let log = Self::read(&target.run_dir)
            .or_else(|| Self::read(&target.bundle))
            .map(|report| report.log)
            .unwrap_or_default();
        let made = Self {
            machine: Machine::new(&document, log, now),
            document,
            target,
            probe: None,
        };
        made.write(&made.target.run_dir);
        made
    }

    fn read(directory: &Path) -> Option<Report> {
        serde_json::from_slice(&std::fs::read(directory.join("health.json")).ok()?).ok()
    }

    /// What cannot be written (a full disk) is told the next time.
    fn write(&self, directory: &Path) {
        if let Ok(text) = serde_json::to_string(&self.machine.report) {
            let _ = record::write_renamed(&directory.join("health.json"), &text);
        }
    }

    /// When a check is due; None while one is under way.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        self.probe.is_none().then_some(self.machine.next)
    }

    /// To be polled for reading.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.probe.as_ref().map(|probe| probe.answer.as_fd())
    }

    /// Starts a check that is due, and takes in the answer of one that has ended.
    pub fn turn(&mut self, now: u64) -> Option<Change> {
        let Some(probe) = &mut self.probe else {
            if self.machine.next <= now {
                self.start(now);
            }
            return None;
        };
        if !probe.listen() {
            return None;
        }
        let probe = self.probe.take()?;
        let _ = waitid(WaitId::PidFd(probe.process.as_fd()), WaitIdOptions::EXITED);
        let status = match probe.outcome(self.document.timeout_ms) {
            Some(outcome) => self.machine.take(outcome, probe.started, now),
            // Paused: nothing was found out.
            None => {
                self.machine.rest(now);
                return None;
            }
        };
        self.write(&self.target.run_dir);
        let action = match status? {
            Status::Unhealthy => self.document.on_failure,
            _ => OnFailure::None,
        };
        status.map(|status| Change { status, action })
    }

    /// Starts a check in a process of its own. Where none can be made, that is no fault of the container's.
    fn start(&mut self, now: u64) {
        match Probe::start(&self.document, &self.target, now) {
            Ok(probe) => self.probe = Some(probe),
            Err(_) => self.machine.rest(now),
        }
    }

    /// The container has ended: so has its health, as Docker sees it.
    pub fn end(mut self) {
        if let Some(probe) = self.probe.take() {
            // The command dies with the process that looks after it.
            let _ = pidfd_send_signal(&probe.process, Signal::KILL);
            let _ = waitid(WaitId::PidFd(probe.process.as_fd()), WaitIdOptions::EXITED);
        }
        // Not into the run directory: who looks there before it knows of the end would take it for a failed check.
        self.machine.report.status = Status::Unhealthy;
        self.write(&self.target.bundle);
    }
}

/// What a check's process tells.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    exit_code: Option<i32>,
    timed_out: bool,
    paused: bool,
    output: String,
    end: String,
}

impl Probe {
    fn start(document: &HealthDocument, target: &Target, now: u64) -> Result<Self> {
        let started_at = clock::now();
        let (answer, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .context("make pipe", String::new)?;
        rustix::io::ioctl_fionbio(&answer, true).context("make pipe", String::new)?;
        let supervisor = rustix::process::getpid();
        let Some(pid) = sys::fork().context("make process", String::new)? else {
            run(document, target, write, supervisor);
        };
        // Not reaped by anybody else: the number is that of the child.
        let process = Pid::from_raw(pid).ok_or(Errno::SRCH);
        let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        Ok(Self {
            process: process.context("open process", || pid.to_string())?,
            answer,
            text: Vec::new(),
            started: now,
            started_at,
        })
    }

    /// Reads what there is; true at its end.
    fn listen(&mut self) -> bool {
        let mut buffer = [0u8; 4096];
        loop {
            match rustix::io::read(&self.answer, &mut buffer[..]) {
                Ok(n) if n > 0 && self.text.len() < LONGEST => {
                    self.text.extend_from_slice(&buffer[..n]);
                }
                Err(Errno::AGAIN) => return false,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// The result in Docker's words; None if the container was paused.
    fn outcome(&self, timeout_ms: u64) -> Option<Outcome> {
        let answer: Answer = serde_json::from_slice(&self.text).unwrap_or_else(|_| Answer {
            output: "the health check was killed".to_owned(),
            end: clock::now(),
            ..Answer::default()
        });
        if answer.paused {
            return None;
        }
        let mut output = answer.output;
        if answer.timed_out {
            let limit = duration(timeout_ms);
            let colon = if output.is_empty() { "" } else { ": " };
            output = format!("Health check exceeded timeout ({limit}){colon}{output}");
        }
        let code = answer.exit_code.filter(|_| !answer.timed_out);
        Some(Outcome {
            start: self.started_at.clone(),
            end: answer.end,
            exit_code: code.unwrap_or(-1),
            output,
        })
    }
}

/// The process that makes one check and tells what came of it.
fn run(document: &HealthDocument, target: &Target, answer: OwnedFd, supervisor: Pid) -> ! {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    if rustix::process::getppid() != Some(supervisor) {
        sys::exit_now(1);
    }
    let _ = rustix::process::setsid();
    // What the supervisor has open is none of this process's: as long as it lived, no stream of the container could end.
    let Ok(answer) = only(&answer) else {
        sys::exit_now(1);
    };
    super::start::protect(false);
    let request = Request::captured(
        target.id.clone(),
        (target.pid, target.start_time),
        target.cgroup.clone(),
        document.process.clone(),
        document.timeout_ms,
    );
    let captured = capture(&target.bundle, &request);
    let text = serde_json::to_string(&Answer::from(captured)).unwrap_or_default();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(&answer, rest) {
            Ok(n) => rest = &rest[n..],
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    sys::exit_now(0)
}

/// Gives a descriptor the number 3, and closes all behind it, the original too.
fn only(fd: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let high = rustix::io::fcntl_dupfd_cloexec(fd, 4)?;
    let third = match sys::take_fd(3) {
        Ok(mut taken) => {
            rustix::io::dup3(&high, &mut taken, rustix::io::DupFlags::CLOEXEC)?;
            taken
        }
        Err(_) => rustix::io::fcntl_dupfd_cloexec(&high, 3)?,
    };
    std::mem::forget(high);
    sys::close_from(4)?;
    Ok(third)
}

impl From<Captured> for Answer {
    fn from(captured: Captured) -> Self {
        let mut output = String::from_utf8_lossy(&captured.output).into_owned();
        if captured.cut {
            output.push_str("...");
        }
        Self {
            exit_code: captured.exit_code,
            timed_out: captured.timed_out,
            paused: captured.paused,
            output,
            end: clock::now(),
        }
    }
}

/// Milliseconds as Go writes a duration: `1m30s`, `1.5s`, `200ms`.
fn duration(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (hours, minutes, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    let fraction = format!(".{:03}", rest % 1000);
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    let seconds = format!("{}{fraction}s", rest / 1000);
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
