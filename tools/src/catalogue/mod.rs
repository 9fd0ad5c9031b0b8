//! `tools catalogue`: keeps the data files of the `models` crate.
//!
//! `update` fetches pinned packages, reads their data without running their code, and writes the
//! lab files again; equal inputs give equal files. `check` validates what is there.

mod check;
mod decimal;
mod fetch;
mod impute;
mod literal;
mod merge;
mod source;
mod write;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use models::catalogue::CatalogueSource;

use source::Source;

/// What to do with the catalogue.
#[derive(Debug, Subcommand)]
pub(crate) enum CatalogueCommand {
    /// Fetch the pinned packages and write the lab files again.
    Update {
        /// Where the data files are.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/data"))]
        data: PathBuf,
        /// Where downloads are kept.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/catalogue"))]
        cache: PathBuf,
        /// The day whose prices are in force.
        #[arg(long, default_value = "2026-11-20")]
        today: String,
        /// List the wire ids of known providers that belong to no model yet.
        #[arg(long)]
        show_new: bool,
    },
    /// Validate the data files and print figures.
    Check {
        /// Where the data files are.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/data"))]
        data: PathBuf,
        /// Compare prices with a reference catalogue in JSON.
        #[arg(long)]
        against: Option<PathBuf>,
        /// List the prices that differ from the reference.
        #[arg(long)]
        show: bool,
    },
}

impl CatalogueCommand {
    /// Does it; the error says what to do about it.
    pub(crate) fn run(self) -> Result<(), String> {
        let done = match self {
            CatalogueCommand::Update { data, cache, today, show_new } => {
                update(&data, &cache, &today, show_new)
            }
            CatalogueCommand::Check { data, against, show } => {
                check(&data, against.as_deref(), show)
            }
        };
        done.map_err(|error| error.to_string())
    }
}

fn check(data: &Path, against: Option<&Path>, show: bool) -> Result<(), Box<dyn Error>> {
    let source = read(data)?;
    check::check(&source)?;
    check::time_start()?;
    match against {
        Some(file) => check::against(&source, file, show),
        None => Ok(()),
    }
}

fn update(data: &Path, cache: &Path, today: &str, show_new: bool) -> Result<(), Box<dyn Error>> {
    let mut catalogue = read(data)?;
    let sources = sources(cache, today)?;
    let report = merge::merge(&mut catalogue, &sources);
    let imputed = impute::impute(&mut catalogue.models);
    if let Err(errors) = catalogue.validate() {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(format!("nothing was written:\n{}", lines.join("\n")).into());
    }
    write::models(data, &catalogue.models)?;
    println!(
        "prices: {} agreed, {} from one source, {} disputed, {} stale, {} unknown",
        report.agreed, report.single, report.disputed, report.stale, report.unpriced
    );
    println!("abilities: {imputed} imputed");
    for line in &report.implausible {
        println!("refused as implausible: {line}");
    }
    print_new(&catalogue, &sources, show_new);
    Ok(())
}

/// The packages in their pinned order, which is that of trust.
fn sources(cache: &Path, today: &str) -> Result<Vec<Box<dyn Source>>, Box<dyn Error>> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    let mut langchain = source::langchain::LangChain::default();
    for package in fetch::packages()? {
        let members = package.members(cache)?;
        match package.name.as_str() {
            "litellm" => sources.push(Box::new(source::litellm::LiteLlm::read(&members)?)),
            "genai-prices" => {
                let read = source::genai_prices::GenaiPrices::read(&members, today)?;
                sources.push(Box::new(read));
            }
            "@earendil-works/pi-ai" => {
                sources.push(Box::new(source::pi_ai::PiAi::read(&members)?));
            }
            name => langchain.add(name, &members)?,
        }
    }
    sources.push(Box::new(langchain));
    Ok(sources)
}

/// Wire ids that the packages know and we do not: candidates for a person to look at, since only
/// a person can say which model they are.
fn print_new(catalogue: &CatalogueSource, sources: &[Box<dyn Source>], show: bool) {
    let known: BTreeSet<(&str, &str)> = catalogue
        .models
        .iter()
        .flat_map(|model| &model.offers)
        .map(|offer| (offer.provider.as_str(), offer.wire_id.as_str()))
        .collect();
    let providers: BTreeSet<&str> = catalogue.providers.iter().map(|p| p.id.as_str()).collect();
    for source in sources {
        let all = source.wire_ids();
        let new = all.iter().filter(|(provider, wire_id)| {
            let offered = known.contains(&(provider.as_str(), wire_id.as_str()));
            providers.contains(provider.as_str()) && !offered
        });
        let new: Vec<_> = new.collect();
        println!("{}: {} wire ids belong to no model", source.name(), new.len());
        for (provider, wire_id) in new.iter().filter(|_| show) {
            println!("  {provider} {wire_id}");
        }
    }
}

/// The data files as they stand.
fn read(data: &Path) -> Result<CatalogueSource, Box<dyn Error>> {
    let mut all = CatalogueSource::default();
    let mut files = toml_files(data)?;
    files.extend(toml_files(&data.join("providers"))?);
    for path in files {
        let text = fs::read_to_string(&path)?;
        let mut part = CatalogueSource::from_toml(&text, &path.display().to_string())?;
        all.providers.append(&mut part.providers);
        all.models.append(&mut part.models);
    }
    Ok(all)
}

/// The TOML files of a folder, sorted.
fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
