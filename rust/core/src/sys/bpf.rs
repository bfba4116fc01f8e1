//! bpf(2), as far as device programs of cgroups need it.
use std::ffi::{c_int, c_long};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};

use crate::cgroup::devices::program::Instruction;

const PROG_LOAD: c_int = 5;
const PROG_ATTACH: c_int = 8;
const PROG_DETACH: c_int = 9;
const PROG_GET_FD_BY_ID: c_int = 13;
const PROG_QUERY: c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
const F_REPLACE: u32 = 4;

/// The kernel's own bound on programs of one group (`BPF_CGROUP_MAX_PROGS`).
const MAX_PROGRAMS: usize = 64;

/// The part of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The part for attaching and detaching.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// The part for `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    /// Before Linux 6.0 the kernel wants zeros behind the last field.
    padding: u32,
}

/// The part for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

// As the kernel has them on every machine.
const _: () = assert!(
    size_of::<Load>() == 64
        && size_of::<Attach>() == 20
        && size_of::<Query>() == 32
        && size_of::<ById>() == 12
);

fn bpf<T>(command: c_int, attributes: &mut T) -> Result<c_long> {
    // SAFETY: `attributes` is a live #[repr(C)] prefix of `union bpf_attr` of the given size, without padding that the
    // kernel reads, and every pointer in it outlives the call, as each caller below sees to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(result)
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn own(fd: c_long) -> Result<OwnedFd> {
    let fd = c_int::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec, as all of bpf's), and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a device program.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd> {
    let mut attributes = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"minidock_device\0",
    };
    bpf(PROG_LOAD, &mut attributes).and_then(own)
}

/// Attaches a device program to a version 2 group, beside others or in place of `replaced`.
pub fn attach_device_program(
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attributes = Attach {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type: CGROUP_DEVICE,
        attach_flags: if replaced.is_some() {
            F_ALLOW_MULTI | F_REPLACE
        } else {
            F_ALLOW_MULTI
        },
        replace_bpf_fd: replaced.map_or(0, number),
    };
    bpf(PROG_ATTACH, &mut attributes).map(drop)
}

/// Detaches a device program from a version 2 group.
pub fn detach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attributes = Attach {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type: CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    bpf(PROG_DETACH, &mut attributes).map(drop)
}

/// The device programs attached to a version 2 group itself.
pub fn device_programs(group: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut attributes = Query {
        target_fd: number(group),
        attach_type: CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        padding: 0,
    };
    bpf(PROG_QUERY, &mut attributes)?;
    let count = usize::try_from(attributes.prog_cnt)
        .unwrap_or(0)
        .min(MAX_PROGRAMS);
    let mut programs = Vec::with_capacity(count);
    for &prog_id in &ids[..count] {
        match bpf(
            PROG_GET_FD_BY_ID,
            &mut ById {
                prog_id,
                next_id: 0,
                open_flags: 0,
            },
        ) {
            Ok(fd) => programs.push(own(fd)?),
            // It was detached meanwhile.
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(programs)
}
