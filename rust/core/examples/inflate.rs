//! Decompresses files, one thread per core, and throws the bytes away: `cargo run --release --example inflate -- FILE.gz FILE.zst …`.
//! What inflating alone takes of a pull, with the libraries that unpack layers.
use std::fs::File;
use std::io::{self, Read};
use std::sync::Mutex;
use std::time::Instant;

fn inflate(path: &str) -> io::Result<u64> {
    let file = File::open(path)?;
    let mut reader: Box<dyn Read> = if path.ends_with(".zst") {
        Box::new(zstd::Decoder::new(file)?)
    } else {
        Box::new(flate2::bufread::MultiGzDecoder::new(
            io::BufReader::with_capacity(1 << 18, file),
        ))
    };
    let (mut chunk, mut size) = (vec![0; 1 << 18], 0);
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(size),
            count => size += count as u64,
        }
    }
}

fn main() {
    let started = Instant::now();
    let paths = Mutex::new(std::env::args().skip(1).rev().collect::<Vec<_>>());
    let size = Mutex::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(path) = paths.lock().expect("no thread panics with it").pop() else {
                        return;
                    };
                    match inflate(&path) {
                        Ok(more) => *size.lock().expect("no thread panics with it") += more,
                        Err(error) => {
                            eprintln!("{path}: {error}");
                            std::process::exit(1);
                        }
                    }
                }
            });
        }
    });
    println!(
        "{:.3} s, {} bytes",
        started.elapsed().as_secs_f64(),
        size.into_inner().expect("no thread panics with it")
    );
}
