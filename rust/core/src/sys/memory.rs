//! Memory that is not needed any more.

/// How far below the caller the stack may have reached before.
const DEEPEST: usize = 256 * 1024;
/// What the calls here need of the stack themselves.
const OWN: usize = 2048;

/// Gives the heap's free pages, and those of the stack below the caller, back to the kernel.
///
/// For a process that has done much and will do little, and whose only thread this is: it must be on the stack that the
/// kernel made.
#[inline(never)]
pub fn give_back() {
    // SAFETY: malloc_trim(3) only releases pages that no allocation lies in.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    let here = 0u8;
    let page = rustix::param::page_size();
    let end = (std::ptr::from_ref(&here) as usize - OWN) & !(page - 1);
    // SAFETY: nothing lives below the stack pointer, and the calls made from here stay above `end`. No other mapping can be
    // so near: the kernel keeps a gap of 1 MiB below the stack. Pages that were never used are no error that matters.
    unsafe {
        libc::madvise(
            std::ptr::without_provenance_mut(end - DEEPEST),
            DEEPEST,
            libc::MADV_DONTNEED,
        );
    }
}

/// Lets all threads share one heap. glibc gives threads heaps of their own, each of which keeps what it once needed: for a
/// process with many threads that wait, and one that works.
pub fn share_heap() {
    // SAFETY: mallopt(3) sets a number.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
