//! The helper `minidock-runtime`; see the library for all it does.
fn main() -> std::process::ExitCode {
    minidock_runtime::main()
}
