//! A compiled filter and its stable byte form.
use super::abi::Target;
use super::bpf::Insn;
use crate::{Error, Kind, Result};

const MAGIC: [u8; 4] = *b"MDSF";
const VERSION: u16 = 1;
const HEADER: usize = 24;
const INSN: usize = 8;

/// Most instructions that the kernel takes (`BPF_MAXINSNS`).
pub(super) const MAX_LEN: usize = 4096;

/// A compiled filter: instructions, flags for seccomp(2), the machine it is for.
///
/// Its byte form, all little-endian: magic `MDSF`, version u16, ELF machine u16, flags u32, count u32, FNV-1a of the
/// rest u64, then per instruction code u16, jt u8, jf u8, k u32. The sum finds a file torn by a crash, of which
/// a hole of zeros would be a valid but weaker filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(super) machine: u16,
    pub(super) flags: u32,
    pub(super) code: Vec<Insn>,
}

impl Program {
    /// Number of instructions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.code.len()
    }

    /// Whether it has none; no compiled program is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.code.is_empty()
    }

    /// Its instructions, first to last.
    #[must_use]
    pub fn code(&self) -> &[Insn] {
        &self.code
    }

    /// `SECCOMP_FILTER_FLAG_*` bits (linux/seccomp.h).
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// The byte form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.code.len() * INSN);
        for insn in &self.code {
            body.extend_from_slice(&insn.code.to_le_bytes());
            body.extend_from_slice(&[insn.jt, insn.jf]);
            body.extend_from_slice(&insn.k.to_le_bytes());
        }
        // compile() and from_bytes() keep the count below 4097.
        let count = self.code.len() as u32;
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.machine.to_le_bytes());
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        let sum = fnv1a(bytes.iter().chain(&body));
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads the byte form.
    ///
    /// # Errors
    /// `corrupt` if the bytes are no whole program of this version or are damaged, `unsupported` if it is for another
    /// machine than this one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let corrupt = |why: &str| Error::new(Kind::Corrupt, "read seccomp filter", "", why);
        let Some((header, body)) = bytes.split_at_checked(HEADER) else {
            return Err(corrupt("too short"));
        };
        let u16_at = |i: usize| u16::from_le_bytes([header[i], header[i + 1]]);
        let u32_at =
            |i: usize| u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
        if header[..4] != MAGIC || u16_at(4) != VERSION {
            return Err(corrupt("not a filter of this version"));
        }
        let count = u32_at(12) as usize;
        if count == 0 || count > MAX_LEN || body.len() != count * INSN {
            return Err(corrupt("length does not match"));
        }
        if header[16..24] != fnv1a(header[..16].iter().chain(body)).to_le_bytes() {
            return Err(corrupt("checksum does not match"));
        }
        let machine = u16_at(6);
        if Target::host().is_none_or(|host| host.machine() != machine) {
            let why = format!("it is for machine {machine}");
            return Err(Error::new(
                Kind::Unsupported,
                "read seccomp filter",
                "",
                why,
            ));
        }
        let code = body
            .chunks_exact(INSN)
            .map(|c| Insn {
                code: u16::from_le_bytes([c[0], c[1]]),
                jt: c[2],
                jf: c[3],
                k: u32::from_le_bytes([c[4], c[5], c[6], c[7]]),
            })
            .collect();
        Ok(Self {
            machine,
            flags: u32_at(8),
            code,
        })
    }
}

/// 64-bit FNV-1a.
fn fnv1a<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Program {
        let machine = Target::host()
            .expect("tests run on a known machine")
            .machine();
        let code = vec![
            Insn {
                code: 0x15,
                jt: 1,
                jf: 255,
                k: 0xdead_beef,
            },
            Insn {
                code: 6,
                jt: 0,
                jf: 0,
                k: 1,
            },
        ];
        Program {
            machine,
            flags: 2,
            code,
        }
    }

    #[test]
    fn bytes_round_trip() {
        let program = sample();
        assert_eq!(Program::from_bytes(&program.to_bytes()).unwrap(), program);
    }

    #[test]
    fn every_damage_is_found() {
        let bytes = sample().to_bytes();
        for length in 0..bytes.len() {
            assert!(
                Program::from_bytes(&bytes[..length]).is_err(),
                "cut to {length}"
            );
        }
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            assert!(Program::from_bytes(&damaged).is_err(), "byte {index}");
        }
        let mut long = bytes;
        long.push(0);
        assert!(Program::from_bytes(&long).is_err());
    }

    #[test]
    fn another_machines_filter_is_refused() {
        let mut program = sample();
        program.machine = 8;
        assert_eq!(
            Program::from_bytes(&program.to_bytes()).unwrap_err().kind,
            Kind::Unsupported
        );
    }
}
