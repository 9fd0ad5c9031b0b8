//! `pointsman usage`: what was used and what it cost.

use super::{Common, Done, moment, open_store, table};
use clap::Args;
use comfy_table::CellAlignment;
use models::PicoUsd;
use serde_json::json;
use store::{Dimension, Journal, JournalError, JournalLimits, Store, Totals, UsageQuery};

#[derive(Args)]
pub(super) struct UsageArgs {
    /// What to group by, several with commas: model, provider, key, task, org, team, project, user,
    /// strategy, outcome, dialect, price_version, day
    #[arg(long, value_delimiter = ',', value_parser = dimension, default_value = "model")]
    by: Vec<Dimension>,
    /// Only the last … of time: 30m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = span_us)]
    since: Option<u64>,
    /// The last N requests instead of sums
    #[arg(long, value_name = "N")]
    recent: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn usage(common: &Common, args: &UsageArgs) -> Done {
    let (config, mut store) = open_store(common)?;
    // Without a running server the last records may still be in the journal.
    match Journal::open(&config.server.data_dir, JournalLimits::default()) {
        Ok(journal) => drop(store.fold(&journal).map_err(|error| error.to_string())?),
        Err(JournalError::InUse { .. }) => {}
        Err(error) => return Err(error.to_string()),
    }
    if let Some(count) = args.recent {
        return recent(&store, count, args.json);
    }
    let (_, now_us) = crate::core::unix_now();
    let since_us = args.since.map(|span| now_us.saturating_sub(span));
    let query = UsageQuery { by: args.by.clone(), since_us, until_us: None };
    let rows = store.usage(&query).map_err(|error| error.to_string())?;
    let all = store.totals(since_us).map_err(|error| error.to_string())?;
    let heads: Vec<&str> = args.by.iter().map(|dimension| dimension.name()).collect();
    if args.json {
        let groups: Vec<_> = rows
            .iter()
            .map(|row| {
                let group: serde_json::Map<_, _> = heads
                    .iter()
                    .zip(&row.group)
                    .map(|(head, label)| ((*head).to_owned(), json!(label)))
                    .collect();
                let mut value = totals_json(&row.totals);
                value["group"] = group.into();
                value
            })
            .collect();
        println!("{}", json!({"groups": groups, "total": totals_json(&all)}));
        return Ok(());
    }
    let figures =
        ["calls", "input", "cached", "output", "cost", "dearest", "saved", "ttft p50", "ttft p95"];
    let mut table = table(&[&heads[..], &figures[..]].concat());
    for column in heads.len()..heads.len() + figures.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in &rows {
        let labels = row.group.iter().map(|label| or_dash(label));
        table.add_row(labels.chain(figures_of(&row.totals)).collect::<Vec<_>>());
    }
    let mut sum = vec!["total".to_owned()];
    sum.resize(heads.len(), String::new());
    sum.extend(figures_of(&all));
    table.add_row(sum);
    println!("{table}");
    println!(
        "\"dearest\" is what the dearest model that could have served each request would have cost."
    );
    Ok(())
}

fn recent(store: &Store, count: u32, as_json: bool) -> Done {
    let records = store.recent(count.clamp(1, 10_000)).map_err(|error| error.to_string())?;
    if as_json {
        for record in &records {
            println!(
                "{}",
                json!({
                    "id": crate::serve::hex(record.entry).as_str(),
                    "started_at_us": record.started_at_us,
                    "key": record.who.key_name,
                    "requested": record.asked.requested,
                    "strategy": record.asked.strategy,
                    "stream": record.asked.stream,
                    "task": record.decided.task.map(|task| task.name()),
                    "difficulty": record.decided.difficulty,
                    "classified_by": record.decided.classified_by,
                    "reason": record.decided.reason,
                    "model": record.served.model,
                    "provider": record.served.provider,
                    "attempts": record.served.attempts,
                    "failures": record.served.failures,
                    "outcome": record.served.outcome.name(),
                    "ttft_us": record.timing.ttft_us,
                    "duration_us": record.timing.duration_us,
                    "classify_us": record.timing.classify_us,
                    "input_tokens": record.usage.input.0,
                    "cached_tokens": record.usage.cached.0,
                    "output_tokens": record.usage.output.0,
                    "estimated": record.usage.source == models::UsageSource::Estimated,
                    "cost_pico_usd": record.money.total.0,
                    "dearest_pico_usd": record.money.dearest.0,
                    "price_version": record.money.price_version,
                })
            );
        }
        return Ok(());
    }
    let mut table = table(&[
        "time",
        "requested",
        "task",
        "model",
        "provider",
        "why",
        "tries",
        "outcome",
        "ttft",
        "tokens",
        "cost",
    ]);
    for record in &records {
        let task = record.decided.task.map_or("", |task| task.name());
        table.add_row([
            moment(record.started_at_us as i64 / 1_000_000),
            record.asked.requested.clone(),
            or_dash(task),
            or_dash(&record.served.model),
            or_dash(&record.served.provider),
            record.decided.reason.clone(),
            record.served.attempts.to_string(),
            record.served.outcome.name().to_owned(),
            record.timing.ttft_us.map_or("-".to_owned(), |us| milliseconds(us.into())),
            format!("{}+{}", record.usage.input.0, record.usage.output.0),
            record.money.total.to_string(),
        ]);
    }
    println!("{table}");
    Ok(())
}

fn totals_json(totals: &Totals) -> serde_json::Value {
    // Sums may exceed what a JSON number keeps exactly in every reader, so money is text.
    json!({
        "calls": totals.calls,
        "complete": totals.complete,
        "estimated": totals.estimated,
        "input_tokens": totals.input as u64,
        "cached_tokens": totals.cached as u64,
        "written_tokens": totals.written as u64,
        "output_tokens": totals.output as u64,
        "reasoning_tokens": totals.reasoning as u64,
        "cost_pico_usd": totals.cost_pico.to_string(),
        "own_cost_pico_usd": totals.own_cost_pico.to_string(),
        "dearest_pico_usd": totals.dearest_pico.to_string(),
        "ttft_p50_us": totals.ttft.p50_us,
        "ttft_p95_us": totals.ttft.p95_us,
    })
}

fn figures_of(totals: &Totals) -> Vec<String> {
    let saved = match totals.dearest_pico {
        0 => "-".to_owned(),
        dearest => {
            let saved = dearest.saturating_sub(totals.cost_pico);
            format!("{:.0} %", saved as f64 / dearest as f64 * 100.0)
        }
    };
    vec![
        totals.calls.to_string(),
        totals.input.to_string(),
        totals.cached.to_string(),
        totals.output.to_string(),
        dollars(totals.cost_pico),
        dollars(totals.dearest_pico),
        saved,
        milliseconds(totals.ttft.p50_us),
        milliseconds(totals.ttft.p95_us),
    ]
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn milliseconds(micros: u64) -> String {
    match micros {
        0 => "-".to_owned(),
        _ => format!("{:.1} ms", micros as f64 / 1_000.0),
    }
}

fn dollars(pico: u128) -> String {
    match u64::try_from(pico) {
        Ok(pico) => PicoUsd(pico).to_string(),
        // Above 18 million dollars nobody asks for the last decimals.
        Err(_) => format!("${}", pico / u128::from(PicoUsd::ONE_USD.0)),
    }
}

fn dimension(text: &str) -> Result<Dimension, String> {
    let names: Vec<_> = Dimension::ALL.iter().map(|dimension| dimension.name()).collect();
    Dimension::from_name(text).ok_or_else(|| format!("one of {} would do", names.join(", ")))
}

fn span_us(text: &str) -> Result<u64, String> {
    let help = || "a time like 30m, 24h or 7d would do".to_owned();
    let unit_at =
        text.len().checked_sub(1).filter(|&at| text.is_char_boundary(at)).ok_or_else(help)?;
    let (digits, unit) = text.split_at(unit_at);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(help()),
    };
    let count: u64 = digits.parse().map_err(|_| help())?;
    count.checked_mul(seconds * 1_000_000).ok_or_else(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        assert_eq!(span_us("24h"), Ok(86_400_000_000));
        for bad in ["", "h", "1", "1y", "-1h", "1é", "99999999999999999999d"] {
            assert!(span_us(bad).is_err(), "{bad}");
        }
    }
}
