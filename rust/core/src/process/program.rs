//! The program to execute: arguments, environment, the search along `PATH`.
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;

use super::Failure;
use crate::error::{Error, Kind, Result};
use crate::sys;

/// Where programs are searched for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Arguments and environment, ready for `execve`.
#[derive(Debug)]
pub struct Program {
    argv: Vec<CString>,
    envp: Vec<CString>,
}

impl Program {
    /// Fails with `Invalid` for no arguments, and for NUL bytes.
    pub fn new(args: &[String], env: &[String]) -> Result<Self> {
        if args.is_empty() || args[0].is_empty() {
            return Err(Error::new(
                Kind::Invalid,
                "execute",
                "",
                "no command is given",
            ));
        }
        let strings = |op, list: &[String]| -> Result<Vec<CString>> {
            list.iter()
                .map(|s| {
                    CString::new(s.as_str()).map_err(|_| {
                        Error::new(
                            Kind::Invalid,
                            op,
                            s.replace('\0', "\\0"),
                            "contains a NUL byte",
                        )
                    })
                })
                .collect()
        };
        Ok(Self {
            argv: strings("set argument", args)?,
            envp: strings("set environment variable", env)?,
        })
    }

    /// Whether the environment has a variable.
    pub fn has_variable(&self, name: &str) -> bool {
        self.envp.iter().any(|v| {
            v.as_bytes()
                .strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.starts_with(b"="))
        })
    }

    /// Adds a variable unless it is set.
    pub fn default_variable(&mut self, name: &str, value: &[u8]) {
        if !self.has_variable(name) {
            let prefix = format!("{name}=");
            self.envp
                .extend(CString::new([prefix.as_bytes(), value].concat()));
        }
    }

    /// Finds the program as the container sees it: a name with a slash as it is, any other along `PATH`.
    ///
    /// To be called in the container's root and working directory, with its user.
    pub fn find(&self) -> std::result::Result<PathBuf, Failure> {
        let name = OsStr::from_bytes(self.argv[0].as_bytes());
        let shown = || name.to_string_lossy().into_owned();
        if name.as_bytes().contains(&b'/') {
            return match executable(Path::new(name)) {
                Ok(()) => Ok(PathBuf::from(name)),
                Err(e) => Err(Failure::execute(Error::errno(
                    "execute",
                    shown(),
                    e.raw_os_error(),
                ))),
            };
        }
        let path = self
            .envp
            .iter()
            .find_map(|v| v.as_bytes().strip_prefix(b"PATH="))
            .unwrap_or(DEFAULT_PATH.as_bytes());
        for dir in path.split(|b| *b == b':') {
            let dir = if dir.is_empty() {
                Path::new(".")
            } else {
                Path::new(OsStr::from_bytes(dir))
            };
            let candidate = dir.join(name);
            if executable(&candidate).is_ok() {
                return Ok(candidate);
            }
        }
        let mut error = Error::errno("execute", shown(), libc::ENOENT);
        error.source = Some("executable file not found in $PATH".into());
        Err(Failure::execute(error))
    }

    /// Executes; returns only on failure.
    pub fn execute(&self, path: &Path) -> Failure {
        let shown = path.display().to_string();
        let Ok(c_path) = CString::new(path.as_os_str().as_bytes()) else {
            return Failure::execute(Error::errno("execute", shown, libc::EINVAL));
        };
        let errno = sys::execve(&c_path, &self.argv, &self.envp);
        let mut error = Error::errno("execute", shown, errno.raw_os_error());
        error.source = match errno {
            // It was there a moment ago: its interpreter (`#!` or the ELF loader) is what is missing.
            Errno::NOENT if executable(path).is_ok() => Some(
                "no such file or directory: its interpreter or dynamic loader is missing".into(),
            ),
            Errno::NOEXEC => Some(
                "exec format error: built for another architecture, or a script without a #! line"
                    .into(),
            ),
            Errno::TOOBIG => Some(
                "argument list too long: arguments and environment exceed what the kernel takes"
                    .into(),
            ),
            _ => error.source,
        };
        Failure::execute(error)
    }
}

/// Whether a path can be executed by the effective user; the errno says why not.
fn executable(path: &Path) -> std::result::Result<(), Errno> {
    match FileType::from_raw_mode(stat(path)?.st_mode) {
        FileType::Directory => return Err(Errno::ISDIR),
        FileType::RegularFile => {}
        _ => return Err(Errno::ACCESS),
    }
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // A seccomp filter may lack faccessat2; execve itself will tell.
        Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(args: &[&str], env: &[&str]) -> Program {
        let own = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        Program::new(&own(args), &own(env)).unwrap()
    }

    #[test]
    fn searches_path() {
        assert_eq!(
            program(&["sh"], &["PATH=/nonexistent:/bin"])
                .find()
                .unwrap(),
            Path::new("/bin/sh")
        );
        let f = program(&["surely-not-there"], &[]).find().unwrap_err();
        assert_eq!(
            (f.exit_code, f.to_string().as_str()),
            (
                127,
                "execute surely-not-there: executable file not found in $PATH"
            )
        );
    }

    #[test]
    fn classes_of_failure() {
        let code = |name| program(&[name], &[]).find().unwrap_err().exit_code;
        assert_eq!(code("/nope"), 127);
        assert_eq!(code("/etc"), 126);
        assert_eq!(code("/etc/passwd"), 126);
        assert!(Program::new(&[], &[]).is_err());
        assert!(Program::new(&["a\0b".into()], &[]).is_err());
    }

    #[test]
    fn default_variables_do_not_replace() {
        let mut p = program(&["x"], &["HOME=/a"]);
        p.default_variable("HOME", b"/b");
        p.default_variable("TERM", b"xterm");
        assert_eq!(p.envp.len(), 2);
    }
}
