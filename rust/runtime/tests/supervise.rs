//! Real containers by `minidock-runtime supervise`. Needs root and busybox-static (`/bin/busybox`); says so otherwise.
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use serde_json::{Value, json};

/// A bundle with a root filesystem of busybox; gone at the end of the test.
struct Bundle {
    dir: PathBuf,
    cgroup: String,
}

impl Bundle {
    fn new(name: &str) -> Option<Self> {
        let busybox = Path::new("/bin/busybox");
        if !rustix::process::geteuid().is_root() || !busybox.exists() {
            eprintln!("skipped: needs root and /bin/busybox (package busybox-static)");
            return None;
        }
        let id = format!("minidock-test-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(&id);
        let _ = fs::remove_dir_all(&dir);
        for sub in ["layer/bin", "layer/etc", "rw/upper", "rw/work"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        fs::copy(busybox, dir.join("layer/bin/busybox")).unwrap();
        symlink("busybox", dir.join("layer/bin/sh")).unwrap();
        let passwd = "root:x:0:0::/root:/bin/sh\nana:x:1000:1001::/home/ana:/bin/sh\n";
        fs::write(dir.join("layer/etc/passwd"), passwd).unwrap();
        fs::write(dir.join("layer/etc/group"), "root:x:0:\nwheel:x:10:ana\n").unwrap();
        Some(Self {
            cgroup: format!("/{id}"),
            dir,
        })
    }

    fn config(&self, script: &str) -> Value {
        let caps = ["CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"];
        json!({
            "ociVersion": "1.2.0",
            "process": {
                "user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/some/dir",
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            },
            "root": {"path": "rootfs"},
            "hostname": "box",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "ptmxmode=0666"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid", "noexec", "nodev"]},
            ],
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}],
                "cgroupsPath": self.cgroup,
                "maskedPaths": ["/proc/timer_list", "/proc/interrupts", "/sys/firmware", "/proc/not-there"],
                "readonlyPaths": ["/proc/sys"],
            },
        })
    }

    fn document(&self) -> Value {
        let path = |p: &str| self.dir.join(p).display().to_string();
        json!({
            "version": 2, "id": "test", "run_dir": path("run"), "exit_file": path("exit.json"), "stdio": "relay", "stdin": true, "stdin_once": true,
            "attached": ["stdin", "stdout", "stderr"],
            "rootfs": {"type": "overlay", "lower": [path("layer")], "upper": path("rw/upper"), "work": path("rw/work"), "volatile": true},
        })
    }

    /// Has the container supervised to the supervisor's end. The status is what the supervisor says on its control
    /// socket: the process that was started ends at once, see docs/supervisor.md.
    fn supervise(&self) -> Output {
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        fcntl_setfd(&theirs, FdFlags::empty()).unwrap();
        let script = format!(
            "exec 3<&{}; exec \"$0\" supervise --bundle \"$1\"",
            theirs.as_raw_fd()
        );
        let child = Command::new("/bin/busybox")
            .args(["sh", "-c", &script, env!("CARGO_BIN_EXE_minidock-runtime")])
            .arg(&self.dir)
            .stdin(fs::File::open(self.dir.join("input")).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(theirs);
        let mut output = child.wait_with_output().unwrap();
        let mut packet = vec![0; 1 << 16];
        loop {
            let (length, _) = recv(&ours, &mut packet[..], RecvFlags::empty()).unwrap();
            if length == 0 {
                return output;
            }
            let said: Value = serde_json::from_slice(&packet[..length]).unwrap();
            if let Some(code) = said["exit_code"].as_i64() {
                output.status = ExitStatus::from_raw(i32::try_from(code).unwrap() << 8);
            }
        }
    }

    /// Runs the container to its end; what came out, and the exit record.
    fn run(&self, config: &Value, document: &Value, input: &str) -> (Output, Value) {
        // A layer of a volatile overlay cannot be mounted again.
        for sub in ["rw/upper", "rw/work"] {
            let _ = fs::remove_dir_all(self.dir.join(sub));
            fs::create_dir_all(self.dir.join(sub)).unwrap();
        }
        let _ = fs::remove_file(self.dir.join("exit.json"));
        fs::write(self.dir.join("config.json"), config.to_string()).unwrap();
        fs::write(self.dir.join("minidock.json"), document.to_string()).unwrap();
        fs::write(self.dir.join("input"), input).unwrap();
        let output = self.supervise();
        let record = fs::read(self.dir.join("exit.json")).unwrap_or_default();
        // Nothing stays: neither live state nor cgroups.
        assert!(!self.dir.join("run").exists());
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            assert!(!hierarchy.path().join(&self.cgroup[1..]).exists());
        }
        (output, serde_json::from_slice(&record).unwrap_or_default())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

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
