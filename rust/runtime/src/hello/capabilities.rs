//! Capabilities by name.

/// Names of the capabilities, by number (capabilities(7)).
pub(crate) const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The names in a set of capabilities, written in hexadecimal.
pub(super) fn names(mask: &str) -> Vec<String> {
    let mask = u64::from_str_radix(mask, 16).unwrap_or_default();
    let name = |bit: usize| {
        CAPABILITIES
            .get(bit)
            .map_or_else(|| format!("cap_{bit}"), |name| (*name).to_owned())
    };
    (0..64)
        .filter(|bit| mask & (1 << bit) != 0)
        .map(name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_masks_are_names() {
        assert_eq!(names("00000000a80425fb").len(), 14);
        assert_eq!(names("1"), ["chown"]);
        assert_eq!(names("8000000000000000"), ["cap_63"]);
        assert!(names("").is_empty());
    }
}
