//! Times as RFC 3339 writes them.
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now, in UTC, with nanoseconds.
pub fn now() -> String {
    rfc3339(clock_gettime(ClockId::Realtime))
}

/// A time since 1970 as `2026-11-24T03:00:00.000000000Z`.
pub fn rfc3339(time: Timespec) -> String {
    let date = minidock_core::log::time::date(time.tv_sec);
    format!("{}.{:09}Z", String::from_utf8_lossy(&date), time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        let at = |tv_sec, tv_nsec| rfc3339(Timespec { tv_sec, tv_nsec });
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(951_782_400, 5), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(at(1_795_496_399, 0), "2026-11-24T04:59:59.000000000Z");
        assert_eq!(at(1_795_564_799, 0), "2026-11-24T23:59:59.000000000Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
        assert_eq!(at(-1, 5), "1969-12-31T23:59:59.000000005Z");
    }
}
