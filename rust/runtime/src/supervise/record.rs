//! What the supervisor writes down: the pid file while the container runs, the exit record when it has ended.
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use minidock_core::cgroup::stats::Usage;
use minidock_core::error::{Context, Error, Kind, Result};
use rustix::process::WaitIdStatus;
use rustix::time::{ClockId, Timespec, clock_gettime};

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

/// The `exited` object, one line of JSON.
#[must_use]
pub fn exited(
    exit: Exit,
    oom_killed: bool,
    timed_out: bool,
    start: &Start,
    usage: &Usage,
) -> String {
    let now = clock_gettime(ClockId::Monotonic);
    let wall = (now.tv_sec - start.monotonic.tv_sec) * 1_000_000_000
        + (now.tv_nsec - start.monotonic.tv_nsec);
    let signal = exit
        .signal
        .map_or_else(|| "null".to_owned(), |s| s.to_string());
    let mut out = String::with_capacity(512);
    let _ = write!(
        out,
        r#"{{"event":"exited","exit_code":{},"signal":{signal},"oom_killed":{oom_killed},"timed_out":{timed_out},"started_at":"{}","finished_at":"{}","usage":{{"wall_ns":{wall},"cpu_ns":{},"memory_peak":{},"read_bytes":{},"write_bytes":{}}}}}"#,
        exit.code,
        rfc3339(start.real),
        rfc3339(clock_gettime(ClockId::Realtime)),
        usage.cpu_ns,
        usage.memory_peak,
        usage.read_bytes,
        usage.write_bytes,
    );
    out
}

/// RFC 3339 in UTC with nanoseconds.
fn rfc3339(time: Timespec) -> String {
    let (days, second) = (
        time.tv_sec.div_euclid(86_400),
        time.tv_sec.rem_euclid(86_400),
    );
    // Civil date of a day number: years begin in March, so that the leap day is the last of the year.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:09}Z",
        time.tv_nsec
    )
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
        };
        file.put(0, 0)?;
        Ok(file)
    }

    /// Adds PID 1; its start time is returned.
    pub fn add(&self, pid: i32) -> Result<u64> {
        let start = start_time(pid)?;
        self.put(pid, start)?;
        Ok(start)
    }

    fn put(&self, pid: i32, start: u64) -> Result<()> {
        let Self {
            path,
            supervisor,
            cgroup,
        } = self;
        let text =
            format!(r#"{{{supervisor},"cgroup":{cgroup},"pid":{pid},"start_time":{start}}}"#);
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

    #[test]
    fn dates() {
        let at = |s| {
            rfc3339(Timespec {
                tv_sec: s,
                tv_nsec: 5,
            })
        };
        assert_eq!(at(0), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(at(1_795_564_799), "2026-11-24T23:59:59.000000005Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000000005Z");
        assert_eq!(at(-1), "1969-12-31T23:59:59.000000005Z");
    }

    #[test]
    fn the_record_is_json() {
        let text = exited(
            Exit {
                code: 137,
                signal: Some(9),
            },
            true,
            false,
            &Start::now(),
            &Usage {
                cpu_ns: 7,
                ..Usage::default()
            },
        );
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["signal"], 9);
        assert_eq!(value["usage"]["cpu_ns"], 7);
        assert!(value["usage"]["wall_ns"].as_i64().unwrap() >= 0);
    }

    #[test]
    fn the_pid_file_is_there_before_pid_1() {
        let run_dir = std::env::temp_dir().join(format!("minidock-pid-{}", std::process::id()));
        let read = || -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(run_dir.join("pid")).unwrap()).unwrap()
        };
        let file = PidFile::write(&run_dir, "/a \"b\"/ID").unwrap();
        let own = std::process::id() as i32;
        assert_eq!(read()["supervisor"], own);
        assert_eq!(read()["pid"], 0);
        assert_eq!(read()["cgroup"], "/a \"b\"/ID");
        let start = file.add(own).unwrap();
        assert_eq!(read()["pid"], own);
        assert_eq!(read()["start_time"], start);
        assert_eq!(read()["supervisor_start"], start);
        std::fs::remove_dir_all(&run_dir).unwrap();
    }

    #[test]
    fn own_start_time() {
        assert!(start_time(std::process::id() as i32).unwrap() > 0);
        assert_eq!(start_time(-1).unwrap_err().kind, Kind::NotFound);
    }
}
