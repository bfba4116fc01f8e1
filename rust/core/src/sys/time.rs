//! Local time.

/// How many seconds local time is ahead of UTC at a second since 1970; 0 where that is not known.
#[must_use]
pub fn utc_offset(second: i64) -> i64 {
    // SAFETY: all-zero is a valid `tm`; its null zone name is only ever written.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are of live values; the result points to `local`, or is null.
    let found = unsafe { libc::localtime_r(&raw const second, &raw mut local) };
    if found.is_null() { 0 } else { local.tm_gmtoff }
}
