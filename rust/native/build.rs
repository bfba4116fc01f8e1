//! Builds the helper `minidock-runtime` as a static executable into `OUT_DIR`, from where maturin packs it
//! into the wheel. It has a target directory of its own: cargo holds the lock of the outer one while this runs.
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let here =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let runtime = here
        .parent()
        .expect("the crate has a parent folder")
        .join("runtime");
    for watched in [
        "../core/src",
        "../core/Cargo.toml",
        "../runtime/src",
        "../runtime/Cargo.toml",
        "../../Cargo.toml",
        "build.rs",
    ] {
        println!("cargo:rerun-if-changed={watched}");
    }
    // Beside the outer profile's `build` folder: its dependencies are compiled once, whatever folder the sources are in.
    let helper_target = out
        .ancestors()
        .nth(3)
        .expect("OUT_DIR is <profile>/build/<package>/out")
        .join("helper");
    let profile = match env::var("PROFILE").as_deref() {
        Ok("release") => "helper",
        _ => "helper-dev",
    };
    let linker = format!(
        "CARGO_TARGET_{}_LINKER",
        target.to_uppercase().replace('-', "_")
    );
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args([
            "build",
            "--profile",
            profile,
            "--bin",
            "minidock-runtime",
            "--target",
            &target,
        ])
        .arg("--manifest-path")
        .arg(runtime.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&helper_target)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static",
        )
        .env_remove("RUSTFLAGS")
        .env_remove("CC")
        .env_remove("CFLAGS")
        .env_remove(&linker);
    // The C compiler of the host, or Debian's for the other machine; never zig's: its libc has no static form.
    if target != env::var("HOST").expect("cargo sets HOST") {
        let (arch, _) = target.split_once('-').expect("a target is a triple");
        build.env(&linker, format!("{arch}-linux-gnu-gcc"));
    }
    // Cargo's variables of the outer build would make the inner one believe that it is this package's build script.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_FEATURE_")
            || name_text.starts_with("CARGO_CFG_")
            || name_text.starts_with("CARGO_PKG_")
        {
            build.env_remove(&name);
        }
    }
    if env::var("CARGO_NET_OFFLINE").is_ok_and(|v| v == "true") {
        build.arg("--offline");
    }
    let status = build.status().expect("cargo cannot be started");
    assert!(
        status.success(),
        "building minidock-runtime failed: {status}"
    );
    let built = helper_target
        .join(&target)
        .join(profile)
        .join("minidock-runtime");
    // Never into a file that a hard link shares, or that runs.
    let _ = fs::remove_file(out.join("minidock-runtime"));
    fs::copy(&built, out.join("minidock-runtime")).expect("the built helper cannot be copied");
}
