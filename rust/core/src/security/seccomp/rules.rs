//! From `linux.seccomp` of the runtime spec to one decision per ABI and system call number.
//!
//! Where the spec is silent, the meaning is that of runc with libseccomp, which profiles are written for:
//! - a rule whose action equals the default adds nothing;
//! - the first rule without conditions decides for its call, and conditional rules for the same call do not count;
//! - otherwise the first rule whose conditions all hold decides;
//! - two conditions on one argument in one rule are alternatives: the rule counts once per condition;
//! - names that no ABI knows are ignored.
use std::collections::BTreeMap;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::abi::{Abi, Target};
use super::widths::{self, Width};
use crate::{Error, Kind, Result};

/// Return values of a filter (linux/seccomp.h).
pub(super) mod ret {
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const KILL_THREAD: u32 = 0;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const USER_NOTIF: u32 = 0x7fc0_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
}

/// The kernel clamps larger ones (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;

/// A test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub index: u8,
    pub width: Width,
    pub test: Test,
}

/// What is asked of an argument, cut to its width and unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Always,
    Never,
    Eq(u64),
    Ne(u64),
    Gt(u64),
    Ge(u64),
    Lt(u64),
    Le(u64),
    Masked { mask: u64, value: u64 },
}

/// All conditions must hold.
pub(super) type Rule = (Vec<Condition>, u32);

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Always(u32),
    /// The first that holds, else the default.
    Rules(Vec<Rule>),
}

/// One ABI's part of a profile.
#[derive(Debug)]
pub(super) struct AbiRules {
    pub abi: Abi,
    pub calls: BTreeMap<u32, Decision>,
    /// The newest call that the profile names; newer ones get ENOSYS.
    pub newest: Option<u32>,
}

/// A profile, ready for code.
#[derive(Debug)]
pub(super) struct Policy {
    pub default: u32,
    pub abis: Vec<AbiRules>,
}

impl Policy {
    /// Checks and sorts a profile's rules for one machine.
    pub(super) fn new(spec: &LinuxSeccomp, target: Target) -> Result<Self> {
        let default = action(
            "defaultAction",
            spec.default_action(),
            spec.default_errno_ret(),
        )?;
        // A permissive default says that the profile lists what it forbids; a tracer decides on newer calls itself. And
        // where the default is ENOSYS already there is nothing to add.
        let permissive = matches!(default & !0xffff, ret::ALLOW | ret::LOG | ret::TRACE);
        let enosys_newer = !permissive && default != ret::ERRNO | libc::ENOSYS.unsigned_abs();
        let rules = spec.syscalls().as_deref().unwrap_or_default();
        let mut parsed = Vec::with_capacity(rules.len());
        for rule in rules {
            parsed.push((
                rule,
                action(first_name(rule), rule.action(), rule.errno_ret())?,
            ));
        }
        let abis = target
            .abis()
            .iter()
            .filter(|abi| {
                wanted(
                    spec.architectures().as_deref().unwrap_or_default(),
                    **abi,
                    target,
                )
            })
            .map(|abi| AbiRules::new(*abi, &parsed, default, enosys_newer))
            .collect::<Result<_>>()?;
        Ok(Self { default, abis })
    }

    /// Whether a rule hands calls to a listener.
    pub(super) fn notifies(&self) -> bool {
        self.abis
            .iter()
            .flat_map(|a| a.calls.values())
            .any(|d| match d {
                Decision::Always(action) => *action == ret::USER_NOTIF,
                Decision::Rules(rules) => {
                    rules.iter().any(|(_, action)| *action == ret::USER_NOTIF)
                }
            })
    }
}

impl AbiRules {
    fn new(
        abi: Abi,
        rules: &[(&LinuxSyscall, u32)],
        default: u32,
        enosys_newer: bool,
    ) -> Result<Self> {
        let mut calls = BTreeMap::new();
        let mut newest = None;
        for (rule, action) in rules {
            let args = rule.args().as_deref().unwrap_or_default();
            for name in rule.names() {
                // Checked even where the call is unknown: a mistake must not depend on the machine.
                let alternatives = alternatives(abi, name, args)?;
                let Some(number) = abi.number(name) else {
                    continue;
                };
                if !abi.is_private(number) {
                    newest = newest.max(Some(number));
                }
                if *action != default {
                    add(&mut calls, number, alternatives, *action);
                }
            }
        }
        Ok(Self {
            abi,
            calls,
            newest: if enosys_newer { newest } else { None },
        })
    }
}

fn add(
    calls: &mut BTreeMap<u32, Decision>,
    number: u32,
    alternatives: Vec<Vec<Condition>>,
    action: u32,
) {
    if alternatives.is_empty() {
        let decided = calls.entry(number).or_insert(Decision::Always(action));
        if matches!(decided, Decision::Rules(_)) {
            *decided = Decision::Always(action);
        }
        return;
    }
    if let Decision::Rules(rules) = calls.entry(number).or_insert(Decision::Rules(Vec::new())) {
        rules.extend(
            alternatives
                .into_iter()
                .map(|conditions| (conditions, action)),
        );
    }
}

/// The conjunctions that a rule's arguments stand for; none at all if it has no arguments.
fn alternatives(abi: Abi, name: &str, args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Condition>>> {
    let mut conditions = Vec::with_capacity(args.len());
    let mut seen = [false; 6];
    let mut repeated = false;
    for arg in args {
        let Some(slot) = seen.get_mut(arg.index()) else {
            let why = format!(
                "argument {} of a system call does not exist: use 0 to 5",
                arg.index()
            );
            return Err(Error::new(
                Kind::Invalid,
                "compile seccomp profile",
                name,
                why,
            ));
        };
        repeated |= std::mem::replace(slot, true);
        conditions.push(condition(abi, name, arg));
    }
    Ok(match (conditions.is_empty(), repeated) {
        (true, _) => Vec::new(),
        (false, false) => vec![conditions],
        (false, true) => conditions.into_iter().map(|c| vec![c]).collect(),
    })
}

fn condition(abi: Abi, name: &str, arg: &LinuxSeccompArg) -> Condition {
    let width = if abi.is_32bit() {
        widths::of(name, arg.index()).min(Width::W32)
    } else {
        widths::of(name, arg.index())
    };
    let value = arg.value();
    let test = match arg.op() {
        LinuxSeccompOperator::ScmpCmpMaskedEq => masked(width, value, arg.value_two().unwrap_or(0)),
        op => match (width.cut(value), op) {
            (Some(value), LinuxSeccompOperator::ScmpCmpEq) => Test::Eq(value),
            (Some(value), LinuxSeccompOperator::ScmpCmpNe) => Test::Ne(value),
            (Some(value), LinuxSeccompOperator::ScmpCmpGt) => Test::Gt(value),
            (Some(value), LinuxSeccompOperator::ScmpCmpGe) => Test::Ge(value),
            (Some(value), LinuxSeccompOperator::ScmpCmpLt) => Test::Lt(value),
            (Some(value), _) => Test::Le(value),
            // The value is larger than any that the kernel can see in this argument.
            (
                None,
                LinuxSeccompOperator::ScmpCmpEq
                | LinuxSeccompOperator::ScmpCmpGt
                | LinuxSeccompOperator::ScmpCmpGe,
            ) => Test::Never,
            (None, _) => Test::Always,
        },
    };
    // Six arguments at most, checked by the caller.
    Condition {
        index: arg.index() as u8,
        width,
        test,
    }
}

/// `(argument & mask) == value`, for an argument of `width`.
fn masked(width: Width, mask: u64, value: u64) -> Test {
    let kept = width.mask();
    if value & !mask != 0 {
        return Test::Never;
    }
    // A negative value under a mask that keeps its sign is the argument's own negative value.
    let sign_kept = mask & !kept == !kept && width.cut(value).is_some();
    if value & !kept != 0 && !sign_kept {
        return Test::Never;
    }
    Test::Masked {
        mask: mask & kept,
        value: value & kept,
    }
}

/// A filter's return value for an action.
fn action(subject: &str, action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    let invalid = |why: String| {
        Err(Error::new(
            Kind::Invalid,
            "compile seccomp profile",
            subject,
            why,
        ))
    };
    let plain = match action {
        LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace => {
            let errno = errno.unwrap_or(libc::EPERM.unsigned_abs());
            if errno > MAX_ERRNO {
                return invalid(format!("errno {errno} is over {MAX_ERRNO}"));
            }
            let base = if action == LinuxSeccompAction::ScmpActErrno {
                ret::ERRNO
            } else {
                ret::TRACE
            };
            return Ok(base | errno);
        }
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ret::KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => ret::KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => ret::TRAP,
        LinuxSeccompAction::ScmpActNotify => ret::USER_NOTIF,
        LinuxSeccompAction::ScmpActLog => ret::LOG,
        LinuxSeccompAction::ScmpActAllow => ret::ALLOW,
    };
    match errno {
        Some(_) => invalid(format!("{action} takes no errnoRet")),
        None => Ok(plain),
    }
}

fn first_name(rule: &LinuxSyscall) -> &str {
    rule.names().first().map_or("(no name)", String::as_str)
}

/// The native ABI always counts, as with libseccomp; architectures of other machines cannot occur here.
fn wanted(listed: &[Arch], abi: Abi, target: Target) -> bool {
    abi == target.abis()[0] || listed.contains(&abi.oci())
}
