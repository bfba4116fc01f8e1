//! `config.json` for a runtime that knows nothing of `minidock.json`.
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use minidock_core::error::{Error, Kind, Result};
use minidock_core::path::{Root, clean};
use minidock_core::process::UserNames;
use minidock_core::rootfs;
use serde_json::{Value, json};

use crate::supervise::record;

/// The document, with everything that is in it.
#[derive(Debug)]
pub struct Config(Value);

impl Config {
    /// Reads the text of the document.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let invalid = |why: String| Error::new(Kind::Invalid, "read", "config.json", why);
        let value: Value = serde_json::from_slice(text).map_err(|e| invalid(e.to_string()))?;
        if !value["process"].is_object() {
            return Err(invalid("the document has no process".to_owned()));
        }
        Ok(Self(value))
    }

    /// Whether the container has a terminal.
    pub fn terminal(&self) -> bool {
        self.0["process"]["terminal"].as_bool().unwrap_or(false)
    }

    /// The container's cgroup.
    pub fn cgroup(&self) -> Option<&str> {
        self.0["linux"]["cgroupsPath"].as_str()
    }

    /// The AppArmor profile of the container's processes.
    pub fn apparmor_profile(&self) -> Option<&str> {
        self.0["process"]["apparmorProfile"].as_str()
    }

    /// The SELinux label of the root filesystem.
    pub fn mount_label(&self) -> Option<&str> {
        let label = self.0["linux"]["mountLabel"].as_str();
        label.filter(|l| !l.is_empty())
    }

    /// Has the bind on `destination` come from another path of the host.
    ///
    /// Fails with `Invalid` when there is none.
    pub fn set_source(&mut self, destination: &Path, source: &Path) -> Result<()> {
        let wanted = clean(destination);
        let is_it = |m: &&mut Value| {
            let there = m["destination"].as_str();
            there.is_some_and(|d| clean(Path::new(d)) == wanted)
        };
        let found = self.0["mounts"].as_array_mut();
        let Some(mount) = found.and_then(|list| list.iter_mut().find(is_it)) else {
            let subject = destination.display().to_string();
            let why = "sources has it, but no bind of the document is mounted there";
            return Err(Error::new(Kind::Invalid, "plan mounts", subject, why));
        };
        mount["source"] = json!(source);
        Ok(())
    }

    /// Puts the numbers of a user, who is looked up in the root filesystem, in the place of its names, and HOME into the
    /// environment if that lacks it.
    pub fn set_user(&mut self, tree: &OwnedFd, names: &UserNames) -> Result<()> {
        let root = Root::new(tree.as_fd());
        let user = rootfs::resolve_user(&root, &names.user, &names.group_add)?;
        let process = &mut self.0["process"];
        process["user"]["uid"] = json!(user.uid);
        process["user"]["gid"] = json!(user.gid);
        process["user"]["additionalGids"] = json!(user.groups);
        if !process["env"].is_array() {
            process["env"] = json!([]);
        }
        if let Some(list) = process["env"].as_array_mut() {
            let is_home = |v: &Value| v.as_str().is_some_and(|v| v.starts_with("HOME="));
            if !list.iter().any(is_home) {
                let home = user.home.unwrap_or_else(|| b"/".to_vec());
                list.push(json!(format!("HOME={}", String::from_utf8_lossy(&home))));
            }
        }
        Ok(())
    }

    /// Writes it into the bundle.
    pub fn write(&self, bundle: &Path) -> Result<()> {
        record::write_renamed(&bundle.join("config.json"), &self.0.to_string())
    }

    /// What Docker's command line ends with when a runtime says this: 127 if it has not found the command, 126 if that
    /// cannot be executed, else 125.
    pub fn exit_code(&self, said: &str) -> u8 {
        let said = said.to_lowercase();
        let command = self.0["process"]["args"][0].as_str().unwrap_or_default();
        let about = !command.is_empty() && said.contains(&command.to_lowercase());
        let has = |list: &[&str]| list.iter().any(|part| said.contains(part));
        if !about && !said.contains("executable") {
            125
        } else if has(&[
            "is a directory",
            "permission denied",
            "exec format error",
            "not executable",
        ]) {
            126
        } else if has(&["not found", "no such file or directory", "not a directory"]) {
            127
        } else {
            125
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(command: &str) -> Config {
        let text = json!({"process": {"args": [command], "user": {"uid": 0, "gid": 0, "umask": 18},
            "rlimits": [{"hard": u64::MAX}]}});
        Config::parse(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn exit_codes_as_docker_has_them() {
        let c = config("nope");
        for (said, code) in [
            (
                r#"exec: "nope": executable file not found in $PATH: unknown"#,
                127,
            ),
            (
                "executable file `nope` not found: No such file or directory",
                127,
            ),
            (r#"exec: "nope": permission denied"#, 126),
            (r#"exec: "nope": is a directory"#, 126),
            ("execute nope: exec format error", 126),
            ("mount /x: no such file or directory", 125),
            ("cgroup: permission denied", 125),
            ("nope: out of memory", 125),
        ] {
            assert_eq!(c.exit_code(said), code, "{said}");
        }
        assert_eq!(config("").exit_code("anything not found"), 125);
    }

    #[test]
    fn users_become_numbers() {
        let name = format!("minidock-foreign-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::fs::write(dir.join("etc/passwd"), "ana:x:1000:7::/home/ana:/bin/sh\n").unwrap();
        std::fs::write(dir.join("etc/group"), "staff:x:50:ana\n").unwrap();
        let tree = OwnedFd::from(std::fs::File::open(&dir).unwrap());
        let mut c = config("true");
        let names = |user: &str| UserNames {
            user: user.to_owned(),
            group_add: Vec::new(),
        };
        c.set_user(&tree, &names("ana")).unwrap();
        assert_eq!(
            c.0["process"]["user"],
            json!({"uid": 1000, "gid": 7, "umask": 18, "additionalGids": [7, 50]})
        );
        assert_eq!(c.0["process"]["env"], json!(["HOME=/home/ana"]));
        assert_eq!(c.0["process"]["rlimits"][0]["hard"], json!(u64::MAX));
        assert_eq!(
            c.set_user(&tree, &names("bob")).unwrap_err().kind,
            Kind::NotFound
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn no_document() {
        for text in ["", "[]", "{}", r#"{"process":1}"#] {
            assert!(Config::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
