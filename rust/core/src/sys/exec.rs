//! execve(2).
use std::ffi::{CStr, CString, c_char};
use std::ptr::null;

use rustix::io::Errno;

/// Replaces the process's program; returns only on failure.
#[must_use]
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> Errno {
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|s| s.as_ptr()).chain([null()]).collect()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: path and all strings are NUL-terminated and outlive the call; both arrays end with a null pointer.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    // SAFETY: errno is a thread-local integer that libc always provides.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}
