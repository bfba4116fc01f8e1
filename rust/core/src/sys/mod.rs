//! The only unsafe code: one wrapper per system call that rustix and nix lack.
#![allow(unsafe_code)]

pub mod bpf;
pub mod seccomp;
