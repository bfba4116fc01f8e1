//! A bundle with a container of busybox.
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
pub struct Bundle {
    pub dir: PathBuf,
    cgroup: String,
}

impl Bundle {
    pub fn new(name: &str) -> Option<Self> {
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

    pub fn config(&self, script: &str) -> Value {
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

    pub fn document(&self) -> Value {
        let path = |p: &str| self.dir.join(p).display().to_string();
        json!({
            "version": 2, "id": "test", "run_dir": path("run"), "exit_file": path("exit.json"), "stdio": "relay", "stdin": true, "stdin_once": true,
            "attached": ["stdin", "stdout", "stderr"],
            "rootfs": {"type": "overlay", "lower": [path("layer")], "upper": path("rw/upper"), "work": path("rw/work"), "volatile": true},
        })
    }

    /// Has the container supervised to the supervisor's end. The status is what the supervisor says on its control
    /// socket: the process that was started ends at once, see docs/supervisor.md.
    fn supervise(&self) -> (Output, String) {
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
        let mut heard = String::new();
        loop {
            let (length, _) = recv(&ours, &mut packet[..], RecvFlags::empty()).unwrap();
            if length == 0 {
                return (output, heard);
            }
            let said: Value = serde_json::from_slice(&packet[..length]).unwrap();
            heard.push_str(&said.to_string());
            if let Some(code) = said["exit_code"].as_i64() {
                output.status = ExitStatus::from_raw(i32::try_from(code).unwrap() << 8);
            }
        }
    }

    /// Runs the container to its end; what came out, and the exit record.
    pub fn run(&self, config: &Value, document: &Value, input: &str) -> (Output, Value) {
        let (output, record, _) = self.run_heard(config, document, input);
        (output, record)
    }

    /// [`Self::run`], and what the supervisor said.
    pub fn run_heard(
        &self,
        config: &Value,
        document: &Value,
        input: &str,
    ) -> (Output, Value, String) {
        // A layer of a volatile overlay cannot be mounted again.
        for sub in ["rw/upper", "rw/work"] {
            let _ = fs::remove_dir_all(self.dir.join(sub));
            fs::create_dir_all(self.dir.join(sub)).unwrap();
        }
        let _ = fs::remove_file(self.dir.join("exit.json"));
        fs::write(self.dir.join("config.json"), config.to_string()).unwrap();
        fs::write(self.dir.join("minidock.json"), document.to_string()).unwrap();
        fs::write(self.dir.join("input"), input).unwrap();
        let (output, heard) = self.supervise();
        let record = fs::read(self.dir.join("exit.json")).unwrap_or_default();
        // Nothing stays: neither live state nor cgroups.
        assert!(!self.dir.join("run").exists());
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            assert!(!hierarchy.path().join(&self.cgroup[1..]).exists());
        }
        let record = serde_json::from_slice(&record).unwrap_or_default();
        (output, record, heard)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
