//! Budgets: how much an owner may spend, and in which stretch of time.
//!
//! In: rules, a `now` in seconds of Unix time. Out: where a window begins and ends. What is spent and held stands in
//! [`crate::purse`].

use models::PicoUsd;

const DAY_S: i64 = 86_400;

/// Whose money it is. A request spends that of its key and of everyone above it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Everyone here.
    Org(String),
    /// A team, of its organisation.
    Team(String, String),
    /// A project, of its organisation.
    Project(String, String),
    /// A key, by its number.
    Key(u64),
    /// A person, of their organisation.
    User(String, String),
}

/// The stretch of time in which an amount may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// All time: prepaid credit.
    Total,
    /// A day, a week from Monday, or a month of the calendar, in UTC.
    Calendar(Period),
    /// The last so many seconds.
    Rolling {
        /// How many; at least 60.
        seconds: u32,
    },
}

/// A stretch of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first.
    Month,
}

/// What happens to a request for which there is no money.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It is refused before anything is asked of a provider.
    #[default]
    Refuse,
    /// It is served by another alias, whose worst case is affordable.
    Alias(String),
}

/// How much an owner may spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its number in the store.
    pub id: u64,
    /// Whose it is.
    pub owner: Owner,
    /// The most, per window; of credit what has been paid in.
    pub limit: PicoUsd,
    /// Per which time.
    pub window: Window,
    /// Permille of the limit at which an alert is raised, ascending, once each per window.
    pub alerts: Vec<u16>,
    /// What then.
    pub on_exhausted: OnExhausted,
}

impl Window {
    /// The first second of the window that holds `now`; for a rolling one, of the stretch that ends now.
    pub fn begins(self, now: i64) -> i64 {
        match self {
            Window::Total => i64::MIN,
            Window::Rolling { seconds } => now.saturating_sub(i64::from(seconds)) + 1,
            Window::Calendar(period) => period.days(now.div_euclid(DAY_S)).0.saturating_mul(DAY_S),
        }
    }

    /// The first second after the window that holds `now`: when all of the limit is there again. `None` where that
    /// is never, or little by little.
    pub fn ends(self, now: i64) -> Option<i64> {
        let Window::Calendar(period) = self else { return None };
        Some(period.days(now.div_euclid(DAY_S)).1.saturating_mul(DAY_S))
    }
}

impl Period {
    /// The first day of the period that holds `day`, and the first after it; days are counted from 1970-01-01.
    fn days(self, day: i64) -> (i64, i64) {
        match self {
            Period::Day => (day, day + 1),
            // The first of January 1970 was a Thursday.
            Period::Week => {
                let monday = (day + 3).div_euclid(7) * 7 - 3;
                (monday, monday + 7)
            }
            Period::Month => month(day),
        }
    }
}

/// The first day of the month that holds `day`, and of the next one.
///
/// Years are begun in March, so that the day that comes and goes is the last of a year, and months have lengths
/// that 153 days in 5 months describe (<https://howardhinnant.github.io/date_algorithms.html>).
fn month(day: i64) -> (i64, i64) {
    const ERA_DAYS: i64 = 146_097; // 400 years
    const FROM_MARCH_0000: i64 = 719_468; // to 1970-01-01
    let since = day + FROM_MARCH_0000;
    let of_era = since.rem_euclid(ERA_DAYS);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let year_begins = |year: i64| 365 * year + year / 4 - year / 100;
    let of_year = of_era - year_begins(year);
    let month = (5 * of_year + 2) / 153;
    let month_begins = |month: i64| (153 * month + 2) / 5;
    let first = day - (of_year - month_begins(month));
    // February ends with its year, whose length is the distance to the next.
    let next = match month {
        11 if year == 399 => ERA_DAYS - of_era + day,
        11 => day - of_year + year_begins(year + 1) - year_begins(year),
        _ => first + month_begins(month + 1) - month_begins(month),
    };
    (first, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first second of a day; a table of days that an almanac has.
    fn second(day: &str) -> i64 {
        let days = match day {
            "1970-01-01" => 0,
            "1970-02-01" => 31,
            "2000-02-01" => 10_988,
            "2000-03-01" => 11_017,
            "2026-11-01" => 20_758,
            "2026-11-16" => 20_773,
            "2026-11-21" => 20_778,
            "2026-11-22" => 20_779,
            "2026-11-23" => 20_780,
            "2026-12-01" => 20_788,
            "2026-12-31" => 20_818,
            "2027-01-01" => 20_819,
            "2028-02-01" => 21_215,
            "2028-03-01" => 21_244,
            "2100-02-01" => 47_513,
            "2100-03-01" => 47_541,
            _ => panic!("{day} is not in the table"),
        };
        days * DAY_S
    }

    #[test]
    fn windows_of_the_calendar_begin_and_end_at_midnight_utc() {
        let last = DAY_S - 1;
        for (period, now, begins, ends) in [
            (Period::Day, second("2026-11-21"), "2026-11-21", "2026-11-22"),
            (Period::Day, second("2026-12-31") + last, "2026-12-31", "2027-01-01"),
            (Period::Week, second("2026-11-21") + 43_200, "2026-11-16", "2026-11-23"),
            (Period::Week, second("2026-11-16"), "2026-11-16", "2026-11-23"),
            (Period::Week, second("2026-11-22") + last, "2026-11-16", "2026-11-23"),
            (Period::Month, second("1970-01-01"), "1970-01-01", "1970-02-01"),
            (Period::Month, second("2026-11-21"), "2026-11-01", "2026-12-01"),
            (Period::Month, second("2026-12-01"), "2026-12-01", "2027-01-01"),
            (Period::Month, second("2028-03-01") - 1, "2028-02-01", "2028-03-01"),
            (Period::Month, second("2000-03-01") - 1, "2000-02-01", "2000-03-01"),
            (Period::Month, second("2100-03-01") - 1, "2100-02-01", "2100-03-01"),
        ] {
            let window = Window::Calendar(period);
            assert_eq!(window.begins(now), second(begins), "{period:?} {begins}");
            assert_eq!(window.ends(now), Some(second(ends)), "{period:?} {begins}");
        }
    }

    #[test]
    fn a_window_ends_where_the_next_begins() {
        for period in [Period::Day, Period::Week, Period::Month] {
            let window = Window::Calendar(period);
            let mut begins = window.begins(-800_000 * DAY_S);
            while begins < 800_000 * DAY_S {
                let ends = window.ends(begins).expect("it ends");
                assert!((DAY_S..=31 * DAY_S).contains(&(ends - begins)), "{period:?} {begins}");
                assert_eq!(window.begins(ends - 1), begins, "{period:?}");
                assert_eq!(window.begins(ends), ends, "{period:?}");
                begins = ends;
            }
        }
    }

    #[test]
    fn other_windows_have_no_end_at_which_all_is_there_again() {
        assert_eq!((Window::Total.begins(7), Window::Total.ends(7)), (i64::MIN, None));
        let hour = Window::Rolling { seconds: 3_600 };
        assert_eq!((hour.begins(10_000), hour.ends(10_000)), (6_401, None));
    }

    #[test]
    fn no_second_is_beyond_the_calendar() {
        for now in [i64::MIN, -1, 0, i64::MAX] {
            for period in [Period::Day, Period::Week, Period::Month] {
                assert!(
                    Window::Calendar(period).begins(now) <= now.max(i64::MIN + 1),
                    "{period:?} {now}"
                );
            }
        }
    }
}
