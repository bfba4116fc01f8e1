//! One call of the runtime's program: what it says, how it ends.
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use minidock_core::error::{Context, Error, Kind, Result};
use minidock_core::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, waitid,
};

/// How long a call may take. Docker's shims give as much.
const LIMIT: Duration = Duration::from_secs(120);
/// How much of its output is kept.
const KEPT: usize = 1 << 16;
/// How much of its words an error repeats, in characters.
const SHOWN: usize = 1000;
/// Nothing of the caller's environment gets to the runtime (`LISTEN_FDS`, `NOTIFY_SOCKET`, `LD_PRELOAD`).
const ENVIRONMENT: &std::ffi::CStr =
    c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments.
pub struct Call {
    path: CString,
    argv: Vec<CString>,
}

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    /// "ended with 1" or "was killed by signal 9"; none: it succeeded.
    pub failed: Option<String>,
    /// What came out of it.
    pub output: Vec<u8>,
}

impl Call {
    /// `argv` with its first word.
    pub fn new(program: &Path, argv: &[OsString]) -> Result<Self> {
        let word = |bytes: &[u8]| {
            CString::new(bytes).map_err(|_| {
                let name = program.display().to_string();
                Error::new(Kind::Invalid, "run runtime", name, "contains a NUL byte")
            })
        };
        Ok(Self {
            path: word(program.as_os_str().as_bytes())?,
            argv: argv
                .iter()
                .map(|a| word(a.as_bytes()))
                .collect::<Result<_>>()?,
        })
    }

    fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Runs it with these descriptors 0 to 2 and reads `read` meanwhile. It dies with this process.
    ///
    /// Fails if it cannot be executed, or with `Timeout`, after which it is dead.
    pub fn run(&self, stdio: [&OwnedFd; 3], read: &[&OwnedFd]) -> Result<Ended> {
        let name = || self.name();
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (trouble, tell) = pipe.context("make pipe", String::new)?;
        let environment = [ENVIRONMENT.to_owned()];
        let Some(pid) = sys::fork().context("run runtime", name)? else {
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            let _ = rustix::stdio::dup2_stdin(stdio[0]);
            let _ = rustix::stdio::dup2_stdout(stdio[1]);
            let _ = rustix::stdio::dup2_stderr(stdio[2]);
            let _ = sys::close_range_cloexec(3);
            sys::reset_signals();
            let errno = sys::execve(&self.path, &self.argv, &environment);
            let _ = rustix::io::write(&tell, &errno.raw_os_error().to_ne_bytes());
            sys::exit_now(127)
        };
        drop(tell);
        let pidfd = Pid::from_raw(pid)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            .ok_or_else(|| Error::errno("run runtime", name(), libc::ESRCH))?;
        let mut errno = [0u8; 4];
        // Ends when the program has been executed.
        let told = loop {
            match rustix::io::read(&trouble, &mut errno[..]) {
                Err(Errno::INTR) => {}
                other => break other.unwrap_or(0),
            }
        };
        let finished = self.follow(&pidfd, read);
        if finished.is_err() {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
        let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
            .context("wait for runtime", name)?;
        if told == errno.len() {
            let errno = i32::from_ne_bytes(errno);
            return Err(Error::errno("execute runtime", name(), errno));
        }
        let failed = match status {
            Some(s) if s.exit_status() == Some(0) => None,
            Some(s) => Some(match (s.exit_status(), s.terminating_signal()) {
                (Some(code), _) => format!("ended with {code}"),
                (_, signal) => format!("was killed by signal {}", signal.unwrap_or_default()),
            }),
            None => Some("ended".to_owned()),
        };
        let output = finished?;
        Ok(Ended { failed, output })
    }

    /// Reads until the process has ended, so that it never waits for a reader.
    fn follow(&self, pidfd: &OwnedFd, read: &[&OwnedFd]) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        let mut open: Vec<&OwnedFd> = read.to_vec();
        for fd in read {
            rustix::io::ioctl_fionbio(fd, true).context("read output of runtime", String::new)?;
        }
        let begin = Instant::now();
        loop {
            let left = LIMIT.saturating_sub(begin.elapsed());
            if left.is_zero() {
                let why = format!("it did not end in {} s", LIMIT.as_secs());
                return Err(Error::new(Kind::Timeout, "run runtime", self.name(), why));
            }
            let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
            fds.extend(open.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)));
            let timeout = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e).context("wait for runtime", || self.name()),
            }
            let ended = !fds[0].revents().is_empty();
            drop(fds);
            open.retain(|fd| drain(fd, &mut output));
            if ended {
                return Ok(output);
            }
        }
    }
}

/// Reads what is there; false at the end of the stream.
fn drain(fd: &OwnedFd, output: &mut Vec<u8>) -> bool {
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::read(fd, &mut buffer[..]) {
            Ok(0) => return false,
            Ok(n) => {
                output.extend_from_slice(&buffer[..n]);
                // The error is at the end.
                if output.len() > 2 * KEPT {
                    output.drain(..output.len() - KEPT);
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
}

/// The last error of a log in JSON lines, or else the last line of the output; one line, without control characters.
pub fn last_error(log: &[u8], output: &[u8]) -> Option<String> {
    let logged = log.rsplit(|b| *b == b'\n').find_map(|line| {
        let entry: serde_json::Value = serde_json::from_slice(line).ok()?;
        let level = entry.get("level").and_then(serde_json::Value::as_str);
        let wanted = matches!(level, Some("error" | "fatal" | "panic"));
        let message = entry.get("msg").and_then(serde_json::Value::as_str)?;
        (wanted && !message.trim().is_empty()).then(|| clean(message))
    });
    logged.or_else(|| {
        let text = String::from_utf8_lossy(output);
        let line = text.lines().rev().find(|l| !l.trim().is_empty())?;
        Some(clean(line))
    })
}

fn clean(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(plain).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
    }

    fn shell(script: &str) -> Result<Ended> {
        let (read, write) = pipe();
        let argv: Vec<OsString> = vec!["sh".into(), "-c".into(), script.into()];
        Call::new(Path::new("/bin/sh"), &argv)?.run([&read, &write, &write], &[&read])
    }

    #[test]
    fn output_and_status() {
        let ended = shell("echo one; echo two >&2; exit 3").unwrap();
        assert_eq!(ended.output, b"one\ntwo\n");
        assert_eq!(ended.failed.as_deref(), Some("ended with 3"));
        assert!(shell("true").unwrap().failed.is_none());
        let killed = shell("kill -9 $$").unwrap();
        assert_eq!(killed.failed.as_deref(), Some("was killed by signal 9"));
    }

    #[test]
    fn more_output_than_a_pipe_holds() {
        let ended = shell("head -c 1000000 /dev/zero; echo last").unwrap();
        assert!(ended.output.ends_with(b"last\n"));
        assert!(ended.output.len() <= 2 * KEPT);
    }

    #[test]
    fn what_cannot_be_executed() {
        let (read, write) = pipe();
        let call = Call::new(Path::new("/nonexistent"), &["x".into()]).unwrap();
        let error = call.run([&read, &write, &write], &[&read]).unwrap_err();
        assert_eq!(error.kind, Kind::NotFound);
        assert!(Call::new(Path::new("/bin/sh"), &["a\0b".into()]).is_err());
    }

    #[test]
    fn errors_come_from_the_log_first() {
        let log = b"{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\"the\\ncause\"}\n{\"level\":\"info\",\"msg\":\"x\"}\n";
        assert_eq!(last_error(log, b"noise\n").as_deref(), Some("the cause"));
        assert_eq!(
            last_error(b"no json", b"a\nb\x1b[0m\n\n").as_deref(),
            Some("b [0m")
        );
        assert_eq!(last_error(b"", b" \n"), None);
        assert_eq!(last_error(b"", &[b'x'; 5000]).unwrap().len(), SHOWN);
    }
}
