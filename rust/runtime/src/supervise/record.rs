//! What the supervisor writes down: the pid file while the container runs, the exit record when it has ended.
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use minidock_core::cgroup::stats::Usage;
use minidock_core::error::{Context, Error, Kind, Result};
use rustix::process::WaitIdStatus;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::clock;

/// How PID 1 ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// What the CLI ends with: the exit code, or 128 + signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Exit {
    /// Reads the kernel's status.
    #[must_use]
    pub fn from_status(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self { code, signal: None },
            (None, Some(signal)) => Self {
                code: 128 + signal,
                signal: Some(signal),
            },
            (None, None) => Self {
                code: 137,
                signal: Some(libc::SIGKILL),
            },
        }
    }
}

/// Times of a run, on the clock of the world and on one that never jumps.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    real: Timespec,
    monotonic: Timespec,
}

impl Start {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            real: clock_gettime(ClockId::Realtime),
            monotonic: clock_gettime(ClockId::Monotonic),
        }
    }
}

/// One run of PID 1, over.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// The kernel has killed a process for want of memory.
    pub oom_killed: bool,
    /// The time limit has ended it.
    pub timed_out: bool,
    /// What it used.
    pub usage: Usage,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// How long it took.
    pub lasted: Duration,
    /// Why it was not even started again.
    pub error: Option<String>,
}

impl Ended {
    /// A run that began at `start` and ends now.
    #[must_use]
    pub fn now(exit: Exit, timed_out: bool, start: &Start, usage: Usage) -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let wall = (now.tv_sec - start.monotonic.tv_sec) * 1_000_000_000
            + (now.tv_nsec - start.monotonic.tv_nsec);
        Self {
            exit,
            oom_killed: usage.oom_kills > 0,
            timed_out,
            usage,
            started_at: clock::rfc3339(start.real),
            finished_at: clock::now(),
            lasted: Duration::from_nanos(u64::try_from(wall).unwrap_or_default()),
            error: None,
        }
    }

    /// The `exited` object, one line of JSON. `last`: nothing follows; else it is being started again.
    #[must_use]
    pub fn to_json(&self, last: bool, restarts: u64) -> String {
        serde_json::json!({
            "event": "exited", "exit_code": self.exit.code, "signal": self.exit.signal, "oom_killed": self.oom_killed,
            "timed_out": self.timed_out, "started_at": self.started_at, "finished_at": self.finished_at,
            "error": self.error, "final": last, "restart_count": restarts,
            "usage": {
                "wall_ns": u64::try_from(self.lasted.as_nanos()).unwrap_or(u64::MAX), "cpu_ns": self.usage.cpu_ns,
                "memory_peak": self.usage.memory_peak, "read_bytes": self.usage.read_bytes,
                "write_bytes": self.usage.write_bytes,
            },
        })
        .to_string()
    }
}

/// Field 22 of `/proc/PID/stat`: when the process started, in clock ticks since boot.
pub fn start_time(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).context("read", || path.as_str())?;
    // The name in parentheses may hold anything, so fields are counted from its end.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = rest
        .split_ascii_whitespace()
        .nth(19)
        .and_then(|f| f.parse().ok());
    field.ok_or_else(|| Error::new(Kind::Corrupt, "read", path, "no start time in field 22"))
}

/// The pid file: who supervises, in which cgroup, and PID 1 once there is one.
///
/// It is there before anything else of the container is, and goes last: whatever a killed supervisor leaves behind can be
/// found by it.
pub struct PidFile {
    path: std::path::PathBuf,
    supervisor: String,
    cgroup: String,
    /// When the run before ended; empty without one.
    finished: String,
}

impl PidFile {
    /// Makes the run directory and the file, still without PID 1. `cgroup` is empty without one.
    pub fn write(run_dir: &Path, cgroup: &str) -> Result<Self> {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let boot = "/proc/sys/kernel/random/boot_id";
        let boot_id = std::fs::read_to_string(boot).context("read", || boot)?;
        let supervisor = format!(
            r#""supervisor":{own},"supervisor_start":{},"boot_id":"{}""#,
            start_time(own)?,
            boot_id.trim(),
        );
        match std::fs::create_dir(run_dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(e).context("make", || run_dir.display().to_string());
            }
            _ => {}
        }
        let file = Self {
            path: run_dir.join("pid"),
            supervisor,
            cgroup: serde_json::Value::from(cgroup).to_string(),
            finished: String::new(),
        };
        file.put(0, 0, r#""status":"starting""#)?;
        Ok(file)
    }

    /// Adds PID 1, which runs now; its start time is returned.
    pub fn running(&self, pid: i32, started: &Start, restarts: u64) -> Result<u64> {
        let start = start_time(pid)?;
        let more = format!(
            r#""status":"running","started_at":"{}","finished_at":"{}","restart_count":{restarts}"#,
            clock::rfc3339(started.real),
            self.finished
        );
        self.put(pid, start, &more)?;
        Ok(start)
    }

    /// Says that it has ended and is about to be started again.
    pub fn restarting(&mut self, ended: &Ended, restarts: u64) -> Result<()> {
        self.finished.clone_from(&ended.finished_at);
        let more = format!(
            r#""status":"restarting","started_at":"{}","finished_at":"{}","exit_code":{},"oom_killed":{},"restart_count":{restarts}"#,
            ended.started_at, ended.finished_at, ended.exit.code, ended.oom_killed
        );
        self.put(0, 0, &more)
    }

    fn put(&self, pid: i32, start: u64, more: &str) -> Result<()> {
        let Self {
            path,
            supervisor,
            cgroup,
            ..
        } = self;
        let text = format!(
            r#"{{{supervisor},"cgroup":{cgroup},"pid":{pid},"start_time":{start},{more}}}"#
        );
        write_renamed(path, &text)
    }
}

/// Writes a file under another name and renames it: readers see the old content or the new one.
pub fn write_renamed(path: &Path, text: &str) -> Result<()> {
    let name = || path.display().to_string();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // For the engine's eyes only, whatever the umask (CVE-2024-25621).
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .context("write", name)?;
    file.write_all(text.as_bytes()).context("write", name)?;
    std::fs::rename(&beside, path).context("write", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended() -> Ended {
        let (code, signal) = (137, Some(9));
        let usage = Usage {
            cpu_ns: 7,
            oom_kills: 1,
            ..Usage::default()
        };
        Ended::now(Exit { code, signal }, false, &Start::now(), usage)
    }

    #[test]
    fn a_clock_that_jumps_changes_no_length() {
        for jump in [-1_000_000_000, 1_000_000_000] {
            let mut start = Start::now();
            start.real.tv_sec += jump;
            let exit = Exit {
                code: 0,
                signal: None,
            };
            let ended = Ended::now(exit, false, &start, Usage::default());
            assert!(ended.lasted < Duration::from_secs(3600), "{jump}");
            assert_eq!(ended.started_at, clock::rfc3339(start.real));
        }
    }

    #[test]
    fn the_record_is_json() {
        let value: serde_json::Value = serde_json::from_str(&ended().to_json(true, 3)).unwrap();
        assert_eq!(value["signal"], 9);
        assert_eq!(value["oom_killed"], true);
        assert_eq!(value["final"], true);
        assert_eq!(value["restart_count"], 3);
        assert_eq!(value["usage"]["cpu_ns"], 7);
        assert!(value["usage"]["wall_ns"].as_i64().unwrap() >= 0);
    }

    #[test]
    fn the_pid_file_is_there_before_pid_1() {
        let run_dir = std::env::temp_dir().join(format!("minidock-pid-{}", std::process::id()));
        let read = || -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(run_dir.join("pid")).unwrap()).unwrap()
        };
        let mut file = PidFile::write(&run_dir, "/a \"b\"/ID").unwrap();
        let own = std::process::id() as i32;
        assert_eq!(read()["supervisor"], own);
        assert_eq!(read()["pid"], 0);
        assert_eq!(read()["cgroup"], "/a \"b\"/ID");
        assert_eq!(read()["status"], "starting");
        let start = file.running(own, &Start::now(), 2).unwrap();
        assert_eq!(read()["pid"], own);
        assert_eq!(read()["start_time"], start);
        assert_eq!(read()["supervisor_start"], start);
        assert_eq!(read()["restart_count"], 2);
        file.restarting(&ended(), 3).unwrap();
        assert_eq!(
            (&read()["pid"], &read()["exit_code"]),
            (&0.into(), &137.into())
        );
        std::fs::remove_dir_all(&run_dir).unwrap();
    }

    #[test]
    fn own_start_time() {
        assert!(start_time(std::process::id() as i32).unwrap() > 0);
        assert_eq!(start_time(-1).unwrap_err().kind, Kind::NotFound);
    }
}
