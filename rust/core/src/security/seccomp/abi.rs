//! The five system call ABIs that a filter can meet, and how `seccomp_data` names them.
use std::ops::Range;

use oci_spec::runtime::Arch;

use super::syscalls::SYSCALLS;

/// Bit that marks an x32 call on x86_64; `seccomp_data.nr` carries it.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// The machine that a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// x86_64, with x32 and i386 programs.
    X86_64,
    /// aarch64, with 32-bit arm programs.
    Aarch64,
}

impl Target {
    /// The machine that this code runs on; `None` where minidock has no system call table.
    #[must_use]
    pub fn host() -> Option<Self> {
        Self::from_name(std::env::consts::ARCH)
    }

    /// By the kernel's or Go's name (`x86_64`, `amd64`, `aarch64`, `arm64`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "x86_64" | "amd64" => Some(Self::X86_64),
            "aarch64" | "arm64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The native ABI first, then those of its 32-bit programs.
    pub(super) fn abis(self) -> &'static [Abi] {
        match self {
            Self::X86_64 => &[Abi::X86_64, Abi::X32, Abi::X86],
            Self::Aarch64 => &[Abi::Aarch64, Abi::Arm],
        }
    }

    /// Its ELF machine number, as programs store it.
    pub(super) fn machine(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }
}

/// One calling convention: the value of `seccomp_data.arch`, and a numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X32,
    X86,
    Aarch64,
    Arm,
}

impl Abi {
    /// `AUDIT_ARCH_*` of linux/audit.h.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether the kernel zero-extends all arguments from 32 bits.
    pub(super) fn is_32bit(self) -> bool {
        matches!(self, Self::X86 | Self::Arm)
    }

    pub(super) fn oci(self) -> Arch {
        match self {
            Self::X86_64 => Arch::ScmpArchX86_64,
            Self::X32 => Arch::ScmpArchX32,
            Self::X86 => Arch::ScmpArchX86,
            Self::Aarch64 => Arch::ScmpArchAarch64,
            Self::Arm => Arch::ScmpArchArm,
        }
    }

    /// The call's number, x32 bit included; `None` where this ABI lacks it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let row = SYSCALLS.binary_search_by_key(&name, |(n, _)| n).ok()?;
        u32::try_from(SYSCALLS[row].1[self as usize]).ok()
    }

    /// Numbers of the ABI's own that say nothing about a call's age. arm has some at 0xf0000 (asm/unistd.h); x32 has
    /// at 512 those that differ from x86_64 (syscall_64.tbl), all older than Linux 5.4. Empty where there are none.
    pub(super) fn private(self) -> Range<u32> {
        match self {
            Self::Arm => 0xf_0000..0x10_0000,
            Self::X32 => X32_BIT + 512..X32_BIT + 548,
            Self::X86_64 | Self::X86 | Self::Aarch64 => 0..0,
        }
    }

    pub(super) fn is_private(self, number: u32) -> bool {
        self.private().contains(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_numbers_are_unique() {
        assert!(SYSCALLS.windows(2).all(|w| w[0].0 < w[1].0));
        for abi in [Abi::X86_64, Abi::X32, Abi::X86, Abi::Aarch64, Abi::Arm] {
            let mut seen = std::collections::HashMap::new();
            for (name, numbers) in SYSCALLS {
                if numbers[abi as usize] < 0 || name.ends_with("sync_file_range") {
                    continue;
                }
                assert_eq!(
                    seen.insert(numbers[abi as usize], name),
                    None,
                    "{abi:?} {name}"
                );
            }
        }
    }

    #[test]
    fn numbers_are_those_of_the_kernel() {
        assert_eq!(Abi::X86_64.number("clone3"), Some(435));
        assert_eq!(Abi::X32.number("execve"), Some(X32_BIT + 520));
        assert_eq!(Abi::X86.number("socketcall"), Some(102));
        assert_eq!(Abi::Aarch64.number("newfstatat"), Some(79));
        assert_eq!(Abi::Arm.number("set_tls"), Some(0xf_0005));
        assert_eq!(Abi::X86_64.number("file_setattr"), Some(469));
        assert_eq!(Abi::X86_64.number("socketcall"), None);
        assert_eq!(Abi::X86_64.number("no_such_call"), None);
    }
}
