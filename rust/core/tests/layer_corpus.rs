//! The fuzz targets on their kept corpora, and on a bounded number of mutations of each (more with `MINIDOCK_SOAK`).
//!
//! Whatever a fuzzer or a mutation finds goes into rust/fuzz/corpus and is checked here for ever.
use std::fs;
use std::path::Path;

#[path = "../../fuzz/targets.rs"]
mod targets;

/// Files of a corpus, sorted.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", dir.display());
    files
}

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
        match random.below(7) {
            0 => data[at] ^= 1 << random.below(8),
            1 => data[at] = *b"0157xgLKS\0\xff/.".get(random.below(13)).unwrap(),
            2 => data.truncate(at),
            // A block moves, doubles or goes.
            3 if data.len() > 1024 => {
                let from = random.below(data.len() / 512) * 512;
                let block = data[from..(from + 512).min(data.len())].to_vec();
                let to = random.below(data.len() / 512) * 512;
                data.splice(to..to, block);
            }
            4 if data.len() > 1024 => {
                let from = random.below(data.len() / 512) * 512;
                data.drain(from..(from + 512).min(data.len()));
            }
            5 => {
                // Names are at the start of a block: most of what matters is there and in the sizes.
                let field = [
                    (0, 20),
                    (124, 12),
                    (136, 12),
                    (156, 2),
                    (157, 20),
                    (345, 20),
                ][random.below(6)];
                let at = at / 512 * 512 + field.0 + random.below(field.1);
                if let Some(byte) = data.get_mut(at) {
                    *byte = random.below(256) as u8;
                }
            }
            _ => {
                let other = random.below(data.len());
                data.swap(at, other);
            }
        }
    }
    data
}

fn run(test: &str, name: &str, rounds: usize, target: fn(&[u8])) {
    let rounds = if std::env::var_os("MINIDOCK_SOAK").is_some() {
        rounds * 100
    } else {
        rounds
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (file, data) in corpus(name) {
        println!("{name}/{file}");
        target(&data);
        for _ in 0..rounds {
            let mutated = mutate(&data, &mut random);
            // Kept where a failure can be looked at, and gone when there was none.
            let kept = std::env::temp_dir()
                .join(format!("minidock-fuzz-last-{test}-{}", std::process::id()));
            fs::write(&kept, &mutated).unwrap();
            target(&mutated);
            fs::remove_file(&kept).unwrap();
        }
    }
}

#[test]
fn tar_parse() {
    run("tar_parse", "tar", 300, targets::tar_parse);
}

#[test]
fn unpack() {
    run("unpack", "tar", 25, targets::unpack_archive);
}

#[test]
fn tar_split() {
    run("tar_split", "tar_split", 200, targets::tar_split);
}

#[test]
fn decompress() {
    run("decompress", "compressed", 60, targets::decompress);
}

#[test]
fn whiteouts() {
    run("whiteouts", "whiteouts", 40, targets::whiteouts);
}
