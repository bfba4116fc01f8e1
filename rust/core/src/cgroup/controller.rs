//! The kernel's resource controllers and their names in each version.

/// A resource controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Controller {
    /// Block I/O: `blkio` in version 1, `io` in version 2.
    Blkio,
    /// CPU time.
    Cpu,
    /// CPU accounting; in version 2 part of every group.
    Cpuacct,
    /// CPUs and memory nodes.
    Cpuset,
    /// Device access; in version 2 an eBPF program.
    Devices,
    /// Freezer; in version 2 part of every group.
    Freezer,
    /// Huge pages.
    Hugetlb,
    /// Memory.
    Memory,
    /// Miscellaneous scalar resources.
    Misc,
    /// Class of network packets, version 1 only.
    NetCls,
    /// Priority of network packets, version 1 only.
    NetPrio,
    /// perf(1) by group.
    PerfEvent,
    /// Number of processes.
    Pids,
    /// RDMA handles.
    Rdma,
}

/// Version of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// One hierarchy per controller (or per few).
    V1,
    /// One hierarchy for all.
    V2,
}

impl Controller {
    /// Every controller.
    pub const ALL: [Self; 14] = [
        Self::Blkio,
        Self::Cpu,
        Self::Cpuacct,
        Self::Cpuset,
        Self::Devices,
        Self::Freezer,
        Self::Hugetlb,
        Self::Memory,
        Self::Misc,
        Self::NetCls,
        Self::NetPrio,
        Self::PerfEvent,
        Self::Pids,
        Self::Rdma,
    ];

    /// The kernel's name of the controller in `version`.
    #[must_use]
    pub fn name(self, version: Version) -> &'static str {
        match self {
            Self::Blkio if version == Version::V2 => "io",
            Self::Blkio => "blkio",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Cpuset => "cpuset",
            Self::Devices => "devices",
            Self::Freezer => "freezer",
            Self::Hugetlb => "hugetlb",
            Self::Memory => "memory",
            Self::Misc => "misc",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::PerfEvent => "perf_event",
            Self::Pids => "pids",
            Self::Rdma => "rdma",
        }
    }

    /// The controller of this name in `version`; None for one that minidock does not know.
    #[must_use]
    pub fn from_name(name: &str, version: Version) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name(version) == name)
    }

    /// The kernel's configuration option that brings the controller.
    #[must_use]
    pub fn config_option(self) -> &'static str {
        match self {
            Self::Blkio => "CONFIG_BLK_CGROUP",
            Self::Cpu => "CONFIG_CGROUP_SCHED",
            Self::Cpuacct => "CONFIG_CGROUP_CPUACCT",
            Self::Cpuset => "CONFIG_CPUSETS",
            Self::Devices => "CONFIG_CGROUP_DEVICE",
            Self::Freezer => "CONFIG_CGROUP_FREEZER",
            Self::Hugetlb => "CONFIG_CGROUP_HUGETLB",
            Self::Memory => "CONFIG_MEMCG",
            Self::Misc => "CONFIG_CGROUP_MISC",
            Self::NetCls => "CONFIG_CGROUP_NET_CLASSID",
            Self::NetPrio => "CONFIG_CGROUP_NET_PRIO",
            Self::PerfEvent => "CONFIG_CGROUP_PERF",
            Self::Pids => "CONFIG_CGROUP_PIDS",
            Self::Rdma => "CONFIG_CGROUP_RDMA",
        }
    }
}
