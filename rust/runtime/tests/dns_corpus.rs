//! The fuzz target of the name server on its kept corpus, and on mutations of it (more with `MINIDOCK_SOAK`).
use std::fs;
use std::path::Path;

#[path = "../../fuzz/dns_targets.rs"]
mod dns_targets;

/// xorshift: the same mutations in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn mutate(data: &[u8], random: &mut Random) -> Vec<u8> {
    let mut data = data.to_vec();
    for _ in 0..=random.below(4) {
        if data.is_empty() {
            return data;
        }
        let at = random.below(data.len());
        match random.below(5) {
            0 => data[at] ^= 1 << random.below(8),
            1 => data[at] = b"\x00\x01\x29\x3f\x40\xc0\xff."[random.below(8)],
            2 => data.truncate(at),
            3 => {
                data.remove(at);
            }
            _ => {
                let end = (at + random.below(40)).min(data.len());
                let part = data[at..end].to_vec();
                let to = random.below(data.len());
                data.splice(to..to, part);
            }
        }
    }
    data
}

#[test]
fn dns() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/dns");
    let mut files: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let rounds = if std::env::var_os("MINIDOCK_SOAK").is_some() {
        2_000_000
    } else {
        2_000
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for file in files {
        let data = fs::read(&file).unwrap();
        dns_targets::dns(&data);
        for _ in 0..rounds {
            let mutated = mutate(&data, &mut random);
            if let Err(panic) = std::panic::catch_unwind(|| dns_targets::dns(&mutated)) {
                eprintln!("put it into the corpus: {mutated:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}
