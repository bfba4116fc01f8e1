//! Classic BPF, assembled from the last instruction to the first.
//!
//! Jumps of classic BPF only go forward, and conditional ones at most 255 instructions. Built backwards, every target
//! is known when a jump to it is written; one that is too far gets a trampoline (an unconditional jump, or another copy
//! of the return instruction) just behind the jump.

/// `struct sock_filter` of linux/filter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if the condition holds.
    pub jt: u8,
    /// Instructions to skip otherwise.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// The operations that a filter uses: those that the kernel's constant-action cache understands (Linux 5.11), so that
/// calls allowed whatever their arguments do not even run the filter.
pub(super) mod op {
    /// Load the word at offset k of `seccomp_data`.
    pub const LD: u16 = 0x20;
    /// `a & k`.
    pub const AND: u16 = 0x54;
    /// Jump by k.
    pub const JA: u16 = 0x05;
    /// Jump if a == k.
    pub const JEQ: u16 = 0x15;
    /// Jump if a > k, unsigned.
    pub const JGT: u16 = 0x25;
    /// Jump if a >= k, unsigned.
    pub const JGE: u16 = 0x35;
    /// Return k.
    pub const RET: u16 = 0x06;
}

/// An instruction that is already written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program being built, last instruction first.
#[derive(Default)]
pub(super) struct Builder {
    reversed: Vec<Insn>,
}

/// Farthest target of a conditional jump, less one: the other target may still need a trampoline between.
const REACH: usize = 254;

impl Builder {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Insn { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }

    /// Instructions between the next one to be written and `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - 1 - target.0
    }

    /// `target`, or something near that leads to it.
    fn near(&mut self, target: Label) -> Label {
        if self.distance(target) <= REACH {
            return target;
        }
        let Insn { code, k, .. } = self.reversed[target.0];
        if code == op::RET {
            return self.ret(k);
        }
        let distance = u32::try_from(self.distance(target)).unwrap_or(u32::MAX);
        self.push(op::JA, 0, 0, distance)
    }

    /// A return of `action`; one that is written already and near serves again.
    pub(super) fn ret(&mut self, action: u32) -> Label {
        let start = self.reversed.len().saturating_sub(REACH);
        let known = self.reversed[start..]
            .iter()
            .rposition(|i| i.code == op::RET && i.k == action);
        match known {
            Some(index) => Label(start + index),
            None => self.push(op::RET, 0, 0, action),
        }
    }

    /// A conditional jump on the accumulator.
    pub(super) fn jump(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let yes = self.near(yes);
        let no = self.near(no);
        let jt = u8::try_from(self.distance(yes)).expect("near() keeps targets within a byte");
        let jf = u8::try_from(self.distance(no)).expect("near() keeps targets within a byte");
        self.push(code, jt, jf, k)
    }

    /// An instruction that goes on at `next`.
    pub(super) fn then(&mut self, code: u16, k: u32, next: Label) -> Label {
        if self.distance(next) > 0 {
            let Insn { code, k, .. } = self.reversed[next.0];
            if code == op::RET {
                self.push(op::RET, 0, 0, k);
            } else {
                let distance = u32::try_from(self.distance(next)).unwrap_or(u32::MAX);
                self.push(op::JA, 0, 0, distance);
            }
        }
        self.push(code, 0, 0, k)
    }

    /// The program; its first instruction is the one written last.
    pub(super) fn finish(self) -> Vec<Insn> {
        self.reversed.into_iter().rev().collect()
    }
}
