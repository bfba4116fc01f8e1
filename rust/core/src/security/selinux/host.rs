//! What the host's SELinux has for containers.
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use rustix::fs;

use super::{Label, Labels};
use crate::{Error, Kind, Result};

const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
/// More than any of the files read here has.
const MAX_TEXT: u64 = 1 << 20;

/// Whether the kernel enforces or reports by SELinux.
#[must_use]
pub fn is_enabled() -> bool {
    // The type's width differs by architecture; the magic has 32 bits.
    fs::statfs("/sys/fs/selinux").is_ok_and(|s| s.f_type as u64 & 0xffff_ffff == SELINUX_MAGIC)
}

/// The files that say what the policy has; tests have others.
#[derive(Debug, Clone)]
pub struct Host {
    /// `/etc/selinux`.
    pub configuration: PathBuf,
    /// The labels for containers that come with a package of the distribution.
    pub packaged: PathBuf,
    /// The selinuxfs.
    pub kernel: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            configuration: "/etc/selinux".into(),
            packaged: "/usr/share/containers/selinux/contexts".into(),
            kernel: "/sys/fs/selinux".into(),
        }
    }
}

impl Host {
    /// The name of the policy: selinux_config(5).
    #[must_use]
    pub fn policy(&self) -> String {
        let text = read(&self.configuration.join("config")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| key.trim() == "SELINUXTYPE")
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty() && !value.contains('/'))
            .unwrap_or("targeted")
            .to_owned()
    }

    /// The text of the policy's `lxc_contexts`, its own labels for containers, if it has any.
    #[must_use]
    pub fn contexts(&self) -> Option<String> {
        let policys = self.configuration.join(self.policy());
        read(&self.packaged).or_else(|| read(&policys.join("contexts/lxc_contexts")))
    }

    /// Whether the policy knows a label; where it cannot be asked, it is taken to.
    #[must_use]
    pub fn knows(&self, label: &Label) -> bool {
        let file = OpenOptions::new()
            .write(true)
            .open(self.kernel.join("context"));
        let asked = file.and_then(|mut file| file.write_all(format!("{label}\0").as_bytes()));
        !asked.is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL))
    }

    /// Checks that the policy knows a container's labels.
    ///
    /// # Errors
    /// `unsupported` if it has none for containers at all, `invalid` for ones that somebody chose.
    pub fn check(&self, labels: &Labels) -> Result<()> {
        let Some(unknown) = [&labels.process, &labels.file]
            .into_iter()
            .find(|label| !self.knows(label))
        else {
            return Ok(());
        };
        self.check_policy()?;
        let why = "the policy has no such label";
        Err(Error::new(
            Kind::Invalid,
            "use SELinux label",
            unknown.to_string(),
            why,
        ))
    }

    /// Checks that the policy has labels for containers.
    ///
    /// # Errors
    /// `unsupported` if it has none.
    pub fn check_policy(&self) -> Result<()> {
        let usual = Labels::new(self.contexts().as_deref(), &[], "s0:c1,c2")?;
        match [&usual.process, &usual.file]
            .into_iter()
            .find(|label| !self.knows(label))
        {
            None => Ok(()),
            Some(unknown) => {
                let why = format!(
                    "the policy {} does not know {}: install its module for containers (container-selinux), or run without labels \
                     by --security-opt label=disable or selinux-enabled: false",
                    self.policy(),
                    unknown.kind
                );
                Err(Error::new(
                    Kind::Unsupported,
                    "use SELinux label",
                    unknown.to_string(),
                    why,
                ))
            }
        }
    }
}

fn read(path: &std::path::Path) -> Option<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(MAX_TEXT)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_says_what_containers_have() {
        let dir =
            std::env::temp_dir().join(format!("minidock-selinux-host-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("mine/contexts")).unwrap();
        let host = Host {
            configuration: dir.clone(),
            packaged: dir.join("packaged"),
            kernel: dir.join("none"),
        };
        assert_eq!(
            (host.policy().as_str(), host.contexts()),
            ("targeted", None)
        );
        for damaged in [
            "",
            "SELINUXTYPE=",
            "SELINUXTYPE=../x",
            "# SELINUXTYPE",
            "\u{fffd}",
        ] {
            std::fs::write(dir.join("config"), damaged).unwrap();
            assert_eq!(host.policy(), "targeted", "{damaged}");
        }
        std::fs::write(
            dir.join("config"),
            "# a\nSELINUX=enforcing\nSELINUXTYPE = mine\n",
        )
        .unwrap();
        std::fs::write(
            dir.join("mine/contexts/lxc_contexts"),
            "process = \"a:b:c:s0\"\n",
        )
        .unwrap();
        assert_eq!(host.contexts().unwrap(), "process = \"a:b:c:s0\"\n");
        std::fs::write(dir.join("packaged"), "file = \"a:b:d:s0\"\n").unwrap();
        assert_eq!(host.contexts().unwrap(), "file = \"a:b:d:s0\"\n");
        // Nobody to ask: it is taken to know all.
        assert!(host.check_policy().is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
