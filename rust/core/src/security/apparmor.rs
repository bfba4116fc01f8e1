//! AppArmor: the default profile, loading it, confining a process (apparmor(7)).
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    /// Whether the kernel enforces AppArmor, and its profiles can be reached: in a container without securityfs they cannot,
    /// and whoever runs there is confined by the container's own.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        std::fs::read(&self.enabled).is_ok_and(|text| text.starts_with(b"Y"))
            && self.profiles.parent().is_some_and(Path::is_dir)
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
        let Some(parser) = self.parsers.iter().find(|path| path.is_file()) else {
            let why = "it is not loaded and the host has no apparmor_parser: install apparmor, or run with \
                       --security-opt apparmor=unconfined";
            return Err(Error::new(
                Kind::Unsupported,
                "use AppArmor profile",
                DEFAULT,
                why,
            ));
        };
        self.load(parser, &self.default_profile())
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

/// Puts the calling thread under a profile at its next execve. `procfs` is the root of a private procfs.
///
/// [`UNCONFINED`] takes off what confines the caller; where the kernel has no AppArmor there is nothing to take off.
///
/// # Errors
/// `not-found` if the profile is not loaded or the kernel lacks AppArmor; any error must abort the start.
pub fn confine(procfs: BorrowedFd<'_>, name: &str) -> Result<()> {
    // Before Linux 5.8 there is no directory per module.
    let names: &[&str] = if Host::default().is_enabled() {
        &["apparmor/exec", "exec"]
    } else {
        &["apparmor/exec"]
    };
    match attributes::write(procfs, names, &format!("exec {name}")) {
        Err(e) if name == UNCONFINED && e.kind == Kind::NotFound => Ok(()),
        result => {
            result.map_err(|e| Error::new(e.kind, "apply AppArmor profile", name, e.to_string()))
        }
    }
}

/// The text of a container's profile (SECURITY.md section 4), in the parser's language (apparmor.d(5)).
fn profile(name: &str, with_base: bool) -> String {
    // The abstraction's rules name variables that the tunables define.
    let before = if with_base {
        "include <tunables/global>\n"
    } else {
        ""
    };
    let mut text =
        format!("{before}profile {name} flags=(attach_disconnected,mediate_deleted) {{\n");
    if with_base {
        text.push_str("  include <abstractions/base>\n");
    }
    text.push_str(
        "  network,\n  deny network alg,\n  capability,\n  file,\n  umount,\n  deny mount,\n",
    );
    // The engine and its helper are unconfined unless the host confines them under these names.
    for peer in [UNCONFINED, "minidock", "minidock-runtime"] {
        let _ = writeln!(text, "  signal (receive) peer={peer},");
    }
    let _ = writeln!(text, "  signal (send,receive) peer={name},");
    let _ = writeln!(text, "  ptrace (trace,read,tracedby,readby) peer={name},");
    text.push_str("  deny /proc/kcore rwklx,\n  deny /proc/sysrq-trigger rwklx,\n");
    // Writes below /proc: only in directories of processes and to sys/kernel/shm*.
    text.push_str("  deny /proc/* w,\n");
    for glob in outside("/proc/", "sys/kernel/shm", "0-9") {
        let _ = writeln!(text, "  deny {glob} w,");
    }
    for glob in outside("/sys/", "fs/cgroup/", "") {
        let _ = writeln!(text, "  deny {glob} wklx,");
    }
    for secret in [
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
        "/sys/kernel/security",
    ] {
        let _ = writeln!(text, "  deny {secret}/** rwklx,");
    }
    text.push_str("}\n");
    text
}

/// Globs that together match every path below `base` that does not begin with `base` + `prefix`, but for names whose first
/// character is in `but` (a range as in `[0-9]`). AppArmor has no "all but": they name the character where paths part.
fn outside(base: &str, prefix: &str, but: &str) -> Vec<String> {
    prefix
        .char_indices()
        .map(|(at, expected)| {
            let same = &prefix[..at];
            if at == 0 {
                return format!("{base}[^{but}{expected}]**");
            }
            // A class never matches a slash, so a directory with a shorter name needs its own alternative.
            match (expected, same.ends_with('/')) {
                ('/', _) => format!("{base}{same}[^/]**"),
                (_, true) => format!("{base}{same}[^{expected}]**"),
                (_, false) => format!("{base}{same}{{,/**,[^{expected}]**}}"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    /// Matches one of AppArmor's globs, those that `outside` and `profile` use.
    fn matches(glob: &str, path: &str) -> bool {
        if let Some(open) = glob.find('{') {
            let close = glob.find('}').expect("closed");
            return glob[open + 1..close].split(',').any(|part| {
                matches(
                    &format!("{}{part}{}", &glob[..open], &glob[close + 1..]),
                    path,
                )
            });
        }
        let Some(first) = glob.chars().next() else {
            return path.is_empty();
        };
        if let Some(rest) = glob.strip_prefix("**") {
            return (0..=path.len()).any(|n| path.is_char_boundary(n) && matches(rest, &path[n..]));
        }
        if first == '*' {
            let end = path.find('/').unwrap_or(path.len());
            return (0..=end).any(|n| matches(&glob[1..], &path[n..]));
        }
        let Some(c) = path.chars().next() else {
            return false;
        };
        if let Some(class) = glob.strip_prefix("[^") {
            let end = class.find(']').expect("closed");
            let held = class[..end].replace("0-9", "0123456789").contains(c) || c == '/';
            return !held && matches(&class[end + 1..], &path[1..]);
        }
        c == first && matches(&glob[1..], &path[1..])
    }

    /// Whether the profile's rules deny `right` on `path`.
    fn denied(path: &str, right: char) -> bool {
        profile(DEFAULT, true)
            .lines()
            .filter_map(|l| l.trim().strip_prefix("deny /"))
            .any(|rule| {
                let (glob, rights) = rule.trim_end_matches(',').rsplit_once(' ').expect("rights");
                rights.contains(right) && matches(&format!("/{glob}"), path)
            })
    }

    #[test]
    fn writes_in_proc_are_for_processes_and_shared_memory() {
        for path in [
            "/proc/1/attr/exec",
            "/proc/self/x",
            "/proc/42/task/42/comm",
            "/proc/sys/kernel/shmmax",
            "/proc/sys/kernel/shm_rmid_forced",
        ] {
            // A path through /proc/self reaches the kernel as that of the process.
            assert_eq!(denied(path, 'w'), path.starts_with("/proc/self"), "{path}");
        }
        for path in [
            "/proc/sysrq-trigger",
            "/proc/kcore",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/sh",
            "/proc/sys/kernel/s",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/vm/x",
            "/proc/sys/k/x",
            "/proc/sy/x",
            "/proc/scsi/scsi",
            "/proc/fs/x",
            "/proc/irq/1/smp_affinity",
            "/proc/acpi/x",
            "/proc/sys/fs/binfmt_misc/register",
            "/proc/sysvipc/x",
            "/proc/uptime",
        ] {
            assert!(denied(path, 'w'), "{path}");
        }
        assert!(!denied("/proc/sys/kernel/core_pattern", 'r'));
        assert!(denied("/proc/kcore", 'r') && denied("/proc/sysrq-trigger", 'r'));
    }

    #[test]
    fn writes_in_sys_are_for_cgroups() {
        assert!(!denied("/sys/fs/cgroup/pids/x/cgroup.procs", 'w'));
        for path in [
            "/sys/fs/cgroupx/y",
            "/sys/fs/cg/x",
            "/sys/fs/bpf/x",
            "/sys/f/x",
            "/sys/fsx",
            "/sys/kernel/uevent_helper",
            "/sys/power/state",
            "/sys/devices/system/cpu/cpu0/online",
            "/sys/module/x/parameters/y",
        ] {
            assert!(denied(path, 'w'), "{path}");
            assert!(!denied(path, 'r'), "{path}");
        }
        for path in [
            "/sys/firmware/efi/x",
            "/sys/devices/virtual/powercap/x/y",
            "/sys/kernel/security/apparmor/profiles",
        ] {
            assert!(denied(path, 'r') && denied(path, 'w'), "{path}");
        }
    }

    #[test]
    fn profile_holds_the_rules_of_section_4() {
        let text = profile(DEFAULT, false);
        for rule in [
            "network,",
            "deny network alg,",
            "capability,",
            "file,",
            "umount,",
            "deny mount,",
            "signal (receive) peer=unconfined,",
        ] {
            assert!(text.lines().any(|line| line.trim() == rule), "{rule}");
        }
        assert!(text.contains("ptrace (trace,read,tracedby,readby) peer=minidock-default,"));
        assert!(!text.contains("include"));
        let whole = profile(DEFAULT, true);
        assert!(whole.starts_with("include <tunables/global>\nprofile "));
        assert!(whole.contains("  include <abstractions/base>\n"));
    }

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
        assert!(host.is_enabled());
        assert!(host.is_loaded("docker-default").unwrap() && host.is_loaded("a (b)").unwrap());
        assert!(!host.is_loaded("docker").unwrap() && !host.is_loaded("a").unwrap());
        assert_eq!(host.ensure_default().unwrap_err().kind, Kind::Unsupported);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn parser_gets_the_profile_and_its_complaint_is_told() {
        let (root, good) = host("good", Some("echo \"$@\" > args; cat > text"));
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
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn kernel_without_apparmor_refuses_a_profile_but_not_its_absence() {
        if Host::default().is_enabled() {
            return;
        }
        let procfs = std::fs::File::open("/proc").unwrap();
        confine(procfs.as_fd(), UNCONFINED).unwrap();
        let error = confine(procfs.as_fd(), "mine").unwrap_err();
        assert_eq!(error.kind, Kind::NotFound);
        assert!(
            error
                .to_string()
                .starts_with("apply AppArmor profile mine: open security attribute"),
            "{error}"
        );
    }

    #[test]
    fn host_without_apparmor() {
        let (root, host) = host("none", None);
        std::fs::remove_file(root.join("enabled")).unwrap();
        assert!(!host.is_enabled());
        std::fs::remove_dir_all(root).unwrap();
    }
}
