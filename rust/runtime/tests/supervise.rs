//! Real containers by `minidock-runtime supervise`. Needs root and busybox-static (`/bin/busybox`); says so otherwise.
mod bundle;

use std::os::unix::fs::symlink;

use bundle::{Bundle, text};
use serde_json::{Value, json};

#[test]
fn a_container_is_isolated_and_reports_its_end() {
    let Some(bundle) = Bundle::new("whole") else {
        return;
    };
    let script = "busybox cat; echo $$; busybox hostname; busybox pwd; busybox wc -c < /proc/timer_list; busybox ls /sys/firmware; \
        echo 1 > /proc/sys/kernel/hostname; busybox ip link | busybox grep -c LOOPBACK,UP; busybox grep CapEff /proc/self/status; \
        echo error >&2; exit 3";
    let (output, record) = bundle.run(&bundle.config(script), &bundle.document(), "input\n");
    let capabilities = format!("CapEff:\t{:016x}", 1 | 1 << 5 | 1 << 6 | 1 << 7);
    assert_eq!(
        text(&output.stdout),
        format!("input\n1\nbox\n/some/dir\n0\n1\n{capabilities}\n")
    );
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("Read-only file system") && stderr.ends_with("error\n"),
        "{stderr}"
    );
    assert_eq!(
        (record["exit_code"].as_i64(), record["signal"].as_i64()),
        (Some(3), None)
    );
}

#[test]
fn users_come_from_the_image() {
    let Some(bundle) = Bundle::new("user") else {
        return;
    };
    let mut document = bundle.document();
    document["user"] = json!({"user": "ana", "group_add": ["77"]});
    let script = "busybox id; echo $HOME; busybox grep -e CapEff -e CapPrm /proc/self/status; echo > /dev/stdout";
    let (output, _) = bundle.run(&bundle.config(script), &document, "");
    let out = text(&output.stdout);
    assert!(
        out.starts_with("uid=1000(ana) gid=1001 groups=10(wheel),77,1001\n/home/ana\n"),
        "{out}"
    );
    assert_eq!(out.matches("0000000000000000").count(), 2, "{out}");
    document["user"] = json!({"user": "nobody-knows"});
    let (output, _) = bundle.run(&bundle.config("true"), &document, "");
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn classes_of_failure() {
    let Some(bundle) = Bundle::new("fail") else {
        return;
    };
    for (command, code) in [
        ("nope", 127),
        ("/nope", 127),
        ("/etc", 126),
        ("/etc/passwd", 126),
    ] {
        let mut config = bundle.config("");
        config["process"]["args"] = json!([command]);
        let (output, record) = bundle.run(&config, &bundle.document(), "");
        assert_eq!(output.status.code(), Some(code), "{command}");
        assert_eq!(record, Value::Null);
    }
    let mut config = bundle.config("true");
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({"destination": "/link/x", "type": "tmpfs", "source": "t"}));
    symlink("/proc", bundle.dir.join("layer/link")).unwrap();
    let (output, _) = bundle.run(&config, &bundle.document(), "");
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn the_working_directory_stays_inside() {
    let Some(bundle) = Bundle::new("cwd") else {
        return;
    };
    for cwd in [
        "/proc/self/fd/3",
        "/proc/self/fd/10",
        "/proc/1/root",
        "relative",
    ] {
        let mut config = bundle.config("busybox pwd");
        config["process"]["cwd"] = json!(cwd);
        let (output, _) = bundle.run(&config, &bundle.document(), "");
        assert_eq!(output.status.code(), Some(125), "{cwd}");
    }
}

#[test]
fn init_reaps_and_a_time_limit_kills() {
    let Some(bundle) = Bundle::new("init") else {
        return;
    };
    let mut document = bundle.document();
    document["init"] = json!(true);
    let (output, record) = bundle.run(&bundle.config("echo $$; exit 7"), &document, "");
    assert_eq!(
        (text(&output.stdout).as_str(), record["exit_code"].as_i64()),
        ("2\n", Some(7))
    );
    document["timeout_ms"] = json!(200);
    let (_, record) = bundle.run(&bundle.config("busybox sleep 60"), &document, "");
    assert_eq!(
        (record["timed_out"].as_bool(), record["signal"].as_i64()),
        (Some(true), Some(9))
    );
}

#[test]
fn a_flood_arrives_whole() {
    let Some(bundle) = Bundle::new("flood") else {
        return;
    };
    let (output, _) = bundle.run(
        &bundle.config("busybox head -c 10000000 /dev/zero"),
        &bundle.document(),
        "",
    );
    assert_eq!(output.stdout.len(), 10_000_000);
}
