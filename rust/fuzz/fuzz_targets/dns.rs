#![no_main]
#[path = "../dns_targets.rs"]
mod dns_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| dns_targets::dns(data));
