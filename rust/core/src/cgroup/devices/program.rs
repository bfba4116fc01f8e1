//! Device rules as an eBPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE`.
//!
//! The kernel passes `struct bpf_cgroup_dev_ctx`: u32 `access_type` (low 16 bits the kind, high 16 bits the access), u32
//! major, u32 minor. The program returns 1 to allow. It goes through the rules from the last to the first and keeps in
//! r2 the bits that no rule has decided yet.
use super::{ALL, DeviceKind, Rule};

/// One eBPF instruction, `struct bpf_insn` of the kernel in its byte layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four (little endian).
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Constant.
    pub constant: i32,
}

/// Operations (Documentation/bpf/standardization/instruction-set.rst).
pub(crate) mod op {
    /// dst = *(u32 *)(src + offset)
    pub const LOAD_WORD: u8 = 0x61;
    /// (u32) dst = constant
    pub const MOVE32: u8 = 0xb4;
    /// (u32) dst &= constant
    pub const AND32: u8 = 0x54;
    /// (u32) dst >>= constant
    pub const SHIFT_RIGHT32: u8 = 0x74;
    /// (u32) dst = src
    pub const MOVE32_REGISTER: u8 = 0xbc;
    /// jump
    pub const JUMP: u8 = 0x05;
    /// if (u32) dst != constant: jump
    pub const JUMP_NOT_EQUAL32: u8 = 0x56;
    /// if (u32) dst & constant: jump
    pub const JUMP_SET32: u8 = 0x46;
    /// return r0
    pub const EXIT: u8 = 0x95;
}

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const UNDECIDED: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const fn instruction(code: u8, dst: u8, src: u8, offset: i16, constant: i32) -> Instruction {
    // Bit fields of a big-endian kernel are the other way round.
    let registers = if cfg!(target_endian = "big") {
        (dst << 4) | src
    } else {
        (src << 4) | dst
    };
    Instruction {
        code,
        registers,
        offset,
        constant,
    }
}

/// Compiles rules; at most 8 instructions each.
#[must_use]
pub fn compile(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(op::LOAD_WORD, UNDECIDED, CONTEXT, 0, 0),
        instruction(op::MOVE32_REGISTER, KIND, UNDECIDED, 0, 0),
        instruction(op::AND32, KIND, 0, 0, 0xffff),
        instruction(op::SHIFT_RIGHT32, UNDECIDED, 0, 0, 16),
        instruction(op::LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(op::LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    // What comes before the last rule on everything has no effect.
    let from = rules.iter().rposition(Rule::is_everything).unwrap_or(0);
    let mut decided = false;
    for rule in rules[from..].iter().rev() {
        if rule.is_everything() {
            program.extend([
                instruction(op::MOVE32, RESULT, 0, 0, rule.allow.into()),
                instruction(op::EXIT, 0, 0, 0, 0),
            ]);
            decided = true;
            break;
        }
        let mut block = Vec::with_capacity(8);
        let mut skips = Vec::with_capacity(4);
        let mut unless = |block: &mut Vec<Instruction>, register: u8, value: u32| {
            skips.push(block.len());
            block.push(instruction(
                op::JUMP_NOT_EQUAL32,
                register,
                0,
                0,
                value.cast_signed(),
            ));
        };
        if let Some(kind) = rule.kind {
            // BPF_DEVCG_DEV_BLOCK and BPF_DEVCG_DEV_CHAR
            unless(
                &mut block,
                KIND,
                if kind == DeviceKind::Block { 1 } else { 2 },
            );
        }
        if let Some(major) = rule.major {
            unless(&mut block, MAJOR, major);
        }
        if let Some(minor) = rule.minor {
            unless(&mut block, MINOR, minor);
        }
        if rule.allow {
            block.push(instruction(
                op::AND32,
                UNDECIDED,
                0,
                0,
                i32::from(ALL & !rule.access),
            ));
            block.push(instruction(op::JUMP_NOT_EQUAL32, UNDECIDED, 0, 2, 0));
            block.push(instruction(op::MOVE32, RESULT, 0, 0, 1));
        } else {
            // A bit of the rule is undecided: to "return 0"; otherwise over it.
            block.push(instruction(
                op::JUMP_SET32,
                UNDECIDED,
                0,
                1,
                rule.access.into(),
            ));
            skips.push(block.len());
            block.push(instruction(op::JUMP, 0, 0, 0, 0));
            block.push(instruction(op::MOVE32, RESULT, 0, 0, 0));
        }
        block.push(instruction(op::EXIT, 0, 0, 0, 0));
        let end = block.len();
        for at in skips {
            block[at].offset = i16::try_from(end - at - 1).unwrap_or_default();
        }
        program.extend(block);
    }
    if !decided {
        program.extend([
            instruction(op::MOVE32, RESULT, 0, 0, 0),
            instruction(op::EXIT, 0, 0, 0, 0),
        ]);
    }
    program
}

#[cfg(test)]
mod tests {
    use super::super::{MKNOD, READ, WRITE, allowed, strategy};
    use super::*;
    use proptest::prelude::*;

    /// Runs a program as the kernel does; panics where its verifier would refuse.
    fn run(program: &[Instruction], kind: DeviceKind, major: u32, minor: u32, access: u8) -> u32 {
        let kind = if kind == DeviceKind::Block { 1 } else { 2 };
        let context = [(u32::from(access) << 16) | kind, major, minor];
        let mut registers = [None; 11];
        let mut at = 0usize;
        loop {
            let Instruction {
                code,
                registers: names,
                offset,
                constant,
            } = program[at];
            let (dst, src) = (usize::from(names & 15), usize::from(names >> 4));
            let constant = constant.cast_unsigned();
            at += 1;
            let jump = match code {
                op::LOAD_WORD => {
                    assert_eq!(src, 1);
                    registers[dst] = Some(context[usize::try_from(offset).unwrap() / 4]);
                    false
                }
                op::MOVE32 => {
                    registers[dst] = Some(constant);
                    false
                }
                op::MOVE32_REGISTER => {
                    registers[dst] = Some(registers[src].unwrap());
                    false
                }
                op::AND32 => {
                    registers[dst] = Some(registers[dst].unwrap() & constant);
                    false
                }
                op::SHIFT_RIGHT32 => {
                    registers[dst] = Some(registers[dst].unwrap() >> constant);
                    false
                }
                op::JUMP => true,
                op::JUMP_NOT_EQUAL32 => registers[dst].unwrap() != constant,
                op::JUMP_SET32 => registers[dst].unwrap() & constant != 0,
                op::EXIT => return registers[0].unwrap(),
                other => panic!("unknown operation {other:#x}"),
            };
            if jump {
                assert!(offset >= 0, "the program may not loop");
                at += usize::try_from(offset).unwrap();
            }
        }
    }

    #[test]
    fn nothing_is_allowed_without_rules() {
        assert_eq!(run(&compile(&[]), DeviceKind::Char, 1, 3, READ), 0);
    }

    #[test]
    fn large_numbers_compare_whole() {
        let rule = Rule {
            allow: true,
            kind: None,
            major: Some(u32::MAX),
            minor: Some(1 << 31),
            access: READ,
        };
        let program = compile(&[rule]);
        assert_eq!(run(&program, DeviceKind::Char, u32::MAX, 1 << 31, READ), 1);
        assert_eq!(run(&program, DeviceKind::Char, u32::MAX, 0, READ), 0);
        assert_eq!(
            run(&program, DeviceKind::Char, u32::MAX, 1 << 31, READ | WRITE),
            0
        );
    }

    #[test]
    fn bits_from_two_rules_add_up() {
        let one = |access| Rule {
            allow: true,
            kind: Some(DeviceKind::Char),
            major: Some(1),
            minor: Some(3),
            access,
        };
        let program = compile(&[one(READ), one(WRITE)]);
        assert_eq!(run(&program, DeviceKind::Char, 1, 3, READ | WRITE), 1);
        assert_eq!(run(&program, DeviceKind::Char, 1, 3, READ | MKNOD), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn means_what_the_rules_mean(rules in strategy::rules(), kind in strategy::kind(), major in 0u32..5, minor in 0u32..5, access in 1u8..8) {
            let program = compile(&rules);
            prop_assert_eq!(run(&program, kind, major, minor, access) == 1, allowed(&rules, kind, major, minor, access));
            prop_assert!(program.len() <= 8 + 8 * rules.len());
        }
    }
}
