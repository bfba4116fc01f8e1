//! What runs, at one look: the pid files of a run root, and whether their processes are there.
use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::{Errno, read};
use serde::Deserialize;

use crate::error::{Context, Result};

/// No pid file is longer.
const LONGEST: usize = 8192;

/// One container that has a pid file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name of its run directory.
    pub name: String,
    /// Its pid file, `run_dir/pid`.
    pub text: Vec<u8>,
    /// Whether its supervisor is there.
    pub supervisor: bool,
    /// Whether its PID 1 is there.
    pub init: bool,
    /// Whether `run_dir/paused` is there.
    pub paused: bool,
}

#[derive(Deserialize)]
struct Pids<'a> {
    supervisor: i32,
    supervisor_start: u64,
    boot_id: &'a str,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    start_time: u64,
}

/// Looks at all run directories below `dir`; those of another boot have no processes.
///
/// `inits`: whether PID 1 and pauses are looked at, too. Run directories without a readable pid file are left out, as is
/// everything when `dir` does not exist.
///
/// # Errors
/// That of reading `dir`.
pub fn survey(dir: &Path, boot_id: &str, inits: bool) -> Result<Vec<Found>> {
    let shown = || dir.display().to_string();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).context("read", shown),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir_fd = openat(CWD, dir, flags, Mode::empty()).context("open", shown)?;
    let mut buffer = vec![0; LONGEST];
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.context("read", shown)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let Some(n) = read_file(&dir_fd, &format!("{name}/pid"), &mut buffer) else {
            continue;
        };
        let text = buffer[..n].to_vec();
        let Ok(pids) = serde_json::from_slice::<Pids<'_>>(&text) else {
            continue;
        };
        let now = pids.boot_id == boot_id;
        let supervisor = now && is_there(pids.supervisor, pids.supervisor_start, &mut buffer);
        let look = inits && supervisor;
        let init = look && is_there(pids.pid, pids.start_time, &mut buffer);
        let mark = format!("{name}/paused");
        let paused = look && statat(&dir_fd, mark.as_str(), AtFlags::empty()).is_ok();
        found.push(Found {
            name,
            supervisor,
            init,
            paused,
            text,
        });
    }
    Ok(found)
}

/// Whether the process of this number began at `start` (field 22 of `/proc/PID/stat`) and is no zombie.
fn is_there(pid: i32, start: u64, buffer: &mut [u8]) -> bool {
    if pid <= 0 {
        return false;
    }
    let Some(n) = read_file(CWD, &format!("/proc/{pid}/stat"), buffer) else {
        return false;
    };
    let text = String::from_utf8_lossy(&buffer[..n]);
    // The name in parentheses may hold anything, so fields are counted from its end.
    let Some((_, rest)) = text.rsplit_once(')') else {
        return false;
    };
    let mut fields = rest.split_ascii_whitespace();
    let gone = matches!(fields.next(), None | Some("Z" | "X"));
    !gone && fields.nth(18).and_then(|field| field.parse().ok()) == Some(start)
}

/// Reads a small file; how long it is.
fn read_file<Fd: std::os::fd::AsFd>(dir: Fd, path: &str, buffer: &mut [u8]) -> Option<usize> {
    let fd = openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    loop {
        match read(&fd, &mut *buffer) {
            Ok(n) => return Some(n),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_is_there() {
        let dir = std::env::temp_dir().join(format!("minidock-survey-{}", std::process::id()));
        let own = std::process::id();
        let stat = fs::read_to_string(format!("/proc/{own}/stat")).unwrap();
        let start: u64 = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19))
            .and_then(|field| field.parse().ok())
            .unwrap();
        let put = |name: &str, text: &str| {
            fs::create_dir_all(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("pid"), text).unwrap();
        };
        let file = |supervisor: u32, boot: &str, pid: u32, pid_start: u64| {
            format!(
                r#"{{"supervisor":{supervisor},"supervisor_start":{start},"boot_id":"{boot}","cgroup":"/a","pid":{pid},"start_time":{pid_start},"status":"running"}}"#
            )
        };
        assert_eq!(survey(&dir, "b", true).unwrap(), []);
        put("runs", &file(own, "b", own, start));
        put("old", &file(own, "a", own, start));
        put("dead", &file(0, "b", 0, 0));
        put("between", &file(own, "b", own, start + 1));
        put("torn", r#"{"supervisor":1"#);
        fs::create_dir(dir.join("empty")).unwrap();
        fs::write(dir.join("runs/paused"), "").unwrap();
        let mut all = survey(&dir, "b", true).unwrap();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let seen: Vec<_> = all
            .iter()
            .map(|f| (f.name.as_str(), f.supervisor, f.init, f.paused))
            .collect();
        assert_eq!(
            seen,
            [
                ("between", true, false, false),
                ("dead", false, false, false),
                ("old", false, false, false),
                ("runs", true, true, true),
            ]
        );
        assert_eq!(all[3].text, file(own, "b", own, start).into_bytes());
        let few = survey(&dir, "b", false).unwrap();
        assert!(few.iter().all(|f| !f.init && !f.paused));
        fs::remove_dir_all(&dir).unwrap();
    }
}
