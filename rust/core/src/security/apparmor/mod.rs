//! AppArmor: the default profile, loading it, confining a process (apparmor(7)).
mod profile;

use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::profile::profile;
use super::attributes;
use crate::{Context, Error, Kind, Result};

/// The default profile's name.
pub const DEFAULT: &str = "minidock-default";
/// What stands for no profile.
pub const UNCONFINED: &str = "unconfined";

/// Where the kernel and the host keep what concerns AppArmor; tests put directories of their own here.
#[derive(Debug, Clone)]
pub struct Host {
    /// `/sys/module/apparmor/parameters/enabled`
    pub enabled: PathBuf,
    /// `/sys/kernel/security/apparmor/profiles`
    pub profiles: PathBuf,
    /// `/etc/apparmor.d`
    pub includes: PathBuf,
    /// Where the host's parser may be; fixed paths, never `PATH`.
    pub parsers: Vec<PathBuf>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            enabled: "/sys/module/apparmor/parameters/enabled".into(),
            profiles: "/sys/kernel/security/apparmor/profiles".into(),
            includes: "/etc/apparmor.d".into(),
            parsers: vec![
                "/sbin/apparmor_parser".into(),
                "/usr/sbin/apparmor_parser".into(),
            ],
        }
    }
}

impl Host {
    /// Whether the kernel enforces AppArmor.
    #[must_use]
    pub fn is_on(&self) -> bool {
        std::fs::read(&self.enabled).is_ok_and(|text| text.starts_with(b"Y"))
    }

    /// Whether the kernel enforces AppArmor, and its profiles can be reached: in a container without securityfs they cannot,
    /// and whoever runs there is confined by the container's own.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.is_on() && self.profiles.parent().is_some_and(Path::is_dir)
    }

    /// Whether a profile is loaded, in whatever mode.
    ///
    /// # Errors
    /// The kernel's list cannot be read: securityfs is not mounted, or the caller lacks the right.
    pub fn is_loaded(&self, name: &str) -> Result<bool> {
        let list = std::fs::read_to_string(&self.profiles)
            .context("read AppArmor profiles", || self.profiles.to_string_lossy())?;
        // "name (mode)"; the name itself may hold spaces and parentheses.
        Ok(list
            .lines()
            .filter_map(|line| line.rsplit_once(" ("))
            .any(|(loaded, _)| loaded == name))
    }

    /// Sees to it that the default profile is loaded, with the host's parser if it is not: only the parser can make the
    /// kernel's binary form.
    ///
    /// # Errors
    /// `unsupported` if it is not loaded and the host has no parser, or the parser fails; the text says what to do.
    pub fn ensure_default(&self) -> Result<()> {
        if self.is_loaded(DEFAULT)? {
            return Ok(());
        }
        let parser = self.parser().ok_or_else(lacking)?;
        self.load(parser, &self.default_profile())
    }

    /// Whether containers can have the default profile: it is loaded, or there is a parser to load it.
    ///
    /// # Errors
    /// As [`Self::ensure_default`], but that no parser is run.
    pub fn check_default(&self) -> Result<()> {
        if self.parser().is_some() || self.is_loaded(DEFAULT)? {
            return Ok(());
        }
        Err(lacking())
    }

    fn parser(&self) -> Option<&Path> {
        let found = self.parsers.iter().find(|path| path.is_file());
        found.map(PathBuf::as_path)
    }

    /// The default profile's text for this host.
    #[must_use]
    pub fn default_profile(&self) -> String {
        let has = |name| self.includes.join(name).is_file();
        profile(DEFAULT, has("abstractions/base") && has("tunables/global"))
    }

    /// Loads or replaces what `text` defines.
    fn load(&self, parser: &Path, text: &str) -> Result<()> {
        let subject = || parser.to_string_lossy();
        let mut child = Command::new(parser)
            .args(["--skip-cache", "--replace"])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("run AppArmor parser", subject)?;
        if let Some(mut input) = child.stdin.take() {
            // A parser that ends early says why on its own stderr.
            let _ = input.write_all(text.as_bytes());
        }
        let output = child
            .wait_with_output()
            .context("run AppArmor parser", subject)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said
            .lines()
            .next()
            .unwrap_or("no reason given")
            .trim()
            .to_owned();
        Err(Error::new(
            Kind::Unsupported,
            "load AppArmor profile",
            DEFAULT,
            said,
        ))
    }
}

fn lacking() -> Error {
    let why = "it is not loaded and the host has no apparmor_parser: install apparmor, or run with --security-opt \
               apparmor=unconfined";
    Error::new(Kind::Unsupported, "use AppArmor profile", DEFAULT, why)
}

/// Loads the default profile if a process is about to come under it and it has gone: `aa-remove-unknown` unloads what is
/// not among the host's files, and a container that is there already needs it for every exec and restart.
///
/// To be called where the host's files are. Costs nothing for any other profile, one look at the kernel's list for this.
///
/// # Errors
/// As [`Host::ensure_default`].
pub fn reload(profile: Option<&str>) -> Result<()> {
    if profile != Some(DEFAULT) {
        return Ok(());
    }
    let host = Host::default();
    match host.is_loaded(DEFAULT) {
        Ok(false) => host.ensure_default(),
        // A list that is out of reach says nothing of the profile: who is about to come under it finds out.
        Ok(true) | Err(_) => Ok(()),
    }
}

/// Puts the calling thread under a profile at its next execve. `procfs` is the root of a private procfs.
///
/// [`UNCONFINED`] takes off what confines the caller; where the kernel has no AppArmor there is nothing to take off.
///
/// # Errors
/// `not-found` if the profile is not loaded or the kernel lacks AppArmor; any error must abort the start.
pub fn confine(procfs: BorrowedFd<'_>, name: &str) -> Result<()> {
    change(procfs, "exec", "exec", name)
}

/// Puts the calling thread under a profile at once, as [`confine`] does later.
///
/// # Errors
/// As those of [`confine`].
pub fn confine_now(procfs: BorrowedFd<'_>, name: &str) -> Result<()> {
    change(procfs, "current", "changeprofile", name)
}

fn change(procfs: BorrowedFd<'_>, attribute: &str, command: &str, name: &str) -> Result<()> {
    let own = format!("apparmor/{attribute}");
    match attributes::write(procfs, &[own.as_str()], &format!("{command} {name}")) {
        // No such attribute, or (EINVAL) that of a module which the kernel has, but off: nothing confines the caller.
        Err(e)
            if name == UNCONFINED
                && (e.kind == Kind::NotFound || e.errno == Some(libc::EINVAL)) =>
        {
            Ok(())
        }
        result => {
            result.map_err(|e| Error::new(e.kind, "apply AppArmor profile", name, e.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    /// A host made of files, with a parser that is a script.
    fn host(name: &str, script: Option<&str>) -> (PathBuf, Host) {
        let root =
            std::env::temp_dir().join(format!("minidock-apparmor-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("enabled"), "Y\n").unwrap();
        std::fs::write(
            root.join("profiles"),
            "docker-default (enforce)\na (b) (complain)\n",
        )
        .unwrap();
        let parser = root.join("parser");
        if let Some(script) = script {
            std::fs::write(
                &parser,
                format!("#!/bin/sh\ncd {}\n{script}\n", root.display()),
            )
            .unwrap();
            std::fs::set_permissions(&parser, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let host = Host {
            enabled: root.join("enabled"),
            profiles: root.join("profiles"),
            includes: root.join("etc"),
            parsers: vec![root.join("absent"), parser],
        };
        (root, host)
    }

    #[test]
    fn loaded_profiles_are_found_by_their_whole_name() {
        let (root, host) = host("names", None);
        assert!(host.is_on() && host.is_enabled());
        assert!(host.is_loaded("docker-default").unwrap() && host.is_loaded("a (b)").unwrap());
        assert!(!host.is_loaded("docker").unwrap() && !host.is_loaded("a").unwrap());
        for error in [host.ensure_default(), host.check_default()] {
            assert_eq!(error.unwrap_err().kind, Kind::Unsupported);
        }
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn parser_gets_the_profile_and_its_complaint_is_told() {
        let (root, good) = host("good", Some("echo \"$@\" > args; cat > text"));
        good.check_default().unwrap();
        assert!(!root.join("args").exists(), "a look runs no parser");
        good.ensure_default().unwrap();
        assert_eq!(
            std::fs::read_to_string(root.join("text")).unwrap(),
            profile(DEFAULT, false)
        );
        assert_eq!(
            std::fs::read_to_string(root.join("args")).unwrap(),
            "--skip-cache --replace\n"
        );
        std::fs::remove_dir_all(root).unwrap();
        let (root, bad) = host("bad", Some("echo 'syntax error, line 3' >&2; exit 1"));
        let text = bad.ensure_default().unwrap_err().to_string();
        assert_eq!(
            text,
            "load AppArmor profile minidock-default: syntax error, line 3"
        );
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_real_parser_takes_it() {
        let real = Host::default();
        let parser = real.parsers.iter().find(|path| path.is_file());
        let parser = parser.expect("apparmor_parser: apt-get install apparmor");
        for text in [real.default_profile(), profile(DEFAULT, false)] {
            let mut child = Command::new(parser)
                .args(["--skip-kernel-load", "--skip-cache"])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
            assert!(child.wait().unwrap().success(), "{text}");
        }
    }

    #[test]
    fn loaded_default_needs_no_parser() {
        let (root, host) = host("loaded", None);
        std::fs::write(root.join("profiles"), "minidock-default (enforce)\n").unwrap();
        host.ensure_default().unwrap();
        host.check_default().unwrap();
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn profiles_out_of_reach() {
        let (root, mut host) = host("hidden", None);
        host.profiles = root.join("unmounted/profiles");
        assert!(host.is_on() && !host.is_enabled());
        assert_eq!(host.ensure_default().unwrap_err().kind, Kind::NotFound);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn other_profiles_are_not_looked_for_again() {
        for other in [None, Some(""), Some(UNCONFINED), Some("mine")] {
            reload(other).unwrap();
        }
        if !Host::default().is_enabled() {
            reload(Some(DEFAULT)).unwrap();
        }
    }

    #[test]
    fn kernel_without_apparmor_refuses_a_profile_but_not_its_absence() {
        if Host::default().is_enabled() {
            return;
        }
        let procfs = std::fs::File::open("/proc").unwrap();
        confine(procfs.as_fd(), UNCONFINED).unwrap();
        confine_now(procfs.as_fd(), UNCONFINED).unwrap();
        for confine in [confine, confine_now] {
            let error = confine(procfs.as_fd(), "mine").unwrap_err();
            // A kernel that has the module, but off, has the attribute.
            assert!(
                [Kind::NotFound, Kind::from_errno(libc::EINVAL)].contains(&error.kind),
                "{error:?}"
            );
            assert!(
                error
                    .to_string()
                    .starts_with("apply AppArmor profile mine: "),
                "{error}"
            );
        }
    }

    #[test]
    fn host_without_apparmor() {
        let (root, host) = host("none", None);
        std::fs::remove_file(root.join("enabled")).unwrap();
        assert!(!host.is_on() && !host.is_enabled());
        std::fs::remove_dir_all(root).unwrap();
    }
}
