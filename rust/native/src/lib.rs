//! `minidock._native`: argument checks, release of the GIL and error mapping around `minidock-core`.
use pyo3::prelude::*;

mod archive;
mod cgroup;
mod error;
mod events;
mod exec;
mod security;
mod snapshot;

mod layer;
mod log;
mod network;
mod spool;

mod helper;
mod memory;
mod supervisor;
mod survey;
mod systemd;
mod terminal;
mod tree;
mod volume;

#[pymodule]
mod _native {
    use super::{Bound, PyModule, PyResult};
    use pyo3::types::{PyAnyMethods, PyModuleMethods};

    // Files of containers.
    #[pymodule_export]
    use super::archive::{ContainerTree, tree_changes};
    #[pymodule_export]
    use super::cgroup::{
        cgroup_apply, cgroup_freeze, cgroup_frozen, cgroup_host, cgroup_kill, cgroup_processes,
        cgroup_remove, cgroup_stats, cgroup_thaw, container_samples,
    };
    #[pymodule_export]
    use super::log::LogReader;
    #[pymodule_export]
    use super::security::{
        apparmor_enabled, apparmor_ensure, seccomp_compile, selinux_check_relabel, selinux_enabled,
        selinux_labels, selinux_relabel,
    };
    #[pymodule_export]
    use super::snapshot::{OverlayMount, probe_overlay, unmount};

    // The helper and the supervisors that it becomes.
    #[pymodule_export]
    use super::exec::{exec_captured, exec_spawn};
    #[pymodule_export]
    use super::helper::{HelperFile, open_helper};
    #[pymodule_export]
    use super::supervisor::{Supervisor, run_captured};
    #[pymodule_export]
    use super::survey::survey;
    #[pymodule_export]
    use super::systemd::Scope;
    // Networks of the host.
    #[pymodule_export]
    use super::network::{
        firewall_ensure, firewall_others, firewall_problems, network_ensure, networks_remove,
    };
    // What happened.
    #[pymodule_export]
    use super::events::{EventReader, event_append};
    // Layers and directory trees.
    #[pymodule_export]
    use super::layer::{
        LayerResult, Progress, TarResult, compress_layer, digest_file, keep_tree, reassemble_layer,
        tar_tree, unpack_layer,
    };
    #[pymodule_export]
    use super::spool::Spool;
    #[pymodule_export]
    use super::tree::{copy_tree, remove_tree};
    // Volumes.
    #[pymodule_export]
    use super::memory::share_heap;
    #[pymodule_export]
    use super::volume::{quota_set, volume_fill, volume_mount, volume_unmount};
    // The user's terminal.
    #[pymodule_export]
    use super::terminal::{RawMode, raw_mode, window_size};

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add(
            "NativeError",
            m.py().get_type::<super::error::NativeError>(),
        )?;
        m.add("SECCOMP_COMPILER", super::security::SECCOMP_COMPILER)?;

        m.add(
            "SupervisorGone",
            m.py().get_type::<super::error::SupervisorGone>(),
        )?;
        m.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // pyo3 writes one; nobody imports `*` from here, and the stub is the list.
        m.delattr("__all__")
    }
}
