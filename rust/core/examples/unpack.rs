//! Unpacks a layer and says how long it took: `cargo run --release --example unpack -- LAYER.tar DIRECTORY [TAR-SPLIT]`.
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use minidock_core::layer::{Control, Options, unpack};

fn main() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let (Some(layer), Some(directory)) = (args.first(), args.get(1)) else {
        eprintln!("usage: unpack LAYER.tar DIRECTORY [TAR-SPLIT]");
        std::process::exit(2);
    };
    let started = Instant::now();
    let result = File::open(layer).and_then(|source| {
        std::fs::create_dir(directory)?;
        let split = args.get(2).map(File::create_new).transpose()?;
        let target = File::open(directory)?.into();
        unpack(
            source.as_fd(),
            target,
            split,
            &Options::default(),
            &Arc::new(Control::default()),
        )
        .map_err(std::io::Error::other)
    });
    match result {
        Ok(done) => println!(
            "{:.3} s, {} entries, {} bytes of tar, {}",
            started.elapsed().as_secs_f64(),
            done.entries,
            done.digests.size,
            done.digests.diff_id
        ),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
