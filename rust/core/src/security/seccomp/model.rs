//! What the compiler is held against: an interpreter of classic BPF, and a reading of the rules without any BPF.
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as A, LinuxSeccompOperator as O, LinuxSyscall,
};

use super::abi::{Abi, Target, X32_BIT};
use super::bpf::Insn;
use super::widths;

/// `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data {
    pub arch: u32,
    pub nr: u32,
    pub args: [u64; 6],
}

impl Data {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16..64 if offset.is_multiple_of(8) => self.args[(offset as usize - 16) / 8] as u32,
            16..64 if offset % 8 == 4 => (self.args[(offset as usize - 16) / 8] >> 32) as u32,
            _ => panic!("load at {offset}"),
        }
    }
}

/// Runs a filter; panics on anything that the kernel's checker would refuse. Returns the action and the steps taken.
pub(super) fn run(code: &[Insn], data: &Data) -> (u32, usize) {
    let (mut pc, mut a, mut steps) = (0_usize, 0_u32, 0);
    loop {
        let Insn {
            code: op,
            jt,
            jf,
            k,
        } = code[pc];
        steps += 1;
        pc += 1;
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        match op {
            0x20 => a = data.word(k),
            0x54 => a &= k,
            0x05 => pc += k as usize,
            0x15 => pc += branch(a == k),
            0x25 => pc += branch(a > k),
            0x35 => pc += branch(a >= k),
            0x06 => return (k, steps),
            _ => panic!("operation {op:#x}"),
        }
    }
}

fn value_of(action: A, errno: Option<u32>) -> u32 {
    action.as_u32(errno)
}

/// The action that the profile asks for, straight from its rules.
pub(super) fn evaluate(spec: &LinuxSeccomp, target: Target, data: &Data) -> u32 {
    const KILL_PROCESS: u32 = 0x8000_0000;
    let default = value_of(spec.default_action(), spec.default_errno_ret());
    let Some(abi) = target.abis().iter().copied().find(|abi| {
        abi.audit() == data.arch
            && (!matches!(abi, Abi::X86_64 | Abi::X32)
                || (*abi == Abi::X32) == (data.nr >= X32_BIT))
    }) else {
        return KILL_PROCESS;
    };
    let listed = spec
        .architectures()
        .as_ref()
        .is_some_and(|list| list.contains(&abi.oci()));
    // -1 carries the x32 bit, but a tracer puts it in place of native calls.
    let listed = listed || (abi == Abi::X32 && data.nr == u32::MAX);
    if abi != target.abis()[0] && !listed {
        return KILL_PROCESS;
    }
    if data.nr == u32::MAX {
        return 0x7fff_0000;
    }
    let none = Vec::new();
    let rules = spec.syscalls().as_ref().unwrap_or(&none);
    let here = |rule: &&LinuxSyscall| rule.names().iter().any(|n| abi.number(n) == Some(data.nr));
    let useful = |rule: &&LinuxSyscall| value_of(rule.action(), rule.errno_ret()) != default;
    let plain = |rule: &&LinuxSyscall| rule.args().as_ref().is_none_or(Vec::is_empty);
    let first_plain = rules.iter().filter(here).filter(useful).find(plain);
    if let Some(rule) = first_plain {
        return value_of(rule.action(), rule.errno_ret());
    }
    for rule in rules.iter().filter(here).filter(useful) {
        for name in rule
            .names()
            .iter()
            .filter(|n| abi.number(n) == Some(data.nr))
        {
            if holds(abi, name, rule, data) {
                return value_of(rule.action(), rule.errno_ret());
            }
        }
    }
    let newest = rules
        .iter()
        .flat_map(|r| r.names())
        .filter_map(|n| abi.number(n))
        .filter(|n| !abi.is_private(*n))
        .max();
    let permissive = matches!(
        spec.default_action(),
        A::ScmpActAllow | A::ScmpActLog | A::ScmpActTrace
    );
    match newest {
        Some(newest) if data.nr > newest && !abi.is_private(data.nr) && !permissive => 0x0005_0026,
        _ => default,
    }
}

fn holds(abi: Abi, name: &str, rule: &LinuxSyscall, data: &Data) -> bool {
    let args = rule.args().as_deref().unwrap_or_default();
    let repeated = args
        .iter()
        .any(|a| args.iter().filter(|b| b.index() == a.index()).count() > 1);
    let mut each = args.iter().map(|arg| {
        let bits = match widths::of(name, arg.index()) {
            widths::Width::W16 => 16,
            widths::Width::W32 => 32,
            widths::Width::W64 if abi.is_32bit() => 32,
            widths::Width::W64 => 64,
        };
        let mask = if bits == 64 {
            u64::MAX
        } else {
            (1 << bits) - 1
        };
        let seen = data.args[arg.index()] & mask;
        let negative_int = |v: u64| bits == 32 && i64::from(v as u32 as i32) as u64 == v;
        if arg.op() == O::ScmpCmpMaskedEq {
            let (keep, want) = (arg.value(), arg.value_two().unwrap_or(0));
            // Either reading of a negative int, as it is or sign-extended, may be meant.
            let extended = i64::from(seen as u32 as i32) as u64;
            return seen & keep == want
                || (bits == 32 && keep >> 32 == 0xffff_ffff && extended & keep == want);
        }
        let value = if negative_int(arg.value()) {
            arg.value() & mask
        } else {
            arg.value()
        };
        match arg.op() {
            O::ScmpCmpNe => seen != value,
            O::ScmpCmpLt => seen < value,
            O::ScmpCmpLe => seen <= value,
            O::ScmpCmpEq => seen == value,
            O::ScmpCmpGe => seen >= value,
            _ => seen > value,
        }
    });
    if repeated {
        each.any(|held| held)
    } else {
        each.all(|held| held)
    }
}
