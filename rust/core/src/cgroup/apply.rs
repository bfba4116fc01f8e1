//! Carrying out a plan on a real group.
use std::os::fd::AsFd;

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use super::controller::{Controller, Version};
use super::devices::{Rule, program, v1};
use super::file;
use super::group::Cgroup;
use super::resources::{self, Features, Missing, Options, Plan, Warning, Write};
use crate::sys::bpf;
use crate::{Context, Error, Kind, Result};

impl Features for Cgroup {
    fn version(&self, controller: Controller) -> Option<Version> {
        self.dir(controller).map(|(_, version)| version)
    }

    fn has(&self, controller: Controller, file: &str) -> bool {
        self.dir(controller)
            .is_some_and(|(dir, _)| accessat(dir, file, Access::EXISTS, AtFlags::empty()).is_ok())
    }

    fn read(&self, controller: Controller, file: &str) -> Option<String> {
        self.dir(controller)
            .and_then(|(dir, _)| file::read(dir, file).ok())
    }

    fn available(&self, name: &str) -> Option<String> {
        let hierarchy = self.hierarchies().get(Controller::Cpuset)?;
        let above = match self.path().as_str().rsplit_once('/') {
            Some((above, _)) => hierarchy.mountpoint.join(above),
            None => hierarchy.mountpoint.clone(),
        };
        match hierarchy.version {
            Version::V1 => file::read(CWD, above.join(name)).ok(),
            Version::V2 => file::read(CWD, above.join(format!("{name}.effective"))).ok(),
        }
    }
}

impl Cgroup {
    /// Sets the limits of a new group of a container, Docker's way ([`Options::START`]). Call it before a process joins.
    ///
    /// # Errors
    /// As [`Cgroup::apply_with`].
    pub fn apply(&self, resources: &LinuxResources) -> Result<Vec<Warning>> {
        self.apply_with(resources, Options::START)
    }

    /// Sets the limits that `resources` names, and leaves the others as they are.
    ///
    /// # Errors
    /// `invalid` for a value that makes no sense, on this host too (a CPU that it lacks); `unsupported` for a limit that
    /// it cannot enforce; `busy` for a memory limit below what is in use; that of a failed write, with file and value.
    /// Nothing is written if planning fails; what was written before a failed write stays.
    pub fn apply_with(&self, resources: &LinuxResources, options: Options) -> Result<Vec<Warning>> {
        self.enable_for(resources)?;
        let plan = resources::plan(resources, self, options);
        self.execute(plan, options)
    }

    /// Carries out a plan; see [`Cgroup::apply_with`].
    ///
    /// # Errors
    /// As [`Cgroup::apply_with`].
    pub fn execute(&self, mut plan: Plan, options: Options) -> Result<Vec<Warning>> {
        if let Some(error) = plan.errors.into_iter().next() {
            return Err(error);
        }
        if let Some(rules) = &plan.devices {
            self.apply_devices(rules, options)?;
        }
        for write in &plan.writes {
            if let Some(warning) = self.write(write, options)? {
                plan.warnings.push(warning);
            }
        }
        Ok(plan.warnings)
    }

    /// Switches on the version 2 controllers that few containers need.
    fn enable_for(&self, resources: &LinuxResources) -> Result<()> {
        let Some(at) = self.hierarchies().v2() else {
            return Ok(());
        };
        let hierarchy = &self.hierarchies().list()[at];
        let mut wanted = Vec::new();
        if resources
            .hugepage_limits()
            .as_ref()
            .is_some_and(|l| !l.is_empty())
        {
            wanted.push(Controller::Hugetlb);
        }
        if resources.rdma().as_ref().is_some_and(|r| !r.is_empty()) {
            wanted.push(Controller::Rdma);
        }
        for key in resources.unified().iter().flat_map(|u| u.keys()) {
            wanted.extend(
                key.split_once('.')
                    .and_then(|(name, _)| Controller::from_name(name, Version::V2)),
            );
        }
        wanted.retain(|c| hierarchy.controllers.contains(c));
        match self.v2() {
            Some(dir) if !wanted.is_empty() => self.enable(hierarchy, dir, &wanted),
            _ => Ok(()),
        }
    }

    fn write(&self, write: &Write, options: Options) -> Result<Option<Warning>> {
        let Some((dir, version)) = self.dir(write.controller) else {
            let why = format!(
                "no cgroup hierarchy has the {} controller",
                write.controller.name(Version::V1)
            );
            return Err(Error::new(Kind::Unsupported, "set", write.limit, why));
        };
        let Err(errno) = file::write(dir, write.file.as_ref(), &write.value) else {
            return Ok(None);
        };
        let hierarchy = self
            .hierarchies()
            .get(write.controller)
            .map(|h| h.mountpoint.display().to_string())
            .unwrap_or_default();
        let path = format!("{hierarchy}/{}/{}", self.path().as_str(), write.file);
        if write.droppable
            && matches!(errno, Errno::OPNOTSUPP | Errno::NODEV)
            && options.missing == Missing::Warn
        {
            let why = format!(
                "the device does not take {:?} (its I/O scheduler must be bfq); the limit was dropped",
                write.value
            );
            return Ok(Some(Warning {
                limit: write.limit.to_owned(),
                file: write.file.to_string(),
                why,
            }));
        }
        let subject = format!("{} (write {:?} to {path})", write.limit, write.value);
        let why = match (errno, write.controller) {
            (Errno::BUSY, Controller::Memory) => {
                let usage = if version == Version::V1 {
                    "memory.usage_in_bytes"
                } else {
                    "memory.current"
                };
                let usage = file::read(dir, usage).unwrap_or_default();
                return Err(Error::new(
                    Kind::Busy,
                    "set",
                    subject,
                    format!("{} bytes are in use and cannot be freed", usage.trim()),
                ));
            }
            (Errno::INVAL, Controller::Memory) => {
                "the limit of memory and swap together must not be below the memory limit; set both"
            }
            (Errno::INVAL, Controller::Cpu) => {
                "out of the kernel's range (quota at least 1000 µs, period 1000 to 1000000 µs), or more than the group above has"
            }
            (Errno::INVAL | Errno::ACCESS, Controller::Cpuset) => {
                "the group above does not have all of these"
            }
            (Errno::NODEV | Errno::NXIO, Controller::Blkio) => {
                "no such disk (a partition cannot be limited, only its whole disk)"
            }
            (Errno::OPNOTSUPP, Controller::Blkio) => "the disk's I/O scheduler must be bfq",
            (Errno::NODEV, Controller::NetPrio) => "no such network interface",
            _ => return Err(Error::errno("set", subject, errno.raw_os_error())),
        };
        let kind = if errno == Errno::OPNOTSUPP {
            Kind::Unsupported
        } else {
            Kind::Invalid
        };
        let mut error = Error::new(kind, "set", subject, why);
        error.errno = Some(errno.raw_os_error());
        Err(error)
    }

    /// Puts device rules in place: lists in version 1, a program in version 2.
    fn apply_devices(&self, rules: &[Rule], options: Options) -> Result<()> {
        if let Some((dir, Version::V1)) = self.dir(Controller::Devices) {
            let list = v1::List::from_rules(rules)?;
            let writes: Vec<_> = if options.update {
                let present = file::read(dir, "devices.list").context("read", || {
                    format!("devices.list of {}", self.path().as_str())
                })?;
                let present = v1::List::parse(&present).unwrap_or(v1::List {
                    allow: true,
                    exceptions: Default::default(),
                });
                list.changes_from(&present)
            } else {
                list.writes().collect()
            };
            let mut open = None;
            for (name, value) in &writes {
                let context = || format!("{value:?} to {name} of {}", self.path().as_str());
                if open.as_ref().is_none_or(|(opened, _)| opened != name) {
                    open = Some((
                        *name,
                        file::open_write(dir, *name).context("write device rule", context)?,
                    ));
                }
                if let Some((_, fd)) = &open {
                    rustix::io::write(fd, value.as_bytes())
                        .context("write device rule", context)?;
                }
            }
            return Ok(());
        }
        let Some(dir) = self.v2() else {
            let why = format!(
                "no cgroup hierarchy has the devices controller ({})",
                Controller::Devices.config_option()
            );
            return Err(Error::new(
                Kind::Unsupported,
                "restrict devices of cgroup",
                self.path().as_str(),
                why,
            ));
        };
        // bpf(2) takes no O_PATH descriptor.
        let dir = file::open_dir_read(dir).context("open", || self.path().as_str())?;
        attach_program(dir.as_fd(), rules).map_err(|(op, errno)| {
            if matches!(errno, Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) {
                let why = "this kernel has no device programs for cgroups (CONFIG_CGROUP_BPF, Linux 4.15)";
                Error::new(Kind::Unsupported, op, self.path().as_str(), why)
            } else {
                Error::errno(op, self.path().as_str(), errno.raw_os_error())
            }
        })
    }
}

/// Loads the program for `rules` and attaches it in place of those that the group has. Every attached program must allow
/// an access, so between two steps there is never more allowed than before or after.
pub(super) fn attach_program(
    group: std::os::fd::BorrowedFd<'_>,
    rules: &[Rule],
) -> std::result::Result<(), (&'static str, Errno)> {
    let program = bpf::load_device_program(&program::compile(rules))
        .map_err(|e| ("load device program for cgroup", e))?;
    let attach = |e| ("attach device program to cgroup", e);
    let old = bpf::device_programs(group).map_err(attach)?;
    if let [only] = old.as_slice() {
        // One step; needs Linux 5.6.
        if bpf::attach_device_program(group, program.as_fd(), Some(only.as_fd())).is_ok() {
            return Ok(());
        }
    }
    bpf::attach_device_program(group, program.as_fd(), None).map_err(attach)?;
    for one in &old {
        bpf::detach_device_program(group, one.as_fd())
            .map_err(|e| ("detach device program from cgroup", e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;
    use std::time::Duration;

    use super::super::Hierarchies;
    use super::super::devices::{ALL, DeviceKind, READ};
    use super::*;

    /// The eBPF program on this host's version 2 hierarchy, whatever controls its devices otherwise; as root.
    #[test]
    fn device_program_decides() {
        let Ok(hierarchies) = Hierarchies::detect() else {
            return;
        };
        let Some(v2) = hierarchies.v2().map(|at| hierarchies.list()[at].clone()) else {
            return;
        };
        let only = Hierarchies::from_parts(vec![super::super::Hierarchy {
            controllers: Vec::new(),
            ..v2.clone()
        }]);
        let mut group =
            Cgroup::new(&only, &format!("minidock-test-{}-bpf", std::process::id())).unwrap();
        if let Err(e) = group.create() {
            eprintln!("skipped: no cgroup can be made here ({e}); run as root");
            return;
        }
        let dir = file::open_dir_read(group.v2().unwrap()).unwrap();
        let procs = v2
            .mountpoint
            .join(group.path().as_str())
            .join("cgroup.procs");
        let read = |device: &str| {
            let script = format!(
                "echo $$ > {} && head -c 1 {device} > /dev/null",
                procs.display()
            );
            Command::new("sh")
                .args(["-c", &script])
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap()
                .success()
        };
        let null = Rule {
            allow: true,
            kind: Some(DeviceKind::Char),
            major: Some(1),
            minor: Some(3),
            access: ALL,
        };
        let zero = Rule {
            minor: Some(5),
            access: READ,
            ..null
        };
        let everything = Rule {
            allow: true,
            kind: None,
            major: None,
            minor: None,
            access: ALL,
        };
        let mut seen = Vec::new();
        for rules in [
            vec![null],
            vec![null, zero],
            vec![everything],
            vec![
                everything,
                Rule {
                    allow: false,
                    ..zero
                },
            ],
        ] {
            let outcome = attach_program(dir.as_fd(), &rules);
            seen.push(outcome.map(|()| {
                (
                    read("/dev/null"),
                    read("/dev/zero"),
                    bpf::device_programs(dir.as_fd()).unwrap().len(),
                )
            }));
        }
        group.remove(Duration::from_secs(5)).unwrap();
        if matches!(seen[0], Err((_, Errno::PERM | Errno::NOSYS))) {
            eprintln!("skipped: no right to load programs here");
            return;
        }
        assert_eq!(
            seen,
            [
                (true, false, 1),
                (true, true, 1),
                (true, true, 1),
                (true, false, 1)
            ]
            .map(Ok)
        );
    }
}
