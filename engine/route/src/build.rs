//! From the catalogue to columns: which offers can be used here, and what routing needs of each.

use models::catalogue::{Catalogue, ModelKind, ModelView, OfferView, ProviderKind, Status};
use models::{Capabilities, Dialect, Task};

use crate::{Columns, Exclusion, OfferRow, Prior, ProviderIx};

impl Columns {
    /// The columns of a catalogue, for a gateway with these providers and dialects. `enabled`:
    /// whether a provider has its credential (one that the catalogue switches off stays off). `supported`: whether an offer can
    /// be reached in that dialect by this program, and then what nobody can ask for in it.
    pub fn build(
        catalogue: &Catalogue,
        enabled: impl Fn(ProviderIx) -> bool,
        supported: impl Fn(Dialect) -> Option<Capabilities>,
    ) -> Columns {
        let thinks: Vec<bool> =
            catalogue.models().map(|model| thinks_by_itself(catalogue, model)).collect();
        Columns::from_rows(catalogue.offers().map(|offer| {
            let model = catalogue.model(offer.model());
            let provider = catalogue.provider(offer.provider());
            // What the model can do, as far as one of the dialects can say it.
            let could = offer.caps() | Capabilities::ALTERNATIVES | Capabilities::TOKEN_INPUT;
            let embeds = model.kind() == ModelKind::Embedding;
            let fitting = offer.dialects().filter(|dialect| dialect.is_embeddings() == embeds);
            let says = fitting.filter_map(|dialect| {
                provider.endpoint(dialect).filter(|endpoint| endpoint.is_ready())?;
                supported(dialect).map(|cannot| could.without(cannot))
            });
            let caps = says.reduce(|all, more| all | more);
            let retired = [model.status(), offer.status()].contains(&Status::Retired);
            let excluded = if retired {
                Some(Exclusion::Retired)
            } else if !provider.enabled() || !enabled(provider.ix()) {
                Some(Exclusion::ProviderDisabled)
            } else if caps.is_none() {
                Some(Exclusion::DialectUnsupported)
            } else {
                None
            };
            OfferRow {
                excluded,
                caps: caps.unwrap_or_default(),
                thinks: thinks[offer.model().0 as usize]
                    && offer.caps().covers(Capabilities::REASONING),
                prior: match provider.kind() {
                    ProviderKind::Local => Prior::LOCAL,
                    ProviderKind::Direct
                    | ProviderKind::Cloud
                    | ProviderKind::Host
                    | ProviderKind::Aggregator => Prior::HOSTED,
                },
                ..row(offer, model)
            }
        }))
    }
}

fn row(offer: OfferView<'_>, model: ModelView<'_>) -> OfferRow {
    let embeds = model.kind() == ModelKind::Embedding;
    // The limits of an embedding model are those of one input, and a request holds many.
    let limit = |tokens: u32| if embeds { u32::MAX } else { tokens };
    OfferRow {
        offer: offer.ix(),
        model: offer.model(),
        provider: offer.provider(),
        caps: offer.caps(),
        context: limit(offer.context()),
        max_input: limit(offer.max_input()),
        max_output: limit(offer.max_output()),
        prices: offer.prices(),
        uplift: offer.uplift_permille(""),
        thinks: false,
        ability: Task::ALL.map(|task| model.ability(task)),
        ability_overall: model.ability_overall(),
        auto: !embeds && model.status().is_current() && offer.status().is_current(),
        prior: Prior::HOSTED,
        excluded: None,
    }
}

/// Whether a model thinks unless it is told not to. Where its effort is not known it does, for an
/// expected cost that is too high is the smaller mistake; but not where its maker speaks Anthropic
/// messages, in which thinking is asked for.
fn thinks_by_itself(catalogue: &Catalogue, model: ModelView<'_>) -> bool {
    if !model.caps().covers(Capabilities::REASONING) {
        return false;
    }
    match model.default_effort() {
        Some(effort) => effort != "none",
        None => !models::catalogue::OfferIx::each(catalogue.offers_of(model.ix()))
            .map(|offer| catalogue.offer(offer))
            .any(|offer| {
                let direct = catalogue.provider(offer.provider()).kind() == ProviderKind::Direct;
                direct && offer.dialect() == Dialect::AnthropicMessages
            }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use models::Verdict;

    use super::*;
    use crate::{Ask, HealthTable, NoCandidate, Plan, Scratch, Strategy, Target, explain, plan};

    fn builtin() -> Catalogue {
        use models::catalogue::CatalogueSource;
        let source = CatalogueSource::builtin().expect("the shipped data parse");
        source.compile().expect("the shipped data are valid")
    }

    fn openai_form(dialect: Dialect) -> Option<Capabilities> {
        (dialect == Dialect::OpenAiChat).then_some(Capabilities::NONE)
    }

    fn plan_at(columns: Arc<Columns>, ask: &Ask) -> Result<Plan, NoCandidate> {
        let health = HealthTable::new(columns.clone());
        plan(&columns, &health, ask, 0, &mut Scratch::default())
    }

    #[test]
    fn every_offer_is_a_row_or_left_out() {
        let catalogue = builtin();
        let openai = catalogue.find_provider("openai").expect("is shipped");
        let all = Columns::build(&catalogue, |_| true, |_| Some(Capabilities::NONE));
        let one = Columns::build(&catalogue, |provider| provider == openai, openai_form);
        for columns in [&all, &one] {
            let count = columns.len() + columns.left_out().len();
            assert_eq!(count, catalogue.offer_count());
        }
        assert!(one.len() > 10 && one.len() < all.len());
        let of_openai = |offer: &crate::OfferIx| catalogue.offer(*offer).provider() == openai;
        assert!(one.offers().iter().all(of_openai));
    }

    #[test]
    fn harder_prompts_get_abler_models_and_strategies_differ() {
        let catalogue = builtin();
        let columns = Arc::new(Columns::build(&catalogue, |_| true, openai_form));
        let of = |strategy, difficulty| {
            let verdict = Verdict {
                task: Task::CodeGeneration,
                difficulty,
                confidence: 0.9,
                ..Verdict::UNKNOWN
            };
            let ask = Ask { strategy, verdict, ..Ask::new(Target::Auto, 500) };
            plan_at(columns.clone(), &ask).expect("many can").attempts[0]
        };
        for strategy in Strategy::ALL {
            let (easy, hard) = (of(strategy, 0.1), of(strategy, 0.9));
            let ability = |offer| {
                catalogue.model(catalogue.offer(offer).model()).ability(Task::CodeGeneration)
            };
            assert!(ability(easy.offer) <= ability(hard.offer), "{strategy}");
        }
        for difficulty in [0.1, 0.5, 0.9] {
            let [cost, quality, latency, balanced] = Strategy::ALL.map(|goal| of(goal, difficulty));
            for other in [quality, latency, balanced] {
                assert!(cost.expected_cost <= other.expected_cost, "{difficulty}");
                assert!(other.expected_quality <= quality.expected_quality / 0.97, "{difficulty}");
            }
            assert!(latency.expected_latency_us <= quality.expected_latency_us);
        }
    }

    #[test]
    fn a_named_model_is_found_at_each_of_its_usable_offers() {
        let catalogue = builtin();
        let columns = Arc::new(Columns::build(&catalogue, |_| true, openai_form));
        let health = HealthTable::new(columns.clone());
        for model in catalogue.models() {
            let ask = Ask::new(Target::Model(model.ix()), 100);
            let explained = explain(&columns, &health, &ask, 0);
            let count = explained.candidates.len() + explained.excluded.len();
            assert_eq!(
                count,
                catalogue.offers_of(model.ix()).end.0 as usize
                    - catalogue.offers_of(model.ix()).start.0 as usize,
                "{}",
                model.id()
            );
        }
    }
}
