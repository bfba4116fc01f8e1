//! Times as RFC 3339 writes them.
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now, in UTC, with nanoseconds.
pub fn now() -> String {
    rfc3339(clock_gettime(ClockId::Realtime))
}

/// A time since 1970 as `2026-11-24T03:00:00.000000000Z`.
pub fn rfc3339(time: Timespec) -> String {
    let (days, second) = (
        time.tv_sec.div_euclid(86_400),
        time.tv_sec.rem_euclid(86_400),
    );
    // Civil date of a day number: years begin in March, so that the leap day is the last of the year.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:09}Z",
        time.tv_nsec
    )
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
