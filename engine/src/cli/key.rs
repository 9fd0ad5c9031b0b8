//! `pointsman key`: make, list and revoke API keys.

use super::{Common, Done, moment, open_store, table};
use clap::Subcommand;
use comfy_table::Table;
use govern::KeyRecord;
use serde_json::json;
use store::NewKey;

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key; its secret is shown this once
    Create {
        /// What to call it
        #[arg(long)]
        name: String,
        /// Organisation that pays
        #[arg(long, default_value = "")]
        org: String,
        /// Team
        #[arg(long, default_value = "")]
        team: String,
        /// Project
        #[arg(long, default_value = "")]
        project: String,
        /// The person it is for
        #[arg(long)]
        user: Option<String>,
        /// Strategy of its `auto` requests: cost, quality, latency or balanced
        #[arg(long, value_parser = strategy_name)]
        strategy: Option<String>,
        /// Day from which on it is refused, YYYY-MM-DD in UTC
        #[arg(long, value_name = "DAY", value_parser = day)]
        expires: Option<i64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List all keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse a key from now on
    Revoke {
        /// Its number
        id: u64,
    },
}

pub(super) fn key(common: &Common, command: KeyCommand) -> Done {
    let (_, mut store) = open_store(common)?;
    match command {
        KeyCommand::Create { name, org, team, project, user, strategy, expires, json } => {
            if name.is_empty() || name.len() > 100 || name.contains(char::is_control) {
                return Err("--name: 1 to 100 printable characters would do".into());
            }
            let new = NewKey { name, org, team, project, user, strategy, expires_at: expires };
            let (secret, record) = store.create_key(&new).map_err(|error| error.to_string())?;
            if json {
                let mut row = key_json(&record);
                row["secret"] = json!(secret.reveal());
                println!("{row}");
            } else {
                println!(
                    "key {} \"{}\", shown this once:\n{}",
                    record.id,
                    record.name,
                    secret.reveal()
                );
            }
        }
        KeyCommand::List { json } => {
            let keys = store.list_keys().map_err(|error| error.to_string())?;
            if json {
                println!("{}", json!(keys.iter().map(key_json).collect::<Vec<_>>()));
            } else {
                println!("{}", key_table(&keys));
            }
        }
        KeyCommand::Revoke { id } => {
            let record = store.revoke_key(id).map_err(|error| error.to_string())?;
            println!(
                "key {} \"{}\" is revoked; running gateways refuse it within a second",
                id, record.name
            );
        }
    }
    Ok(())
}

fn key_json(key: &KeyRecord) -> serde_json::Value {
    json!({
        "id": key.id,
        "name": key.name,
        "org": key.org,
        "team": key.team,
        "project": key.project,
        "user": key.user,
        "strategy": key.strategy,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
        "expires_at": key.expires_at,
    })
}

fn key_table(keys: &[KeyRecord]) -> Table {
    let mut table =
        table(&["id", "name", "org", "team", "project", "user", "strategy", "created", "state"]);
    for key in keys {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {}", moment(at)),
            (None, Some(at)) => format!("expires {}", moment(at)),
            (None, None) => "active".to_owned(),
        };
        let id = key.id.to_string();
        let created = moment(key.created_at);
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        table.add_row([
            id,
            key.name.clone(),
            key.org.clone(),
            key.team.clone(),
            key.project.clone(),
            or_none(&key.user),
            or_none(&key.strategy),
            created,
            state,
        ]);
    }
    table
}

fn strategy_name(text: &str) -> Result<String, String> {
    let names: Vec<_> = route::Strategy::ALL.iter().map(|strategy| strategy.name()).collect();
    match route::Strategy::from_name(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("one of {} would do", names.join(", "))),
    }
}

fn day(text: &str) -> Result<i64, String> {
    let date: jiff::civil::Date = text.parse().map_err(|_| "a day like 2027-01-31 would do")?;
    let start = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(start.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read() {
        assert_eq!(day("1970-01-02"), Ok(86_400));
        assert!(day("tomorrow").is_err());
    }
}
