//! Times as Docker writes them.

/// Nanoseconds since 1970 by the system's clock.
#[must_use]
pub fn now() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// RFC 3339 in UTC, as many digits of the fraction as it needs: Go's RFC3339Nano. The text up to the seconds is kept for
/// the next time, which is mostly of the same second.
#[derive(Debug)]
pub struct Clock {
    second: i64,
    text: [u8; 19],
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            second: 0,
            text: *b"1970-01-01T00:00:00",
        }
    }
}

impl Clock {
    /// Appends the text of a time.
    pub fn format(&mut self, out: &mut Vec<u8>, time: i64) {
        let (second, mut nanos) = (
            time.div_euclid(1_000_000_000),
            time.rem_euclid(1_000_000_000),
        );
        if second != self.second {
            self.second = second;
            self.text = date(second);
        }
        out.extend_from_slice(&self.text);
        if nanos != 0 {
            let mut digits = [0; 9];
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (nanos % 10) as u8;
                nanos /= 10;
            }
            let used = digits
                .iter()
                .rposition(|&d| d != b'0')
                .map_or(0, |at| at + 1);
            out.push(b'.');
            out.extend_from_slice(&digits[..used]);
        }
        out.push(b'Z');
    }
}

/// `YYYY-MM-DDThh:mm:ss` of a second since 1970.
#[must_use]
pub fn date(second: i64) -> [u8; 19] {
    let (days, rest) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], rest / 3600);
    put(&mut text[14..16], rest / 60 % 60);
    put(&mut text[17..19], rest % 60);
    text
}

fn put(to: &mut [u8], mut number: i64) {
    for digit in to.iter_mut().rev() {
        *digit = b'0' + (number % 10).unsigned_abs() as u8;
        number /= 10;
    }
}

/// Year, month and day of a day since 1970. Years are counted from March here, so that a leap day is a year's last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let year = era * 400 + year + i64::from(month >= 10);
    (
        year,
        if month < 10 { month + 3 } else { month - 9 },
        day - first + 1,
    )
}

/// The day since 1970 of a date; the reverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + day - 719_468
}

/// Nanoseconds since 1970 of an RFC 3339 text, with any offset; None for anything else.
#[must_use]
pub fn parse(text: &[u8]) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        text.get(range)?.iter().try_fold(0, |sum, &c| {
            c.is_ascii_digit().then(|| sum * 10 + i64::from(c - b'0'))
        })
    };
    let mark = |at: usize, allowed: &[u8]| text.get(at).filter(|c| allowed.contains(c));
    mark(4, b"-").and(mark(7, b"-"))?;
    mark(10, b"T").and(mark(13, b":")).and(mark(16, b":"))?;
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if mark(at, b".").is_some() {
        at += 1;
        let mut unit = 100_000_000;
        while let Some(digit) = text.get(at).filter(|c| c.is_ascii_digit()) {
            nanos += i64::from(digit - b'0') * unit;
            unit /= 10;
            at += 1;
        }
    }
    let offset = match text.get(at)? {
        b'Z' => 0,
        sign @ (b'+' | b'-') => {
            mark(at + 3, b":")?;
            let away = number(at + 1..at + 3)? * 3600 + number(at + 4..at + 6)? * 60;
            at += 5;
            if *sign == b'-' { -away } else { away }
        }
        _ => return None,
    };
    if at + 1 != text.len() {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(time: i64) -> String {
        let mut out = Vec::new();
        Clock::default().format(&mut out, time);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_go_writes_them() {
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_700_000_000_120_000_000), "2023-11-14T22:13:20.12Z");
        assert_eq!(
            text(951_782_400_000_000_001),
            "2000-02-29T00:00:00.000000001Z"
        );
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(text(4_102_444_799_000_000_000), "2099-12-31T23:59:59Z");
    }

    #[test]
    fn offsets_are_read() {
        assert_eq!(parse(b"1970-01-01T01:00:00.5+01:00"), Some(500_000_000));
        assert_eq!(parse(b"1969-12-31T22:30:00-01:30"), Some(0));
        for bad in [
            "",
            "2020-01-01",
            "2020-13-01T00:00:00Z",
            "2020-01-01T00:00:00",
            "2020-01-01T00:00:00Zx",
            "2020-01-01 00:00:00Z",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(time in -2_000_000_000_000_000_000i64..i64::MAX) {
            proptest::prop_assert_eq!(parse(text(time).as_bytes()), Some(time));
        }
    }
}
