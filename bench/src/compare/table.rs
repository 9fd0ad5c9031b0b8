//! A comparison as people read it.
//!
//! In: a [`Comparison`]. Out: text. Each figure is the median of the rounds; in brackets the least
//! and the greatest.

use std::fmt::Write as _;

use comfy_table::{Table, presets};

use super::contender::Kind;
use super::{CaseContender, CaseResult, Comparison, Machine, Sample};

/// All tables.
pub fn render(comparison: &Comparison) -> String {
    let mut text = heading(&comparison.machine);
    // Writing to a string does not fail.
    let versions: Vec<String> =
        comparison.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = writeln!(text, "{}\n", versions.join(", "));
    for case in &comparison.cases {
        let _ = writeln!(text, "{}: {}\n{}\n", case.name, case.about, of_case(case));
    }
    let _ = writeln!(text, "memory and start-up\n{}", of_programs(comparison));
    for program in &comparison.programs {
        if let Some(warning) = &program.warning {
            let _ = writeln!(text, "{}: {warning}", program.kind.name());
        }
    }
    text.push_str(
        "Median of the rounds (least–greatest). CPU: all threads of the program, work put off \
         included. × nginx: within a round. + p50, + p99, + TTFT: added to direct at a moderate \
         rate, µs.\n",
    );
    text
}

/// The line that says where and when.
pub fn heading(machine: &Machine) -> String {
    let Machine { processor, cores, kernel, date } = machine;
    format!("{processor}, {cores} cores, Linux {kernel}, {date}\n")
}

fn of_case(case: &CaseResult) -> Table {
    let mut table = new_table();
    let streams = case.contenders.iter().any(|c| c.rounds.iter().any(|r| r.cpu_us_per_chunk > 0.0));
    let mut header = vec!["", "CPU µs/request", "× nginx"];
    header.extend(streams.then_some("CPU µs/chunk"));
    header.extend(["requests/s", "+ p50", "+ p99"]);
    header.extend(streams.then_some("+ TTFT p50"));
    header.extend(streams.then_some("+ TTFT p99"));
    header.push("failed");
    table.set_header(header);
    let nginx = rounds_of(case, Kind::Nginx);
    let direct = rounds_of(case, Kind::Direct);
    for contender in &case.contenders {
        let CaseContender { kind, rounds } = contender;
        let of = |figure: fn(&Sample) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
        let added = |figure: fn(&Sample) -> f64| match *kind {
            // What the others are added to.
            Kind::Direct => format!("({:.0})", Spread::of(&of(figure)).median),
            _ => spread(&pairs(rounds, direct, figure, |own, direct| own - direct), 0),
        };
        let cpu = kind != &Kind::Direct;
        let mut row = vec![kind.name().to_owned()];
        row.push(if cpu { spread(&of(|r| r.cpu_us_per_request), 1) } else { String::new() });
        let ratios = pairs(rounds, nginx, |r| r.cpu_us_per_request, |own, nginx| own / nginx);
        row.push(if cpu { spread(&ratios, 2) } else { String::new() });
        if streams {
            row.push(if cpu { spread(&of(|r| r.cpu_us_per_chunk), 2) } else { String::new() });
        }
        row.push(spread(&of(|r| r.requests_per_s), 0));
        row.push(added(|r| r.latency_p50));
        row.push(added(|r| r.latency_p99));
        if streams {
            row.push(added(|r| r.ttft_p50));
            row.push(added(|r| r.ttft_p99));
        }
        row.push(rounds.iter().map(|r| r.failed).sum::<u64>().to_string());
        table.add_row(row);
    }
    table
}

fn of_programs(comparison: &Comparison) -> Table {
    let mut table = new_table();
    table.set_header(["", "start to first answer", "memory idle", "memory after load"]);
    for program in comparison.programs.iter().filter(|program| program.kind != Kind::Direct) {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        table.add_row([
            program.kind.name().to_owned(),
            format!("{:.0} ms", program.ready_ms),
            mib(program.memory_idle.proportional),
            mib(program.memory_after.proportional),
        ]);
    }
    table
}

/// A table in the form that all commands use.
pub fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table
}

fn rounds_of(case: &CaseResult, kind: Kind) -> &[Sample] {
    let found = case.contenders.iter().find(|contender| contender.kind == kind);
    found.map_or(&[], |contender| &contender.rounds)
}

fn pairs(
    rounds: &[Sample],
    others: &[Sample],
    figure: fn(&Sample) -> f64,
    join: fn(f64, f64) -> f64,
) -> Vec<f64> {
    rounds.iter().zip(others).map(|(own, other)| join(figure(own), figure(other))).collect()
}

/// Median, least and greatest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half are not above it.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    /// Of `figures`; all `NaN` when there are none.
    pub fn of(figures: &[f64]) -> Spread {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(at(middle.wrapping_sub(1)), at(middle)),
            _ => at(middle),
        };
        Spread { median, least: at(0), greatest: at(sorted.len().wrapping_sub(1)) }
    }
}

fn spread(figures: &[f64], digits: usize) -> String {
    if figures.is_empty() {
        return "–".to_owned();
    }
    let Spread { median, least, greatest } = Spread::of(figures);
    format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_told_by_its_middle_and_its_ends() {
        let rows: [(&[f64], &str); 4] = [
            (&[], "–"),
            (&[2.0], "2.0 (2.0–2.0)"),
            (&[9.0, 1.0, 2.0], "2.0 (1.0–9.0)"),
            (&[4.0, 1.0, 2.0, 3.0], "2.5 (1.0–4.0)"),
        ];
        for (figures, text) in rows {
            assert_eq!(spread(figures, 1), text);
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let sample = |cpu| Sample {
            cpu_us_per_request: cpu,
            cpu_us_per_chunk: 0.0,
            requests_per_s: 1.0,
            latency_p50: 1.0,
            latency_p99: 1.0,
            ttft_p50: 0.0,
            ttft_p99: 0.0,
            failed: 0,
        };
        let own = [sample(20.0), sample(40.0)];
        let nginx = [sample(10.0), sample(20.0)];
        let ratios = pairs(&own, &nginx, |r| r.cpu_us_per_request, |own, other| own / other);
        assert_eq!(ratios, [2.0, 2.0]);
    }
}
