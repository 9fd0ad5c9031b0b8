//! Reports: sums by group, and the last requests.
//!
//! In: dimensions to group by, a span of time in microseconds of Unix time. Out: calls, tokens and
//! pico-USD as exact sums, and times to the first content and to the end as percentiles of at most
//! 3 % error. Requests that are not folded yet are not in it. Never: a sum that wraps; sums are 128
//! bits wide.

use std::collections::HashMap;

use models::{PicoUsd, Task, Tokens, Usage};
use rusqlite::{Row, params};

use crate::record::{
    Asked, Attribution, Decided, Money, Outcome, Record, Served, Timing, usage_source,
};
use crate::store::{Store, StoreError, sqlite_error};

/// What sums can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Model that answered.
    Model,
    /// Provider that answered.
    Provider,
    /// Key, by its name.
    Key,
    /// Task.
    Task,
    /// Organisation.
    Org,
    /// Team.
    Team,
    /// Project.
    Project,
    /// End user.
    User,
    /// Strategy.
    Strategy,
    /// How it ended.
    Outcome,
    /// The client's dialect.
    Dialect,
    /// Version of the prices.
    PriceVersion,
    /// Day on which it started, in UTC.
    Day,
}

impl Dimension {
    /// All dimensions, in the order of help texts.
    pub const ALL: [Dimension; 13] = [
        Dimension::Model,
        Dimension::Provider,
        Dimension::Key,
        Dimension::Task,
        Dimension::Org,
        Dimension::Team,
        Dimension::Project,
        Dimension::User,
        Dimension::Strategy,
        Dimension::Outcome,
        Dimension::Dialect,
        Dimension::PriceVersion,
        Dimension::Day,
    ];

    /// The name on the command line and at the head of a column.
    pub fn name(self) -> &'static str {
        match self {
            Dimension::Model => "model",
            Dimension::Provider => "provider",
            Dimension::Key => "key",
            Dimension::Task => "task",
            Dimension::Org => "org",
            Dimension::Team => "team",
            Dimension::Project => "project",
            Dimension::User => "user",
            Dimension::Strategy => "strategy",
            Dimension::Outcome => "outcome",
            Dimension::Dialect => "dialect",
            Dimension::PriceVersion => "price_version",
            Dimension::Day => "day",
        }
    }

    /// The dimension of that name.
    pub fn from_name(name: &str) -> Option<Dimension> {
        Dimension::ALL.into_iter().find(|dimension| dimension.name() == name)
    }

    /// The integer in a row that tells its group.
    fn column(self) -> &'static str {
        match self {
            Dimension::Model => "model",
            Dimension::Provider => "provider",
            Dimension::Key => "key_name",
            Dimension::Task => "coalesce(task, -1)",
            Dimension::Org => "org",
            Dimension::Team => "team",
            Dimension::Project => "project",
            Dimension::User => "user",
            Dimension::Strategy => "strategy",
            Dimension::Outcome => "outcome",
            Dimension::Dialect => "dialect",
            Dimension::PriceVersion => "price_version",
            Dimension::Day => "started_at_us / 86400000000",
        }
    }

    /// What a person reads for that integer; empty for "none".
    fn label(self, value: i64, texts: &HashMap<i64, String>) -> String {
        match self {
            Dimension::Task => usize::try_from(value)
                .ok()
                .and_then(Task::from_index)
                .map_or_else(String::new, |task| task.name().to_owned()),
            Dimension::Outcome => {
                u8::try_from(value).map_or(Outcome::Unknown, Outcome::from_index).name().to_owned()
            }
            Dimension::Day => date(value),
            _ => texts.get(&value).cloned().unwrap_or_default(),
        }
    }
}

/// What to report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// What to group by; nothing gives one row over all, if there is any request.
    pub by: Vec<Dimension>,
    /// Only requests that started then or later, Unix time in microseconds.
    pub since_us: Option<u64>,
    /// Only requests that started before.
    pub until_us: Option<u64>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The group's labels, one per dimension asked for; empty for "none".
    pub group: Vec<String>,
    /// Its sums.
    pub totals: Totals,
}

/// Sums over requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests.
    pub calls: u64,
    /// Requests that ended with a complete answer.
    pub complete: u64,
    /// Requests of which we counted the tokens ourselves.
    pub estimated: u64,
    /// All input tokens.
    pub input: u128,
    /// Input tokens read from a cache.
    pub cached: u128,
    /// Input tokens written to a cache, for whatever lifetime.
    pub written: u128,
    /// All output tokens.
    pub output: u128,
    /// Output tokens spent on reasoning.
    pub reasoning: u128,
    /// Charged, in pico-USD.
    pub cost_pico: u128,
    /// What the providers will bill us, in pico-USD.
    pub own_cost_pico: u128,
    /// What the dearest capable models would have cost, in pico-USD.
    pub dearest_pico: u128,
    /// Time to the first content, of requests that had any.
    pub ttft: Percentiles,
    /// Time to the end.
    pub duration: Percentiles,
}

/// Two percentiles in microseconds; 0 when there is nothing to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Half are at most this.
    pub p50_us: u64,
    /// Nineteen in twenty are at most this.
    pub p95_us: u64,
}

impl Store {
    /// Sums by group, dearest group first, then by labels.
    pub fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        self.read_usage(query).map_err(sqlite_error(&self.path))
    }

    /// Sums over all requests since then.
    pub fn totals(&self, since_us: Option<u64>) -> Result<Totals, StoreError> {
        let query = UsageQuery { since_us, ..UsageQuery::default() };
        let rows = self.usage(&query)?;
        Ok(rows.into_iter().next().map_or_else(Totals::default, |row| row.totals))
    }

    /// The last requests that were folded, newest first.
    pub fn recent(&self, count: u32) -> Result<Vec<Record>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Record>> {
            let texts = self.texts_by_id()?;
            let mut statement = self
                .connection
                .prepare_cached("SELECT * FROM request ORDER BY position DESC LIMIT ?1")?;
            let rows = statement.query_map([count], |row| record(row, &texts))?;
            rows.collect()
        };
        read().map_err(sqlite_error(&self.path))
    }

    /// One pass over the rows, summed here: SQLite's own sum ends at 64 bits, and it has no
    /// percentiles.
    fn read_usage(&self, query: &UsageQuery) -> rusqlite::Result<Vec<UsageRow>> {
        // One view of the file, so that no text is missing for a row.
        let snapshot = self.connection.unchecked_transaction()?;
        let columns: String =
            query.by.iter().map(|dimension| format!(", {}", dimension.column())).collect();
        let mut statement = snapshot.prepare(&format!(
            "SELECT outcome, usage_source, input, cached, written_5m + written_1h, output, reasoning,
                    cost_total, own_cost, dearest, ttft_us, duration_us{columns}
             FROM request
             WHERE position >= coalesce((SELECT min(first_position) FROM block WHERE started_max_us >= ?1), 0)
               AND started_at_us >= ?1 AND started_at_us < ?2"
        ))?;
        let bound = |time_us: u64| i64::try_from(time_us).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![
            bound(query.since_us.unwrap_or(0)),
            bound(query.until_us.unwrap_or(u64::MAX)),
        ])?;
        let mut groups: HashMap<Vec<i64>, Sums> = HashMap::new();
        let mut group = Vec::with_capacity(query.by.len());
        while let Some(row) = rows.next()? {
            group.clear();
            for index in 0..query.by.len() {
                group.push(row.get(12 + index)?);
            }
            match groups.get_mut(&group) {
                Some(sums) => sums.add(row)?,
                None => groups.entry(group.clone()).or_default().add(row)?,
            }
        }
        let texts = self.texts_by_id()?;
        // Two values of a dimension may read the same: outcomes of a newer version.
        let mut labelled: Vec<UsageRow> = groups
            .into_iter()
            .map(|(group, sums)| UsageRow {
                group: query
                    .by
                    .iter()
                    .zip(group)
                    .map(|(dimension, value)| dimension.label(value, &texts))
                    .collect(),
                totals: sums.totals(),
            })
            .collect();
        labelled.sort_unstable_by(|a, b| {
            (b.totals.cost_pico, &a.group).cmp(&(a.totals.cost_pico, &b.group))
        });
        Ok(labelled)
    }
}

/// A group while it is summed.
#[derive(Default)]
struct Sums {
    totals: Totals,
    ttft: Histogram,
    duration: Histogram,
}

impl Sums {
    fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let totals = &mut self.totals;
        totals.calls += 1;
        totals.complete += u64::from(row.get::<_, u8>(0)? == Outcome::Complete as u8);
        totals.estimated += u64::from(row.get::<_, u8>(1)? != 0);
        let sums = [
            &mut totals.input,
            &mut totals.cached,
            &mut totals.written,
            &mut totals.output,
            &mut totals.reasoning,
            &mut totals.cost_pico,
            &mut totals.own_cost_pico,
            &mut totals.dearest_pico,
        ];
        for (offset, sum) in sums.into_iter().enumerate() {
            *sum += u128::from(row.get::<_, u64>(2 + offset)?);
        }
        if let Some(ttft_us) = row.get(10)? {
            self.ttft.add(ttft_us);
        }
        self.duration.add(row.get(11)?);
        Ok(())
    }

    fn totals(self) -> Totals {
        Totals {
            ttft: self.ttft.percentiles(),
            duration: self.duration.percentiles(),
            ..self.totals
        }
    }
}

/// Counts of times in buckets that are 1/16 of a power of two wide.
#[derive(Default)]
struct Histogram {
    /// As long as the greatest bucket seen.
    buckets: Vec<u32>,
    count: u64,
}

/// Buckets per power of two, as a power of two.
const SUB_BITS: u32 = 4;

impl Histogram {
    fn add(&mut self, value: u32) {
        let bucket = bucket(value);
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] = self.buckets[bucket].saturating_add(1);
        self.count += 1;
    }

    fn percentiles(&self) -> Percentiles {
        Percentiles { p50_us: self.quantile(50), p95_us: self.quantile(95) }
    }

    /// The middle of the bucket in which the value of that rank lies.
    fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank && seen > 0 {
                return (bucket_start(index) + bucket_start(index + 1) - 1) / 2;
            }
        }
        0
    }
}

/// Small values have a bucket each; above, the top bits choose.
fn bucket(value: u32) -> usize {
    let shift = value.checked_ilog2().unwrap_or(0).saturating_sub(SUB_BITS);
    ((shift << SUB_BITS) + (value >> shift)) as usize
}

/// The least value of a bucket.
fn bucket_start(index: usize) -> u64 {
    let index = index as u64;
    let subs = 1u64 << SUB_BITS;
    if index < 2 * subs {
        return index;
    }
    let shift = index / subs - 1;
    (index - shift * subs) << shift
}

/// A day number since 1970 as a date, by the days of 400-year cycles that begin in March.
fn date(day: i64) -> String {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

fn record(row: &Row<'_>, texts: &HashMap<i64, String>) -> rusqlite::Result<Record> {
    let text = |column: &str| -> rusqlite::Result<String> {
        let id: i64 = row.get(column)?;
        Ok(texts.get(&id).cloned().unwrap_or_default())
    };
    let pico = |column: &str| row.get(column).map(PicoUsd);
    let tokens = |column: &str| row.get(column).map(Tokens);
    let share = |column: &str| row.get(column).map(|e4: i64| e4 as f32 / 1e4);
    let task: Option<usize> = row.get("task")?;
    Ok(Record {
        entry: u128::from_be_bytes(row.get("entry")?),
        started_at_us: row.get("started_at_us")?,
        core: row.get("core")?,
        who: Attribution {
            key_id: row.get("key_id")?,
            key_name: text("key_name")?,
            org: text("org")?,
            team: text("team")?,
            project: text("project")?,
            user: text("user")?,
        },
        asked: Asked {
            dialect: text("dialect")?,
            requested: text("requested")?,
            strategy: text("strategy")?,
            stream: row.get("stream")?,
        },
        decided: Decided {
            task: task.and_then(Task::from_index),
            difficulty: share("difficulty_e4")?,
            confidence: share("confidence_e4")?,
            expected_quality: share("expected_quality_e4")?,
            expected_cost: pico("expected_cost")?,
            expected_latency_us: row.get("expected_latency_us")?,
            candidates: row.get("candidates")?,
            classified_by: text("classified_by")?,
            reason: text("reason")?,
        },
        served: Served {
            model: text("model")?,
            provider: text("provider")?,
            wire_id: text("wire_id")?,
            attempts: row.get("attempts")?,
            failures: text("failures")?,
            outcome: Outcome::from_index(row.get("outcome")?),
            http_status: row.get("http_status")?,
        },
        timing: Timing {
            ttft_us: row.get("ttft_us")?,
            duration_us: row.get("duration_us")?,
            classify_us: row.get("classify_us")?,
        },
        usage: Usage {
            input: tokens("input")?,
            cached: tokens("cached")?,
            written_5m: tokens("written_5m")?,
            written_1h: tokens("written_1h")?,
            output: tokens("output")?,
            reasoning: tokens("reasoning")?,
            source: usage_source(row.get("usage_source")?),
        },
        money: Money {
            input: pico("cost_input")?,
            cached: pico("cost_cached")?,
            written: pico("cost_written")?,
            output: pico("cost_output")?,
            reasoning: pico("cost_reasoning")?,
            total: pico("cost_total")?,
            own_cost: pico("own_cost")?,
            dearest: pico("dearest")?,
            price_version: text("price_version")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_narrow() {
        for value in (0..5000).chain([65_535, 65_536, 1_000_000, u32::MAX - 1, u32::MAX]) {
            let index = bucket(value);
            let (start, end) = (bucket_start(index), bucket_start(index + 1));
            assert!((start..end).contains(&u64::from(value)), "{value}");
            assert!((end - start) * 16 <= start.max(16), "{value}");
        }
    }

    #[test]
    fn days_have_dates() {
        for (day, name) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_777, "2026-11-20"),
            (-1, "1969-12-31"),
        ] {
            assert_eq!(date(day), name);
        }
    }

    #[test]
    fn names_of_dimensions_lead_back() {
        for dimension in Dimension::ALL {
            assert_eq!(Dimension::from_name(dimension.name()), Some(dimension));
        }
    }
}
