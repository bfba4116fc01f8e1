//! Who the process is: user, group, further groups, together with its capabilities.
use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::error::{Context, Result};
use crate::security::capabilities::{self, Sets};

/// User, group and further groups of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// Changes groups, group and user, then to the wanted capabilities. `setgroups` is always called (SECURITY.md R7).
pub fn apply(identity: &Identity, sets: &Sets) -> Result<()> {
    capabilities::keep()?;
    let groups: Vec<Gid> = identity.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    set_thread_groups(&groups).context("set groups", || format!("{:?}", identity.groups))?;
    let (g, u) = (Gid::from_raw(identity.gid), Uid::from_raw(identity.uid));
    set_thread_res_gid(g, g, g).context("set group", || identity.gid.to_string())?;
    set_thread_res_uid(u, u, u).context("set user", || identity.uid.to_string())?;
    sets.apply()
}
