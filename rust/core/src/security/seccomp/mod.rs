//! Seccomp: profiles of the runtime spec compiled to classic BPF, and loaded.
//!
//! One program serves all ABIs of a machine (x86_64, x32, i386; aarch64, arm). Calls newer than the newest one that the
//! profile names fail with ENOSYS, so that a libc falls back; other unlisted calls get the profile's default; a call by
//! an ABI that the profile does not list kills the process.

mod abi;
mod bpf;
mod codegen;
#[cfg(test)]
mod model;
mod program;
mod rules;
mod syscalls;
#[cfg(test)]
mod tests;
mod widths;

use std::os::fd::OwnedFd;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};

pub use abi::Target;
pub use bpf::Insn;
pub use program::Program;

use crate::sys::seccomp as sys;
use crate::{Context, Error, Kind, Result};

/// Version of the generator: part of the key of stored programs. Raise it with every change of the code it makes.
pub const COMPILER_VERSION: u32 = 1;

/// Compiles `linux.seccomp` of the runtime spec for a machine.
///
/// # Errors
/// `invalid`: an argument index over 5, an errno over 4095 or for an action without one. `limit`: the program is over the
/// kernel's 4096 instructions.
pub fn compile(spec: &LinuxSeccomp, target: Target) -> Result<Program> {
    let policy = rules::Policy::new(spec, target)?;
    let code = codegen::generate(&policy);
    if code.len() > program::MAX_LEN {
        let why = format!(
            "{} instructions are over the kernel's {}",
            code.len(),
            program::MAX_LEN
        );
        return Err(Error::new(Kind::Limit, "compile seccomp profile", "", why));
    }
    let mut flags = spec
        .flags()
        .iter()
        .flatten()
        .fold(0, |flags, flag| flags | flag_bit(*flag));
    if policy.notifies() {
        flags |= sys::FLAG_NEW_LISTENER;
    }
    if flags & sys::FLAG_WAIT_KILLABLE_RECV != 0 && flags & sys::FLAG_NEW_LISTENER == 0 {
        let why = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY";
        return Err(Error::new(
            Kind::Invalid,
            "compile seccomp profile",
            "",
            why,
        ));
    }
    Ok(Program {
        machine: target.machine(),
        flags,
        code,
    })
}

/// Compiles the JSON text of `linux.seccomp`.
///
/// # Errors
/// As [`compile`], and `invalid` if the text is no such document.
pub fn compile_json(json: &[u8], target: Target) -> Result<Program> {
    let spec: LinuxSeccomp = serde_json::from_slice(json)
        .map_err(|e| Error::new(Kind::Invalid, "parse seccomp profile", "", e.to_string()))?;
    compile(&spec, target)
}

/// Puts the calling thread under the filter, for good; children inherit it. Needs `no_new_privs` or CAP_SYS_ADMIN.
/// Returns the listener if the program has rules that notify one. See seccomp(2).
///
/// # Errors
/// `denied` without the privilege, `unsupported` where the kernel has no seccomp filters.
pub fn load(program: &Program) -> Result<Option<OwnedFd>> {
    sys::set_mode_filter(program.flags, &program.code).context("load seccomp filter", || "")
}

fn flag_bit(flag: LinuxSeccompFilterFlag) -> u32 {
    match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => sys::FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => sys::FLAG_TSYNC,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => sys::FLAG_SPEC_ALLOW,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => sys::FLAG_WAIT_KILLABLE_RECV,
    }
}
