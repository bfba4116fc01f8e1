//! Groups on trees of ordinary files: what is written where, without a kernel that agrees.
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Cgroup, Controller, Hierarchies, Hierarchy, Mode, Version};
use crate::Kind;

/// A directory that is removed at the end.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let root =
            std::env::temp_dir().join(format!("minidock-fake-{}-{name}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Self(root)
    }

    /// Makes files, and the directories above them, with content.
    fn files(&self, list: &[(&str, &str)]) -> &Self {
        for (path, content) in list {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        self
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap()
    }

    fn hierarchy(&self, version: Version, below: &str, controllers: &[Controller]) -> Hierarchy {
        Hierarchy {
            version,
            mountpoint: Path::new(&self.0).join(below),
            controllers: controllers.to_vec(),
            name: None,
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn version_2_switches_controllers_on_down_the_path() {
    let tree = Tree::new("v2");
    tree.files(&[
        ("cgroup.subtree_control", "cpu"),
        ("a/cgroup.subtree_control", ""),
        ("a/b/cgroup.controllers", ""),
        ("a/b/cgroup.procs", ""),
        ("a/b/cgroup.freeze", ""),
        ("a/b/memory.max", "max"),
        ("a/b/memory.swap.max", "max"),
        ("a/b/cpu.weight", "100"),
    ]);
    let all = [Controller::Cpu, Controller::Memory];
    let hierarchies = Hierarchies::from_parts(vec![tree.hierarchy(Version::V2, "", &all)]);
    assert_eq!(hierarchies.mode(), Mode::V2);
    let mut group = Cgroup::new(&hierarchies, "/a/b").unwrap();
    group.create().unwrap();
    assert_eq!(tree.read("cgroup.subtree_control"), "+memory");
    assert_eq!(tree.read("a/cgroup.subtree_control"), "+cpu +memory");
    let resources = json!({"memory": {"limit": 4096, "swap": 4096}, "cpu": {"shares": 2}, "pids": {"limit": 5}});
    let warnings = group
        .apply(&serde_json::from_value(resources).unwrap())
        .unwrap();
    assert_eq!(tree.read("a/b/memory.max"), "4096");
    assert_eq!(tree.read("a/b/memory.swap.max"), "0ax");
    assert_eq!(tree.read("a/b/cpu.weight"), "100");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].to_string().contains("pids.max"),
        "{}",
        warnings[0]
    );
    assert!(group.v2_dir().unwrap().is_some() && group.join_files().unwrap().is_empty());
}

#[test]
fn version_1_cpusets_start_with_their_parents_cpus() {
    let tree = Tree::new("v1");
    tree.files(&[
        ("cpuset/cpuset.cpus", "0-3\n"),
        ("cpuset/cpuset.mems", "0\n"),
        ("cpuset/a/cpuset.cpus", "\n"),
        ("cpuset/a/cpuset.mems", ""),
        ("cpuset/a/b/cpuset.cpus", ""),
        ("cpuset/a/b/cpuset.mems", ""),
        ("cpuset/a/b/cgroup.procs", ""),
        ("cpuset/a/b/tasks", ""),
        ("pids/a/b/cgroup.procs", ""),
        ("pids/a/b/tasks", ""),
    ]);
    let parts = vec![
        tree.hierarchy(Version::V1, "cpuset", &[Controller::Cpuset]),
        tree.hierarchy(Version::V1, "pids", &[Controller::Pids]),
    ];
    let hierarchies = Hierarchies::from_parts(parts);
    let mut group = Cgroup::new(&hierarchies, "a/b").unwrap();
    group.create().unwrap();
    for dir in ["a", "a/b"] {
        assert_eq!(
            tree.read(&format!("cpuset/{dir}/cpuset.cpus")).trim(),
            "0-3"
        );
        assert_eq!(tree.read(&format!("cpuset/{dir}/cpuset.mems")), "0");
    }
    assert_eq!(group.join_files().unwrap().len(), 2);
    assert!(group.v2_dir().unwrap().is_none());
}

#[test]
fn hybrid_takes_each_controller_where_it_is() {
    let tree = Tree::new("hybrid");
    tree.files(&[
        ("memory/a/cgroup.procs", ""),
        ("memory/a/memory.limit_in_bytes", ""),
        ("unified/cgroup.subtree_control", ""),
        ("unified/a/cgroup.controllers", ""),
        ("unified/a/cgroup.procs", ""),
        ("unified/a/cgroup.freeze", ""),
        ("unified/a/hugetlb.2MB.max", ""),
    ]);
    let parts = vec![
        tree.hierarchy(Version::V1, "memory", &[Controller::Memory]),
        tree.hierarchy(Version::V2, "unified", &[Controller::Hugetlb]),
    ];
    let hierarchies = Hierarchies::from_parts(parts);
    let mut group = Cgroup::new(&hierarchies, "a").unwrap();
    group.create().unwrap();
    assert_eq!(
        tree.read("unified/cgroup.subtree_control"),
        "",
        "nothing needs the controller yet"
    );
    let resources =
        json!({"memory": {"limit": 4096}, "hugepageLimits": [{"pageSize": "2MB", "limit": 7}]});
    assert_eq!(
        group
            .apply(&serde_json::from_value(resources).unwrap())
            .unwrap(),
        []
    );
    assert_eq!(tree.read("unified/cgroup.subtree_control"), "+hugetlb");
    assert_eq!(tree.read("unified/a/hugetlb.2MB.max"), "7");
    assert_eq!(tree.read("memory/a/memory.limit_in_bytes"), "4096");
}

#[test]
fn one_odd_controller_in_version_1_does_not_hide_version_2() {
    let tree = Tree::new("odd");
    tree.files(&[
        ("net_cls/a/cgroup.procs", ""),
        ("v2/cgroup.subtree_control", ""),
        ("v2/a/cgroup.controllers", ""),
        ("v2/a/cgroup.procs", ""),
        ("v2/a/cgroup.freeze", ""),
    ]);
    let parts = vec![
        tree.hierarchy(Version::V1, "net_cls", &[Controller::NetCls]),
        tree.hierarchy(
            Version::V2,
            "v2",
            &[Controller::Memory, Controller::Pids, Controller::Misc],
        ),
    ];
    let hierarchies = Hierarchies::from_parts(parts);
    Cgroup::new(&hierarchies, "a").unwrap().create().unwrap();
    assert_eq!(tree.read("v2/cgroup.subtree_control"), "+memory +pids");
    let found = hierarchies.capabilities();
    assert_eq!(
        (found.mode, found.version, found.devices),
        ("hybrid", "2", true)
    );
}

#[test]
fn what_was_made_is_taken_back_on_failure() {
    let tree = Tree::new("undo");
    tree.files(&[("pids/x", ""), ("memory/a", "a file in the way")]);
    let parts = vec![
        tree.hierarchy(Version::V1, "pids", &[Controller::Pids]),
        tree.hierarchy(Version::V1, "memory", &[Controller::Memory]),
    ];
    let mut group = Cgroup::new(&Hierarchies::from_parts(parts), "a").unwrap();
    let error = group.create().unwrap_err();
    assert!(error.to_string().contains("memory/a"), "{error}");
    assert!(!tree.0.join("pids/a").exists());
    assert!(group.join_files().unwrap().is_empty());
}

#[test]
fn a_group_in_use_is_not_taken() {
    let tree = Tree::new("used");
    tree.files(&[
        ("pids/a/cgroup.procs", ""),
        ("pids/a/b/cgroup.procs", "17\n"),
    ]);
    let parts = vec![tree.hierarchy(Version::V1, "pids", &[Controller::Pids])];
    let mut group = Cgroup::new(&Hierarchies::from_parts(parts), "a").unwrap();
    assert_eq!(group.create().unwrap_err().kind, Kind::Conflict);
    assert!(tree.0.join("pids/a").exists());
}
