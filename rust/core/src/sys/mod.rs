//! The only unsafe code: one wrapper per system call that rustix and nix lack.
#![allow(unsafe_code)]

pub mod bpf;
pub mod mount_tree;
pub mod probe;
pub mod seccomp;

/// Views a descriptor number that somebody else owns; a number that is not open gives `EBADF` from every call.
///
/// # Panics
/// When `number` is negative.
#[must_use]
pub fn borrow_fd(number: std::os::fd::RawFd) -> std::os::fd::BorrowedFd<'static> {
    assert!(number >= 0, "a descriptor is not negative");
    // SAFETY: the number is not -1; a stale one is a wrong answer, not undefined behaviour.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }
}
