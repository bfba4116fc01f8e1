//! Capability sets of a container's process (capabilities(7)).
//!
//! The order around the change of user, all in the process itself:
//!
//! ```text
//! 1. drop_bounding    needs CAP_SETPCAP, which step 3 may take
//! 2. keep             else setuid to a non-root user empties the permitted set
//!    setgroups, setgid, setuid
//! 3. apply            permitted, effective, inheritable, then ambient
//!    execve           recomputes them: a non-root user keeps what is ambient, root keeps the bounding set
//! ```
use std::fmt;

use oci_spec::runtime::{Capabilities, LinuxCapabilities};
use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use crate::{Context, Result};

/// Number of bits that a kernel can have.
const BITS: u32 = 64;

/// The five sets of a process, as bits by capability number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// What execve may ever give.
    pub bounding: u64,
    /// What the process may use.
    pub effective: u64,
    /// What it may make effective.
    pub permitted: u64,
    /// What it keeps for files that inherit it.
    pub inheritable: u64,
    /// What a non-root process keeps over execve.
    pub ambient: u64,
}

impl Sets {
    /// `process.capabilities` of the runtime spec; sets that it leaves out are empty, as they are in Docker's containers
    /// for inheritable and ambient (CVE-2022-24769).
    #[must_use]
    pub fn from_oci(capabilities: Option<&LinuxCapabilities>) -> Self {
        let Some(c) = capabilities else {
            return Self::default();
        };
        Self {
            bounding: bits(c.bounding().as_ref()),
            effective: bits(c.effective().as_ref()),
            permitted: bits(c.permitted().as_ref()),
            inheritable: bits(c.inheritable().as_ref()),
            ambient: bits(c.ambient().as_ref()),
        }
    }

    /// The same without what cannot be granted, and what that is. The runtime spec wants a warning for it, no failure.
    ///
    /// `limit` is what the new process starts with: [`current`] of the caller, or everything in a new user namespace.
    #[must_use]
    pub fn limited_to(self, limit: &Self) -> (Self, Names) {
        let permitted = self.permitted & limit.permitted;
        let limited = Self {
            bounding: self.bounding & limit.bounding,
            effective: self.effective & permitted,
            permitted,
            inheritable: self.inheritable & limit.bounding,
            // A capability can be ambient only while it is permitted and inheritable.
            ambient: self.ambient & permitted & self.inheritable & limit.bounding,
        };
        let asked =
            self.bounding | self.effective | self.permitted | self.inheritable | self.ambient;
        let granted = limited.bounding | limited.permitted | limited.inheritable | limited.ambient;
        (
            limited,
            // Ambient ones that the document itself makes impossible are no fault of the host.
            Names(
                asked & !granted
                    | self.ambient & self.inheritable & self.permitted & !limited.ambient,
            ),
        )
    }

    /// Step 1: takes out of the bounding set what is not in `bounding`.
    ///
    /// # Errors
    /// `denied` without CAP_SETPCAP.
    pub fn drop_bounding(&self) -> Result<()> {
        for number in 0..BITS {
            let bit = 1 << number;
            if self.bounding & bit != 0 {
                continue;
            }
            match thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit))
            {
                // The kernel's last capability is passed.
                Err(Errno::INVAL) => break,
                result => result.context("drop capability", || Names(bit).to_string())?,
            }
        }
        Ok(())
    }

    /// Step 3: sets permitted, effective and inheritable, then exactly the ambient ones.
    ///
    /// # Errors
    /// `denied` if a capability is asked for that the process does not have; [`Sets::limited_to`] avoids that.
    pub fn apply(&self) -> Result<()> {
        let sets = CapabilitySets {
            effective: CapabilitySet::from_bits_retain(self.effective),
            permitted: CapabilitySet::from_bits_retain(self.permitted),
            inheritable: CapabilitySet::from_bits_retain(self.inheritable),
        };
        match thread::clear_ambient_capability_set() {
            // Before Linux 4.3 there are none to clear.
            Err(Errno::INVAL) if self.ambient == 0 => {}
            result => result.context("clear ambient capabilities", || "")?,
        }
        thread::set_capabilities(None, sets)
            .context("set capabilities", || Names(self.permitted).to_string())?;
        for number in (0..BITS).filter(|n| self.ambient >> n & 1 != 0) {
            let bit = 1 << number;
            thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(bit), true)
                .context("raise ambient capability", || Names(bit).to_string())?;
        }
        thread::set_keep_capabilities(false).context("clear keepcaps", || "")
    }
}

/// Step 2: the permitted set outlives the change of user.
///
/// # Errors
/// `denied` if the securebits lock it.
pub fn keep() -> Result<()> {
    thread::set_keep_capabilities(true).context("set keepcaps", || "")
}

/// The calling thread's sets; the ambient set is left empty.
///
/// # Errors
/// A failure of capget(2), which a working kernel does not have.
pub fn current() -> Result<Sets> {
    let own = thread::capabilities(None).context("read capabilities", || "")?;
    let mut bounding = 0;
    for number in 0..BITS {
        match thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(true) => bounding |= 1 << number,
            Ok(false) => {}
            Err(_) => break,
        }
    }
    Ok(Sets {
        bounding,
        effective: own.effective.bits(),
        permitted: own.permitted.bits(),
        inheritable: own.inheritable.bits(),
        ambient: 0,
    })
}

/// Capabilities by name, as errors and warnings list them: `CAP_CHOWN, CAP_KILL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names(pub u64);

impl Names {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = CapabilitySet::from_bits_truncate(self.0);
        for (index, (name, _)) in known.iter_names().enumerate() {
            write!(f, "{}CAP_{name}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

fn bits(capabilities: Option<&Capabilities>) -> u64 {
    let known = |c: &oci_spec::runtime::Capability| CapabilitySet::from_name(&c.to_string());
    capabilities
        .into_iter()
        .flatten()
        .filter_map(known)
        .fold(0, |bits, c| bits | c.bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SECURITY.md section 4.
    const DEFAULT: u64 = 0xa804_25fb;

    fn sets(json: serde_json::Value) -> Sets {
        Sets::from_oci(Some(&serde_json::from_value(json).expect("capabilities")))
    }

    #[test]
    fn every_capability_of_the_spec_has_its_number() {
        let all: Vec<_> = CapabilitySet::all()
            .iter_names()
            .map(|(name, _)| format!("CAP_{name}"))
            .collect();
        assert_eq!(all.len(), 41);
        let sets = sets(
            serde_json::json!({"bounding": all, "permitted": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]}),
        );
        assert_eq!(sets.bounding, (1 << 41) - 1);
        assert_eq!(sets.permitted, 1 | 1 << 40);
        assert_eq!((sets.effective, sets.inheritable, sets.ambient), (0, 0, 0));
    }

    #[test]
    fn no_capabilities_in_the_spec_means_none() {
        assert_eq!(Sets::from_oci(None), Sets::default());
    }

    #[test]
    fn names_are_those_of_the_kernel() {
        assert_eq!(Names(1 | 1 << 21).to_string(), "CAP_CHOWN, CAP_SYS_ADMIN");
        assert_eq!(Names(0).to_string(), "");
    }

    #[test]
    fn what_cannot_be_granted_is_left_out_and_named() {
        let asked = Sets {
            bounding: 7,
            effective: 7,
            permitted: 7,
            inheritable: 1,
            ambient: 3,
        };
        let limit = Sets {
            bounding: 3,
            effective: 3,
            permitted: 3,
            ..Sets::default()
        };
        let (limited, missing) = asked.limited_to(&limit);
        assert_eq!(
            limited,
            Sets {
                bounding: 3,
                effective: 3,
                permitted: 3,
                inheritable: 1,
                ambient: 1
            }
        );
        assert_eq!(
            missing,
            Names(4),
            "2 cannot be ambient without being inheritable: that is the document's own doing"
        );
    }

    /// Capabilities are a thread's: a thread of the test binary takes them off without harm to the others.
    #[test]
    fn sets_are_applied_to_the_thread() {
        let before = current().unwrap();
        if before.permitted & DEFAULT != DEFAULT {
            assert_ne!(
                rustix::process::geteuid().as_raw(),
                0,
                "root lacks default capabilities"
            );
            return;
        }
        let after = std::thread::spawn(|| {
            let wanted = Sets {
                bounding: DEFAULT,
                effective: 1,
                permitted: DEFAULT,
                inheritable: 1 << 13,
                ambient: 1 << 13,
            };
            wanted.drop_bounding().unwrap();
            keep().unwrap();
            wanted.apply().unwrap();
            let ambient = thread::capability_is_in_ambient_set(CapabilitySet::NET_RAW).unwrap();
            assert!(ambient && !thread::get_keep_capabilities().unwrap());
            let raised = current().unwrap();
            // Neither comes back, nor can more be taken.
            assert!(
                Sets {
                    permitted: DEFAULT | 1 << 21,
                    ..wanted
                }
                .apply()
                .is_err()
            );
            Sets {
                ambient: 0,
                inheritable: 0,
                ..wanted
            }
            .apply()
            .unwrap();
            assert!(!thread::capability_is_in_ambient_set(CapabilitySet::NET_RAW).unwrap());
            raised
        })
        .join()
        .unwrap();
        assert_eq!(after.bounding, before.bounding & DEFAULT);
        assert_eq!(
            (after.permitted, after.effective, after.inheritable),
            (DEFAULT, 1, 1 << 13)
        );
        assert_eq!(current().unwrap(), before, "another thread is as it was");
    }
}
