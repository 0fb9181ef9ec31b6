//! UTC calendar arithmetic: the four spellings of a moment on the OSS wire, without a clock.
//!
//! Days are turned into civil dates and back by the era method of Howard Hinnant
//! (`days_from_civil`, `civil_from_days`), which is exact for every date a header can name.

use std::fmt;

/// A moment in whole seconds since 1970-01-01T00:00:00Z; leap seconds do not exist here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime(pub i64);

/// The text is not a date of the expected form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeError(String);

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TimeError {}

const SECONDS_PER_DAY: i64 = 86_400;

/// The last second of the year 9999: every spelling here has four digits for the year.
const MAX_SECONDS: i64 = 253_402_300_799;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// 1970-01-01, day 0, was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// A date and a time of day in UTC; month and day count from 1.
#[derive(Clone, Copy)]
struct Civil {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl UtcTime {
    /// Format as `20240517T083005Z`, the form of `x-oss-date`.
    #[must_use]
    pub fn to_iso_basic(self) -> String {
        let c = self.civil();
        format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
    }

    /// Format as `20240517`, the day of a V4 scope.
    #[must_use]
    pub fn to_date(self) -> String {
        let c = self.civil();
        format!("{:04}{:02}{:02}", c.year, c.month, c.day)
    }

    /// Format as `Fri, 17 May 2024 08:30:05 GMT` (RFC 9110 section 5.6.7, IMF-fixdate).
    #[must_use]
    pub fn to_http_date(self) -> String {
        let c = self.civil();
        let weekday = WEEKDAYS[self.clamped().div_euclid(SECONDS_PER_DAY).rem_euclid(7) as usize];
        let month = MONTHS[c.month as usize - 1];
        format!(
            "{weekday}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
            c.day, c.year, c.hour, c.minute, c.second
        )
    }

    /// Format as `2024-05-17T08:30:05.000Z`, the form of `LastModified` in list answers.
    #[must_use]
    pub fn to_iso_extended_millis(self) -> String {
        let c = self.civil();
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
            c.year, c.month, c.day, c.hour, c.minute, c.second
        )
    }

    /// Format as `2024-05-17T08:30:05Z`, the form of RPC-style requests and of expiries.
    #[must_use]
    pub fn to_iso_extended(self) -> String {
        self.to_iso_extended_millis().replace(".000Z", "Z")
    }

    /// Read `20240517T083005Z`.
    ///
    /// # Errors
    /// The text has another form, or names a day or a time that does not exist.
    pub fn parse_iso_basic(text: &str) -> Result<Self, TimeError> {
        let wrong = || TimeError(format!("{text:?} is not a time like 20240517T083005Z"));
        let b = text.as_bytes();
        if b.len() != 16 || b[8] != b'T' || b[15] != b'Z' {
            return Err(wrong());
        }
        let field = |from: usize, to: usize| number(&b[from..to]);
        Civil::from_fields([
            field(0, 4),
            field(4, 6),
            field(6, 8),
            field(9, 11),
            field(11, 13),
            field(13, 15),
        ])
        .map(Civil::seconds)
        .ok_or_else(wrong)
    }

    /// Read `Fri, 17 May 2024 08:30:05 GMT`; the name of the weekday is not checked.
    ///
    /// # Errors
    /// The text has another form, or names a day or a time that does not exist.
    pub fn parse_http_date(text: &str) -> Result<Self, TimeError> {
        let wrong = || TimeError(format!("{text:?} is not a date like Fri, 17 May 2024 08:30:05 GMT"));
        let b = text.as_bytes();
        let separators = [(3, b','), (4, b' '), (7, b' '), (11, b' '), (16, b' '), (19, b':'), (22, b':')];
        if b.len() != 29 || !b.ends_with(b" GMT") || separators.iter().any(|&(at, c)| b[at] != c) {
            return Err(wrong());
        }
        let month = MONTHS.iter().position(|name| name.as_bytes() == &b[8..11]).map(|at| at as u32 + 1);
        let field = |from: usize, to: usize| number(&b[from..to]);
        Civil::from_fields([field(12, 16), month, field(5, 7), field(17, 19), field(20, 22), field(23, 25)])
            .map(Civil::seconds)
            .ok_or_else(wrong)
    }

    /// Read an ISO 8601 time: `2024-05-17T08:30:05Z`, with a fraction (cut off), with an offset
    /// (`+08:00`, `+0800`, `+08`), with a blank or `t` for `T`.
    ///
    /// # Errors
    /// The text has no zone or another form, or names a day or a time that does not exist.
    pub fn parse_iso8601(text: &str) -> Result<Self, TimeError> {
        extended(text.as_bytes())
            .ok_or_else(|| TimeError(format!("{text:?} is not a time like 2024-05-17T08:30:05Z")))
    }

    fn clamped(self) -> i64 {
        // Four digits hold the years 0000 to 9999; the first day that counts here is 0000-01-01.
        self.0.clamp(-62_167_219_200, MAX_SECONDS)
    }

    fn civil(self) -> Civil {
        let seconds = self.clamped();
        let (day_number, rest) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
        let shifted = day_number + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
        let month = (if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 }) as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let rest = rest as u32;
        Civil { year, month, day, hour: rest / 3_600, minute: rest / 60 % 60, second: rest % 60 }
    }
}

impl Civil {
    /// Take year, month, day, hour, minute, second; `None` where one is missing or impossible.
    fn from_fields(fields: [Option<u32>; 6]) -> Option<Self> {
        let [year, month, day, hour, minute, second] = fields;
        let civil = Self {
            year: i64::from(year?),
            month: month?,
            day: day?,
            hour: hour?,
            minute: minute?,
            second: second?,
        };
        let exists = (1..=12).contains(&civil.month)
            && civil.day >= 1
            && civil.day <= days_in_month(civil.year, civil.month)
            && civil.hour < 24
            && civil.minute < 60
            && civil.second < 60;
        exists.then_some(civil)
    }

    fn seconds(self) -> UtcTime {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let shifted_month = i64::from(if self.month > 2 { self.month - 3 } else { self.month + 9 });
        let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let day_number = era * 146_097 + day_of_era - 719_468;
        let of_day = i64::from(self.hour * 3_600 + self.minute * 60 + self.second);
        UtcTime(day_number * SECONDS_PER_DAY + of_day)
    }
}

fn days_in_month(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Read decimal digits and nothing else; at most four are ever passed.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 4 {
        return None;
    }
    digits
        .iter()
        .try_fold(0, |value, &digit| digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0')))
}

fn extended(b: &[u8]) -> Option<UtcTime> {
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if b.len() < 19 || separators.iter().any(|&(at, c)| b[at] != c) || !matches!(b[10], b'T' | b't' | b' ') {
        return None;
    }
    let field = |from: usize, to: usize| number(&b[from..to]);
    let civil = Civil::from_fields([
        field(0, 4),
        field(5, 7),
        field(8, 10),
        field(11, 13),
        field(14, 16),
        field(17, 19),
    ])?;
    let zone = after_fraction(&b[19..])?;
    // The zone may lead out of the years that can be written.
    Some(UtcTime(UtcTime(civil.seconds().0 - offset_seconds(zone)?).clamped()))
}

/// Cut `.123` or `,123` off, of any length.
fn after_fraction(rest: &[u8]) -> Option<&[u8]> {
    match rest.first() {
        Some(b'.' | b',') => {
            let digits = rest[1..].iter().take_while(|c| c.is_ascii_digit()).count();
            (digits > 0).then(|| &rest[1 + digits..])
        }
        _ => Some(rest),
    }
}

fn offset_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = match zone {
        [b'Z' | b'z'] => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.len() {
        2 => (number(digits)?, 0),
        4 => (number(&digits[..2])?, number(&digits[2..])?),
        5 if digits[2] == b':' => (number(&digits[..2])?, number(&digits[3..])?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then(|| sign * i64::from(hours * 3_600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_have_their_four_spellings() {
        let known = [
            (0, "19700101T000000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_715_934_605, "20240517T083005Z", "Fri, 17 May 2024 08:30:05 GMT"),
            (1_704_067_199, "20231231T235959Z", "Sun, 31 Dec 2023 23:59:59 GMT"),
            (951_782_400, "20000229T000000Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_164_800, "20240229T000000Z", "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_709_251_199, "20240229T235959Z", "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "20240301T000000Z", "Fri, 01 Mar 2024 00:00:00 GMT"),
            (4_107_542_400, "21000301T000000Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
            (-1, "19691231T235959Z", "Wed, 31 Dec 1969 23:59:59 GMT"),
            (MAX_SECONDS, "99991231T235959Z", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (seconds, iso, http) in known {
            let time = UtcTime(seconds);
            assert_eq!(time.to_iso_basic(), iso);
            assert_eq!(time.to_date(), iso[..8]);
            assert_eq!(time.to_http_date(), http);
            assert_eq!(UtcTime::parse_iso_basic(iso), Ok(time));
            assert_eq!(UtcTime::parse_http_date(http), Ok(time));
            assert_eq!(UtcTime::parse_iso8601(&time.to_iso_extended_millis()), Ok(time));
        }
        assert_eq!(UtcTime(1_715_934_605).to_iso_extended_millis(), "2024-05-17T08:30:05.000Z");
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in ["20230229T000000Z", "21000229T000000Z", "20240431T000000Z", "20241301T000000Z"] {
            assert!(UtcTime::parse_iso_basic(text).is_err(), "{text}");
        }
        for text in ["20240517T240000Z", "20240517T086005Z", "20240517T083060Z", "2024-05-17T08:30:05Z", ""] {
            assert!(UtcTime::parse_iso_basic(text).is_err(), "{text}");
        }
        assert!(UtcTime::parse_http_date("Fri, 30 Feb 2024 08:30:05 GMT").is_err());
        assert!(UtcTime::parse_http_date("Fri, 17 May 2024 08:30:05 UTC").is_err());
    }

    #[test]
    fn iso8601_reads_zones_and_fractions() {
        let moment = Ok(UtcTime(1_715_934_605));
        for text in [
            "2024-05-17T08:30:05Z",
            "2024-05-17 08:30:05z",
            "2024-05-17T16:30:05+08:00",
            "2024-05-17T16:30:05.123456789+0800",
            "2024-05-17T16:30:05+08",
            "2024-05-17T03:00:05-05:30",
        ] {
            assert_eq!(UtcTime::parse_iso8601(text), moment, "{text}");
        }
        for text in [
            "2024-05-17",
            "2024-05-17T08:30:05",
            "2024-05-17T08:30:05.Z",
            "2024-05-17T08:30:05+8",
            "2024-05-17T08:30:05Zx",
        ] {
            assert!(UtcTime::parse_iso8601(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut before = UtcTime(-SECONDS_PER_DAY).civil();
        for day_number in 0..146_097 {
            let today = UtcTime(day_number * SECONDS_PER_DAY).civil();
            let next_day =
                today.year == before.year && today.month == before.month && today.day == before.day + 1;
            let month_turn = today.day == 1 && before.day == days_in_month(before.year, before.month);
            assert!(next_day || month_turn, "day {day_number}");
            assert_eq!(today.seconds(), UtcTime(day_number * SECONDS_PER_DAY));
            before = today;
        }
    }
}
