//! `minidock-runtime probe` on this host, whatever it is: complete, readable, leaving nothing behind.
use std::process::Command;

use minidock_core::probe::{Check, Status};

fn probe(command: &mut Command, root: &std::path::Path) -> Vec<Check> {
    let output = command
        .args(["probe", "--json", "--data-root"])
        .arg(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_group_reports() {
    let root = std::env::temp_dir().join(format!("minidock-probe-{}", std::process::id()));
    std::fs::create_dir(&root).unwrap();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let checks = probe(
        &mut Command::new(env!("CARGO_BIN_EXE_minidock-runtime")),
        &root,
    );
    for group in [
        "kernel",
        "namespaces",
        "mounts",
        "storage",
        "cgroups",
        "processes",
        "security",
        "network",
        "limits",
    ] {
        assert!(checks.iter().any(|c| c.group == group), "{group}");
    }
    for check in &checks {
        assert_ne!(check.name, "the checks themselves", "{check:?}");
        assert!(
            !check.found.is_empty() && !check.found.contains('\n'),
            "{check:?}"
        );
        assert!(
            check.status == Status::Ok || !check.meaning.is_empty(),
            "{check:?}"
        );
    }
    if rustix::process::geteuid().is_root() {
        let works = |name: &str| {
            checks
                .iter()
                .any(|c| c.name == name && c.status == Status::Ok)
        };
        assert!(works("mount") && works("private mounts"), "{checks:#?}");
    }
    assert_eq!(before, mounts());
    let left: Vec<_> = std::fs::read_dir(root.join("tmp"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn bad_arguments_are_one_line() {
    for args in [
        &["probe", "--nope"][..],
        &["probe", "--group", "nope"],
        &["probe", "--data-root"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_minidock-runtime"))
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    }
}
