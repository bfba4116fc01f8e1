//! Processes by number and start time, which together name one process for ever (within one boot).
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use minidock_core::{Context, Error, Kind, Result, sys};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process that existed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number, on the host.
    pub pid: i32,
    /// When it was started, in clock ticks since boot.
    pub start_time: u64,
}

/// Fields 3 and 22 of `/proc/PID/stat`: state and start time (proc_pid_stat(5)).
fn stat(pid: i32) -> Option<(u8, u64)> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may contain anything.
    let after = text.iter().rposition(|byte| *byte == b')')? + 2;
    let mut fields = text.get(after..)?.split(|byte| *byte == b' ');
    let state = *fields.next()?.first()?;
    let start = fields.nth(18)?;
    Some((state, std::str::from_utf8(start).ok()?.parse().ok()?))
}

impl Process {
    /// A process that exists now (a zombie, too).
    pub fn new(pid: i32) -> Result<Self> {
        let (_, start_time) = stat(pid).ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                "find process",
                pid.to_string(),
                "it has ended",
            )
        })?;
        Ok(Self { pid, start_time })
    }

    /// Whether it still runs: a zombie does not.
    pub fn is_alive(self) -> bool {
        stat(self.pid)
            .is_some_and(|(state, start)| start == self.start_time && !matches!(state, b'Z' | b'X'))
    }

    /// A descriptor of it, unless it has ended.
    pub fn open(self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            other => other.context("open process", || self.pid.to_string())?,
        };
        // Checked after opening: the number may have been given to another process before.
        Ok(self.is_alive().then_some(fd))
    }

    /// Sends a signal; false when it has ended.
    pub fn signal(self, number: i32) -> Result<bool> {
        let Some(fd) = self.open()? else {
            return Ok(false);
        };
        match sys::pidfd_signal(fd.as_fd(), number) {
            Err(Errno::SRCH) => Ok(false),
            other => other
                .context("signal process", || self.pid.to_string())
                .map(|()| true),
        }
    }

    /// Kills it and waits until it is gone, at most `limit`. `Timeout` when it is not by then.
    pub fn kill(self, limit: Duration) -> Result<()> {
        let Some(fd) = self.open()? else {
            return Ok(());
        };
        match sys::pidfd_signal(fd.as_fd(), libc::SIGKILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(e) => return Err(e).context("kill process", || self.pid.to_string()),
        }
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left.try_into().unwrap_or_default();
            match poll(
                &mut [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)],
                Some(&timeout),
            ) {
                Ok(0) => {
                    let why = "it has not ended yet after SIGKILL (uninterruptible wait)";
                    return Err(Error::new(
                        Kind::Timeout,
                        "kill process",
                        self.pid.to_string(),
                        why,
                    ));
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e).context("wait for process", || self.pid.to_string()),
            }
        }
    }
}

/// The number of a signal written as `TERM`, `SIGTERM`, `RTMIN+1` or `15`.
pub fn signal_number(text: &str) -> Result<i32> {
    let invalid = || Error::new(Kind::Invalid, "read signal", text, "not a signal");
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(invalid())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: i32, offset: &str| {
        let offset: i32 = if offset.is_empty() {
            0
        } else {
            offset.parse().ok()?
        };
        Some(base + offset).filter(|n| (34..=64).contains(n))
    };
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return real_time(34, offset).ok_or_else(invalid);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return real_time(64, offset).ok_or_else(invalid);
    }
    let signal: nix::sys::signal::Signal = format!("SIG{name}").parse().map_err(|_| invalid())?;
    Ok(signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("KILL", 9),
            ("sigterm", 15),
            ("1", 1),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(signal_number(text).unwrap(), number, "{text}");
        }
        for text in [
            "0",
            "65",
            "-1",
            "",
            "SIG",
            "NOPE",
            "RTMIN+31",
            "RTMAX+1",
            "99999999999",
        ] {
            assert_eq!(
                signal_number(text).unwrap_err().kind,
                Kind::Invalid,
                "{text}"
            );
        }
    }

    #[test]
    fn another_start_time_is_another_process() {
        let own = Process::new(std::process::id().try_into().unwrap()).unwrap();
        assert!(own.is_alive() && own.open().unwrap().is_some());
        let other = Process {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(!other.is_alive() && other.open().unwrap().is_none());
        assert!(!other.signal(0).unwrap_or(true));
    }

    #[test]
    fn a_killed_child_is_gone_when_kill_returns() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let process = Process::new(child.id().try_into().unwrap()).unwrap();
        process.kill(Duration::from_secs(5)).unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }
}
