//! From `linux.resources` of a runtime-spec document to writes into files of a group; pure.
//!
//! The spec speaks the language of version 1. Version 2 gets the conversions that runc documents, so that a limit
//! means the same on both.
mod blkio;
mod cpu;
mod memory;
mod other;

#[cfg(test)]
mod tests;

pub use blkio::to_io_weight;
pub use cpu::shares_to_weight;

use std::borrow::Cow;
use std::fmt;

use oci_spec::runtime::LinuxResources;

use super::controller::{Controller, Version};
use super::devices::{self, Rule};
use crate::{Error, Kind};

/// What planning must know of a group. Implemented by the real group, and by tables in tests.
pub trait Features {
    /// Version of the controller here; None if it is not mounted.
    fn version(&self, controller: Controller) -> Option<Version>;
    /// Whether the group has this file.
    fn has(&self, controller: Controller, file: &str) -> bool;
    /// Present content of a file of the group; asked only for an update.
    fn read(&self, controller: Controller, file: &str) -> Option<String>;
    /// CPUs (`cpuset.cpus`) or nodes (`cpuset.mems`) that the group above has.
    fn available(&self, file: &str) -> Option<String>;
}

/// What becomes of a limit that this host cannot enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// As Docker: most are dropped with a warning, a few are errors.
    Warn,
    /// As the runtime-spec demands: every one is an error.
    Refuse,
}

/// How to plan.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What becomes of a limit that this host cannot enforce.
    pub missing: Missing,
    /// The group is in use and has limits: what is there is read where the order of writes depends on it.
    pub update: bool,
}

impl Options {
    /// A new group of a container, Docker's way.
    pub const START: Self = Self {
        missing: Missing::Warn,
        update: false,
    };
}

/// A limit that was dropped or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The limit, in words.
    pub limit: String,
    /// The file that is missing or refused.
    pub file: String,
    /// Why, and what was done instead.
    pub why: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.limit, self.file, self.why)
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Whose hierarchy.
    pub controller: Controller,
    /// Name of the file in the group's directory.
    pub file: Cow<'static, str>,
    /// What is written, with one system call.
    pub value: String,
    /// The limit in words, for messages.
    pub limit: &'static str,
    /// EOPNOTSUPP and ENODEV drop the limit with a warning, as far as [`Missing`] allows it.
    pub droppable: bool,
}

/// What to do, in order: devices first, then the writes.
#[derive(Debug, Default)]
pub struct Plan {
    /// Files to write.
    pub writes: Vec<Write>,
    /// The device rules; None leaves devices alone.
    pub devices: Option<Vec<Rule>>,
    /// What was dropped.
    pub warnings: Vec<Warning>,
    /// What cannot be done; if there is one, nothing must be written.
    pub errors: Vec<Error>,
    /// Version 2 controllers that the writes need.
    pub needs: Vec<Controller>,
}

/// Plans the writes for `resources` on a group with `features`. Touches nothing but through `features`.
#[must_use]
pub fn plan(resources: &LinuxResources, features: &dyn Features, options: Options) -> Plan {
    let mut planner = Planner {
        features,
        options,
        plan: Plan::default(),
    };
    if let Some(rules) = resources.devices().as_deref().filter(|r| !r.is_empty()) {
        match devices::rules(rules) {
            Ok(rules) => planner.plan.devices = Some(rules),
            Err(e) => planner.plan.errors.push(e),
        }
    }
    if let Some(memory) = resources.memory() {
        memory::plan(&mut planner, memory);
    }
    if let Some(cpu) = resources.cpu() {
        cpu::plan(&mut planner, cpu);
    }
    if let Some(pids) = resources.pids() {
        other::pids(&mut planner, *pids);
    }
    if let Some(block_io) = resources.block_io() {
        blkio::plan(&mut planner, block_io);
    }
    other::hugetlb(
        &mut planner,
        resources.hugepage_limits().as_deref().unwrap_or_default(),
    );
    if let Some(network) = resources.network() {
        other::network(&mut planner, network);
    }
    if let Some(rdma) = resources.rdma() {
        other::rdma(&mut planner, rdma);
    }
    if let Some(unified) = resources.unified() {
        other::unified(&mut planner, unified);
    }
    planner.plan
}

/// The plan in the making.
struct Planner<'a> {
    features: &'a dyn Features,
    options: Options,
    plan: Plan,
}

impl Planner<'_> {
    fn version(&self, controller: Controller) -> Version {
        self.features.version(controller).unwrap_or(Version::V1)
    }

    fn has(&self, controller: Controller, file: &str) -> bool {
        self.features.version(controller).is_some() && self.features.has(controller, file)
    }

    /// Plans a write of a file known to exist.
    fn put(
        &mut self,
        limit: &'static str,
        controller: Controller,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) {
        let write = Write {
            controller,
            file: file.into(),
            value: value.to_string(),
            limit,
            droppable: false,
        };
        self.plan.writes.push(write);
        if !self.plan.needs.contains(&controller)
            && self.features.version(controller) == Some(Version::V2)
        {
            self.plan.needs.push(controller);
        }
    }

    /// Plans a write, or drops the limit if the file is missing. Tells whether it was planned.
    fn write(
        &mut self,
        limit: &'static str,
        controller: Controller,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) -> bool {
        let file = file.into();
        let there = self.has(controller, &file);
        if there {
            self.put(limit, controller, file, value);
        } else {
            self.missing(limit, controller, &file, "the limit was dropped");
        }
        there
    }

    /// A limit that this host cannot enforce.
    fn missing(
        &mut self,
        limit: &'static str,
        controller: Controller,
        file: &str,
        consequence: &str,
    ) {
        let why = match self.features.version(controller) {
            None => {
                let name = controller.name(Version::V1);
                format!(
                    "no cgroup hierarchy has the {name} controller ({}, cgroup_disable=)",
                    controller.config_option()
                )
            }
            Some(_) => "this kernel's cgroups have no such file".to_owned(),
        };
        self.unenforceable(limit, file, &why, consequence);
    }

    /// A limit that this host cannot enforce, for a reason of its own.
    fn unenforceable(&mut self, limit: &'static str, file: &str, why: &str, consequence: &str) {
        match self.options.missing {
            Missing::Warn => {
                self.plan.warnings.push(Warning {
                    limit: limit.to_owned(),
                    file: file.to_owned(),
                    why: format!("{why}; {consequence}"),
                });
            }
            Missing::Refuse => self.plan.errors.push(Error::new(
                Kind::Unsupported,
                "set",
                format!("{limit} ({file})"),
                why,
            )),
        }
    }

    fn invalid(&mut self, limit: &str, value: impl fmt::Display, why: &str) {
        self.plan.errors.push(Error::new(
            Kind::Invalid,
            "set",
            format!("{limit} to {value}"),
            why,
        ));
    }
}
