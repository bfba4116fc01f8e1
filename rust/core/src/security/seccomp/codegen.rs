//! From a policy to instructions.
//!
//! ```text
//! load arch ── x86_64 ── load nr ── below 0x40000000 ── binary search over ranges of numbers ── leaf
//!           │                     └ else (x32) ─────── binary search ── leaf
//!           ├─ i386 ── load nr ── binary search ── leaf
//!           └─ other: kill
//! leaf: return an action, or compare arguments rule by rule and return
//! ```
//!
//! Number -1 is what a tracer puts in place of a call that it wants skipped (ptrace(2), PTRACE_SYSCALL). The kernel runs
//! nothing for it, so it is allowed: an errno would overwrite the result that the tracer chose.
use super::abi::{Abi, X32_BIT};
use super::bpf::{Builder, Insn, Label, op};
use super::rules::{AbiRules, Condition, Decision, Policy, Rule, Test, ret};
use super::widths::Width;

/// Offsets in `struct seccomp_data`, little-endian.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// The number of a call that a tracer skips.
const SKIPPED: u32 = u32::MAX;
const ENOSYS: u32 = ret::ERRNO | libc::ENOSYS as u32;

/// What happens to a range of numbers.
#[derive(Clone, PartialEq)]
enum Outcome<'a> {
    Return(u32),
    Rules(&'a [Rule]),
}

/// The program of a policy.
pub(super) fn generate(policy: &Policy) -> Vec<Insn> {
    let mut b = Builder::default();
    let mut next = b.ret(ret::KILL_PROCESS);
    // Backwards: the native ABI's test comes first in the program.
    let (x32, plain): (Vec<_>, Vec<_>) =
        policy.abis.iter().partition(|rules| rules.abi == Abi::X32);
    for rules in plain.iter().rev() {
        let entry = match rules.abi {
            Abi::X86_64 => {
                let upper = match x32.first() {
                    Some(rules) => tree(&mut b, &ranges(policy, rules), policy.default),
                    None => without_x32(&mut b),
                };
                let lower = tree(&mut b, &ranges(policy, rules), policy.default);
                b.jump(op::JGE, X32_BIT, upper, lower)
            }
            _ => tree(&mut b, &ranges(policy, rules), policy.default),
        };
        let entry = b.then(op::LD, NR, entry);
        next = b.jump(op::JEQ, rules.abi.audit(), entry, next);
    }
    b.then(op::LD, ARCH, next);
    b.finish()
}

/// x32 calls where the profile has no x32.
fn without_x32(b: &mut Builder) -> Label {
    let kill = b.ret(ret::KILL_PROCESS);
    let allow = b.ret(ret::ALLOW);
    b.jump(op::JEQ, SKIPPED, allow, kill)
}

/// The ABI's whole range of numbers, cut where the outcome changes: first number of each, ascending.
fn ranges<'a>(policy: &Policy, rules: &'a AbiRules) -> Vec<(u32, Outcome<'a>)> {
    let first = if rules.abi == Abi::X32 { X32_BIT } else { 0 };
    let unlisted = |number: u32| match rules.newest {
        _ if number == SKIPPED => Outcome::Return(ret::ALLOW),
        Some(newest) if number > newest && !rules.abi.is_private(number) => Outcome::Return(ENOSYS),
        _ => Outcome::Return(policy.default),
    };
    let private = rules.abi.private();
    let mut cuts = vec![first, private.start, private.end, SKIPPED];
    cuts.extend(rules.newest.map(|n| n + 1));
    cuts.extend(rules.calls.keys().flat_map(|n| [*n, n + 1]));
    cuts.retain(|n| *n >= first);
    cuts.sort_unstable();
    cuts.dedup();
    let mut ranges: Vec<(u32, Outcome<'a>)> = Vec::new();
    for number in cuts {
        let outcome = match rules.calls.get(&number) {
            Some(Decision::Always(action)) => Outcome::Return(*action),
            Some(Decision::Rules(list)) => Outcome::Rules(list),
            None => unlisted(number),
        };
        if ranges.last().is_none_or(|(_, last)| *last != outcome) {
            ranges.push((number, outcome));
        }
    }
    ranges
}

/// A balanced search over the ranges; the accumulator holds the number.
fn tree(b: &mut Builder, ranges: &[(u32, Outcome<'_>)], default: u32) -> Label {
    match ranges {
        [(_, outcome)] => leaf(b, outcome, default),
        // One number amid others that share an outcome: one test instead of two.
        [(_, around), (number, one), (after, same)] if around == same && *after == number + 1 => {
            let no = leaf(b, around, default);
            let yes = leaf(b, one, default);
            b.jump(op::JEQ, *number, yes, no)
        }
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let yes = tree(b, right, default);
            let no = tree(b, left, default);
            b.jump(op::JGE, right[0].0, yes, no)
        }
    }
}

fn leaf(b: &mut Builder, outcome: &Outcome<'_>, default: u32) -> Label {
    match outcome {
        Outcome::Return(action) => b.ret(*action),
        Outcome::Rules(rules) => {
            rules
                .iter()
                .rev()
                .fold(Start::plain(b.ret(default)), |no, r| rule(b, r, no))
                .entry
        }
    }
}

/// Where a piece of code starts; if its first instruction is a load, what it loads and what follows it. Whoever has that
/// word in the accumulator already goes there.
#[derive(Clone, Copy)]
struct Start {
    entry: Label,
    loaded: Option<(u32, Label)>,
}

impl Start {
    fn plain(entry: Label) -> Self {
        Self {
            entry,
            loaded: None,
        }
    }

    /// Code that starts with the load of the word at `offset`.
    fn load(b: &mut Builder, offset: u32, then: Label) -> Self {
        Self {
            entry: b.then(op::LD, offset, then),
            loaded: Some((offset, then)),
        }
    }

    /// The label for a jump made while the accumulator holds the word at `offset`.
    fn knowing(self, offset: u32) -> Label {
        match self.loaded {
            Some((known, after)) if known == offset => after,
            _ => self.entry,
        }
    }
}

/// One rule; `no` is where to go on if it does not hold.
fn rule(b: &mut Builder, (conditions, action): &Rule, no: Start) -> Start {
    let holds = Start::plain(b.ret(*action));
    conditions
        .iter()
        .rev()
        .fold(holds, |yes, c| condition(b, c, yes, no))
}

fn condition(b: &mut Builder, c: &Condition, yes: Start, no: Start) -> Start {
    let low = ARGS + 8 * u32::from(c.index);
    let high = (c.width == Width::W64).then_some(low + 4);
    match c.test {
        Test::Always => yes,
        Test::Never => no,
        Test::Eq(v) => equal(b, c.width, (low, high), v, yes, no),
        Test::Ne(v) => equal(b, c.width, (low, high), v, no, yes),
        Test::Gt(v) => greater(b, op::JGT, c.width, (low, high), v, yes, no),
        Test::Ge(v) => greater(b, op::JGE, c.width, (low, high), v, yes, no),
        Test::Le(v) => greater(b, op::JGT, c.width, (low, high), v, no, yes),
        Test::Lt(v) => greater(b, op::JGE, c.width, (low, high), v, no, yes),
        Test::Masked { mask, value } => masked(b, (low, high), mask, value, yes, no),
    }
}

/// Loads the low half and compares it, cut to its width.
fn compare_low(
    b: &mut Builder,
    code: u16,
    width: Width,
    low: u32,
    value: u64,
    yes: Start,
    no: Start,
) -> Start {
    if width == Width::W16 {
        let test = b.jump(code, lower(value), yes.entry, no.entry);
        let cut = b.then(op::AND, 0xffff, test);
        return Start::load(b, low, cut);
    }
    let test = b.jump(code, lower(value), yes.knowing(low), no.knowing(low));
    Start::load(b, low, test)
}

fn equal(
    b: &mut Builder,
    w: Width,
    at: (u32, Option<u32>),
    v: u64,
    yes: Start,
    no: Start,
) -> Start {
    let start = compare_low(b, op::JEQ, w, at.0, v, yes, no);
    let Some(high) = at.1 else { return start };
    let test = b.jump(op::JEQ, upper(v), start.entry, no.knowing(high));
    Start::load(b, high, test)
}

/// `argument > v` or `argument >= v`: the upper half decides unless it is equal.
fn greater(
    b: &mut Builder,
    code: u16,
    w: Width,
    at: (u32, Option<u32>),
    v: u64,
    yes: Start,
    no: Start,
) -> Start {
    let start = compare_low(b, code, w, at.0, v, yes, no);
    let Some(high) = at.1 else { return start };
    let same = b.jump(op::JEQ, upper(v), start.entry, no.knowing(high));
    let test = b.jump(op::JGT, upper(v), yes.knowing(high), same);
    Start::load(b, high, test)
}

/// `(argument & mask) == value`; halves that the mask drops are not looked at.
fn masked(
    b: &mut Builder,
    at: (u32, Option<u32>),
    mask: u64,
    value: u64,
    yes: Start,
    no: Start,
) -> Start {
    let mut start = yes;
    for (offset, mask, value) in [
        (Some(at.0), lower(mask), lower(value)),
        (at.1, upper(mask), upper(value)),
    ] {
        let Some(offset) = offset else { continue };
        start = match mask {
            0 => start,
            u32::MAX => {
                let test = b.jump(op::JEQ, value, start.knowing(offset), no.knowing(offset));
                Start::load(b, offset, test)
            }
            _ => {
                let test = b.jump(op::JEQ, value, start.entry, no.entry);
                let cut = b.then(op::AND, mask, test);
                Start::load(b, offset, cut)
            }
        };
    }
    start
}

fn lower(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn upper(value: u64) -> u32 {
    (value >> 32) as u32
}
