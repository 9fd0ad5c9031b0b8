//! What the catalogue promises: the built-in data, overlays, errors, the image.

use super::*;
use crate::{Capabilities, Dialect, PicoUsd, Rates, Task, Tokens};

fn builtin() -> CatalogueSource {
    CatalogueSource::builtin().expect("the built-in files have the right shape")
}

fn toml(text: &str) -> CatalogueSource {
    CatalogueSource::from_toml(text, "pointsman.toml").expect("the test's TOML has the right shape")
}

fn compiled(source: &CatalogueSource) -> Catalogue {
    source.compile().unwrap_or_else(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

/// A small valid source to spoil.
const SMALL: &str = r#"
    [[provider]]
    id = "acme"
    kind = "direct"
    base_url = "https://api.acme.test/v1"
    env = "ACME_API_KEY"

    [[model]]
    id = "acme/one"
    aliases = ["first"]
    context = 100000
    max_output = 4000
    can = ["tools", "streaming"]
    offers = [{ provider = "acme", wire_id = "one-1", price = { input = 1000, output = 5000 } }]
"#;

#[test]
fn the_builtin_catalogue_compiles_and_is_large() {
    let catalogue = compiled(&builtin());
    let chat: Vec<_> = catalogue.models().filter(|model| model.kind() == ModelKind::Chat).collect();
    let labs: std::collections::BTreeSet<&str> = chat.iter().map(|model| model.lab()).collect();
    assert!(chat.len() >= 300, "{} chat models", chat.len());
    assert!(labs.len() >= 15, "{} labs", labs.len());
    assert!(catalogue.provider_count() >= 30);
    for model in catalogue.models() {
        let offers = catalogue.offers_of(model.ix());
        let first = catalogue.offer(offers.start);
        assert!(first.prices().is_some(), "{} has no price", model.id());
        for offer in OfferIx::each(offers) {
            assert_eq!(catalogue.offer(offer).model(), model.ix());
        }
    }
}

#[test]
fn every_name_leads_to_its_model() {
    let source = builtin();
    let catalogue = compiled(&source);
    for model in &source.models {
        let found = |name: &str| catalogue.find_model(name).map(|at| catalogue.model(at).id());
        assert_eq!(found(&model.id), Some(model.id.as_str()));
        for alias in &model.aliases {
            assert_eq!(found(alias), Some(model.id.as_str()), "alias {alias}");
        }
        for offer in &model.offers {
            assert!(found(&offer.wire_id).is_some(), "{}", offer.wire_id);
        }
    }
    for name in ["", "no-such-model", "openai/", "auto"] {
        assert_eq!(catalogue.find_model(name), None, "{name:?}");
    }
    for provider in &source.providers {
        let at = catalogue.find_provider(&provider.id).expect("is there");
        assert_eq!(catalogue.provider(at).id(), provider.id);
    }
}

#[test]
fn an_ollama_is_four_lines() {
    let overlay = toml(
        r#"
        [[provider]]
        id = "ollama"
        base_url = "http://127.0.0.1:11434/v1"
        models = ["my-own:3b"]
        "#,
    );
    let catalogue = compiled(&builtin().overlay(overlay));
    let model = catalogue.find_model("ollama/my-own:3b").expect("by id");
    assert_eq!(catalogue.find_model("my-own:3b"), Some(model), "by name");
    let offers = catalogue.offers_of(model);
    assert_eq!(offers.end.0 - offers.start.0, 1);
    let offer = catalogue.offer(offers.start);
    assert_eq!(offer.wire_id(), "my-own:3b");
    assert_eq!(offer.prices().map(|prices| prices.base), Some(Rates::FREE));
    assert_eq!(offer.context(), 32_768);
    assert!(offer.caps().covers(Capabilities::TOOLS | Capabilities::STREAMING));
    let provider = catalogue.provider(offer.provider());
    assert_eq!(provider.env(), None);
    let endpoint = provider.endpoint(Dialect::OpenAiChat).expect("speaks it");
    assert_eq!(endpoint.base_url(), "http://127.0.0.1:11434/v1");
    assert_eq!(endpoint.auth(), Auth::None);
    assert!(endpoint.is_ready());
}

#[test]
fn a_local_copy_of_a_known_model_shares_its_facts_but_not_its_offers() {
    let known = compiled(&builtin());
    let at = known.find_model("gpt-oss-120b").expect("a known open model");
    let known = known.model(at);
    let overlay = toml(
        r#"
        [[provider]]
        id = "vllm"
        base_url = "http://10.0.0.5:8000/v1"
        models = ["openai/gpt-oss-120b", "gpt-oss-120b"]
        "#,
    );
    let catalogue = compiled(&builtin().overlay(overlay));
    for (name, id) in [
        ("openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("vllm/openai/gpt-oss-120b", "vllm/openai/gpt-oss-120b"),
        ("gpt-oss-120b", "vllm/gpt-oss-120b"),
    ] {
        let at = catalogue.find_model(name).expect(name);
        assert_eq!(catalogue.model(at).id(), id);
        assert_eq!(catalogue.model(at).caps(), known.caps());
        assert_eq!(catalogue.model(at).context(), known.context());
        assert_eq!(catalogue.model(at).ability(Task::Math), known.ability(Task::Math));
    }
    let own = catalogue.find_model("gpt-oss-120b").expect("is there");
    let providers: Vec<_> = OfferIx::each(catalogue.offers_of(own))
        .map(|offer| catalogue.provider(catalogue.offer(offer).provider()).id())
        .collect();
    assert_eq!(providers, ["vllm"], "naming a local model stays local");
}

#[test]
fn an_overlay_changes_what_it_gives_and_leaves_the_rest() {
    let overlay = toml(
        r#"
        [[provider]]
        id = "acme"
        base_url = "https://proxy.test/acme/v1"
        headers = { x-team = "blue" }

        [[model]]
        id = "acme/one"
        aliases = ["uno"]
        max_output = 8000
        offers = [
          { provider = "acme", wire_id = "one-2", price = { input = 7, output = 8 } },
          { provider = "acme", wire_id = "one-1", price = { input = 9 } },
        ]
        "#,
    );
    let catalogue = compiled(&toml(SMALL).overlay(overlay));
    let model = catalogue.model(catalogue.find_model("uno").expect("new alias"));
    assert_eq!(catalogue.find_model("first"), Some(model.ix()), "old alias");
    assert_eq!((model.context(), model.max_output()), (100_000, 8_000));
    let wires: Vec<_> = OfferIx::each(catalogue.offers_of(model.ix()))
        .map(|at| catalogue.offer(at))
        .map(|offer| (offer.wire_id(), offer.prices().expect("priced").base.input.0))
        .collect();
    assert_eq!(wires, [("one-2", 7), ("one-1", 9)]);
    let provider = catalogue.provider(ProviderIx(0));
    assert_eq!(provider.env(), Some("ACME_API_KEY"));
    assert_eq!(provider.headers().collect::<Vec<_>>(), [("x-team", "blue")]);
    let endpoint = provider.endpoint(Dialect::OpenAiChat).expect("speaks it");
    assert_eq!(endpoint.base_url(), "https://proxy.test/acme/v1");
    assert_eq!(endpoint.auth(), Auth::Bearer);
}

/// What is laid over `SMALL`, and what the one error must say.
const BAD: &[(&str, &str)] = &[
    ("[[provider]]\nid = \"B\"\nbase_url = \"http://x/v1\"", "provider `B`: id:"),
    ("[[provider]]\nid = \"b\"", "provider `b`: base_url: is missing"),
    (
        "[[provider]]\nid = \"b\"\nbase_url = \"x/v1\"",
        "provider `b`: base_url: `x/v1` does not begin with http",
    ),
    (
        "[[provider]]\nid = \"b\"\nbase_url = \"http://x/v1/\"",
        "base_url: `http://x/v1/` ends with a slash",
    ),
    (
        "[[provider]]\nid = \"b\"\nbase_url = \"http://x/v1\"\nenv = \"sk-abc\"",
        "provider `b`: env: `sk-abc` is no name",
    ),
    (
        "[[provider]]\nid = \"b\"\nbase_url = \"http://x/v1\"\ndialects = []",
        "provider `b`: dialects: is empty",
    ),
    (
        "[[provider]]\nid = \"b\"\nbase_url = \"http://x/v1\"\nheaders = { \"a b\" = \"c\" }",
        "provider `b`: headers.a b:",
    ),
    (
        "[[provider]]\nid = \"b\"\nbase_url = \"http://{x}/v1\"\nfill = { y = \"z\" }",
        "provider `b`: fill.y: no address of the provider has a `{y}`",
    ),
    (
        "[[provider]]\nid = \"b\"\nbase_url = \"http://{x}/v1\"\nfill = { x = \"a/b\" }",
        "provider `b`: fill.x: `a/b` does not fit",
    ),
    (
        "[[provider]]\nid = \"b\"\nbase_url = \"http://x/v1\"\nquery = { v = \"a&b\" }",
        "provider `b`: query.v: `v=a&b` is no query parameter",
    ),
    (
        "[[model]]\nid = \"two\"\noffers = [{ provider = \"acme\", wire_id = \"2\", price = { input = 1 } }]",
        "model `two`: id: `two` is not of the form",
    ),
    ("[[model]]\nid = \"acme/two\"", "model `acme/two`: offers: is empty"),
    (
        "[[model]]\nid = \"acme/one\"\naliases = [\"acme/one two\"]",
        "model `acme/one`: aliases[1]: `acme/one two` has a space",
    ),
    (
        "[[model]]\nid = \"acme/one\"\naliases = [\"auto\"]",
        "model `acme/one`: aliases[1]: `auto` is what routing",
    ),
    (
        "[[model]]\nid = \"acme/one\"\ncan = [\"telepathy\"]",
        "model `acme/one`: can: there is no capability `telepathy`",
    ),
    ("[[model]]\nid = \"acme/one\"\ncontext = 0", "model `acme/one`: context: 0 tokens"),
    (
        "[[model]]\nid = \"acme/one\"\nreleased = \"last May\"",
        "model `acme/one`: released: `last May` is no day",
    ),
    (
        "[[model]]\nid = \"acme/one\"\nability = { basis = \"measured\", overall = 99.0 }",
        "model `acme/one`: ability.overall: 99 is out of range",
    ),
    (
        "[[model]]\nid = \"acme/one\"\noffers = [{ provider = \"acne\", wire_id = \"1\", price = { input = 1 } }]",
        "model `acme/one`: offers[0].provider: there is no provider `acne`",
    ),
    (
        "[[model]]\nid = \"acme/one\"\noffers = [{ provider = \"acme\", wire_id = \"new\" }]",
        "model `acme/one`: offers[0].price: is missing",
    ),
    (
        "[[model]]\nid = \"acme/one\"\noffers = [{ provider = \"acme\", wire_id = \"one-1\", price = { input = 30000000000 } }]",
        "offers[0].price.input: 30000000000 is above",
    ),
    (
        "[[model]]\nid = \"acme/one\"\noffers = [{ provider = \"acme\", wire_id = \"one-1\", dialects = [\"cohere-v2\"] }]",
        "offers[0].dialects: `acme` does not speak `cohere-v2`",
    ),
    (
        "[[model]]\nid = \"acme/one\"\noffers = [{ provider = \"acme\", wire_id = \"one-1\", price = { input = 1 }, tiers = [{ above = 9, price = { input = 1 } }, { above = 9, price = { input = 2 } }] }]",
        "offers[0].tiers: thresholds do not ascend",
    ),
    (
        "[[model]]\nid = \"acme/one\"\noffers = [{ provider = \"acme\", wire_id = \"one-1\", price = { input = 1 }, off_peak = { price = { input = 1 }, windows = [{ weekdays = [1], hours_utc = [\"22:00-04:00\"] }] } }]",
        "offers[0].off_peak.windows[0].hours_utc: `22:00-04:00` is no span",
    ),
    (
        "[[model]]\nid = \"acme/two\"\noffers = [{ provider = \"acme\", wire_id = \"one-1\", price = { input = 1 } }]",
        "model `acme/two`: offers[0].wire_id: `one-1` at `acme` is offered by `acme/one` already",
    ),
];

#[test]
fn every_error_names_the_entry_the_field_and_a_remedy() {
    for (overlay, expected) in BAD {
        let errors = toml(SMALL).overlay(toml(overlay)).compile().expect_err(overlay);
        let [error] = errors.as_slice() else {
            panic!("{overlay}\n{errors:#?}");
        };
        let message = error.to_string();
        assert!(message.contains(expected), "{message}\nlacks\n{expected}");
        assert!(error.remedy.len() > 10, "{message}");
    }
}

#[test]
fn a_bad_source_tells_all_its_errors_and_compiles_to_nothing() {
    let mut source = toml(SMALL);
    source.providers[0].base_url = None;
    source.models[0].context = Some(0);
    source.models[0].offers[0].wire_id.clear();
    source.models.push(ModelSource { aliases: vec!["first".into()], ..source.models[0].clone() });
    let errors = source.compile().expect_err("is bad");
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    for field in ["base_url", "context", "offers[0].wire_id", "id", "aliases[0]"] {
        assert!(fields.contains(&field), "{field} in {fields:?}");
    }
}

#[test]
fn toml_of_another_shape_names_file_line_and_key() {
    let error = CatalogueSource::from_toml("\n[[provider]]\nid = \"x\"\nbase = 1\n", "a.toml")
        .expect_err("unknown field");
    assert_eq!((error.subject.as_str(), error.field.as_str()), ("a.toml", "line 4"));
    assert!(error.problem.contains("`base`"), "{error}");
    let error = CatalogueSource::from_toml("[[provider]]\ndialects = [\"klingon\"]\n", "a.toml")
        .expect_err("unknown dialect");
    assert!(error.problem.contains("openai-chat"), "{error}");
}

#[test]
fn an_image_reads_back_and_a_damaged_one_does_not() {
    let catalogue = compiled(&builtin());
    let again = Catalogue::from_image(catalogue.image()).expect("its own image");
    assert_eq!(again.version(), catalogue.version());
    assert_eq!(again.offer_count(), catalogue.offer_count());
    let image = catalogue.image();
    assert!(Catalogue::from_image(&image[..image.len() - 8]).is_err());
    assert!(Catalogue::from_image(&[]).is_err());
}

#[test]
fn the_version_follows_the_content_and_not_the_order() {
    let source = builtin();
    let mut turned = source.clone();
    turned.providers.reverse();
    turned.models.reverse();
    let version = compiled(&source).version().to_string();
    assert_eq!(compiled(&turned).version(), version);
    if let Some(price) = &mut turned.models[0].offers[0].price {
        price.input += 1;
    }
    assert_ne!(compiled(&turned).version(), version);
}

#[test]
fn absent_prices_are_filled_and_hours_and_tiers_apply() {
    let overlay = toml(
        r#"
        [[model]]
        id = "acme/two"
        offers = [{ provider = "acme", wire_id = "two", price = { input = 100, output = 500, cache_write_5m = 125 }, tiers = [{ above = 1000, price = { input = 200, output = 700 } }], services = { batch = { price = { input = 50 } } }, off_peak = { price = { input = 10, output = 50 }, windows = [{ weekdays = [4], hours_utc = ["04:00-06:00", "22:00-00:00"] }] }, uplift_permille = { eu = 1100 } }]
        "#,
    );
    let catalogue = compiled(&toml(SMALL).overlay(overlay));
    let model = catalogue.find_model("acme/two").expect("is there");
    let offer = catalogue.offer(catalogue.offers_of(model).start);
    let prices = offer.prices().expect("priced");
    let all = |rates: Rates| {
        let parts = [
            rates.input,
            rates.output,
            rates.cache_read,
            rates.cache_write_5m,
            rates.cache_write_1h,
            rates.reasoning,
        ];
        parts.map(|PicoUsd(price)| price)
    };
    assert_eq!(all(prices.base), [100, 500, 100, 125, 125, 500]);
    assert_eq!(all(prices.for_input(Tokens(1000))), all(prices.base));
    assert_eq!(all(prices.for_input(Tokens(1001))), [200, 700, 200, 200, 200, 700]);
    let batch = offer.service_prices(ServiceTier::Batch).expect("has one");
    assert_eq!(all(batch.base), [50, 0, 50, 50, 50, 0]);
    assert_eq!(offer.service_prices(ServiceTier::Flex), None);
    assert_eq!((offer.uplift_permille("eu"), offer.uplift_permille("us")), (1100, 1000));
    // 1970-01-01 was a Thursday.
    let hour = 3600;
    for (unix_s, input) in [
        (4 * hour - 1, 100),
        (4 * hour, 10),
        (6 * hour, 100),
        (24 * hour - 1, 10),
        (28 * hour, 100),
        (7 * 24 * hour + 5 * hour, 10),
    ] {
        let prices = offer.prices_at(unix_s).expect("priced");
        assert_eq!(prices.base.input, PicoUsd(input), "at {unix_s}");
    }
}

#[test]
fn quirks_of_an_offer_lie_over_those_of_its_provider() {
    let source = toml(
        r#"
        [[provider]]
        id = "acme"
        quirks = { developer_role = true, max_tokens_field = "max_completion_tokens", thinking = "zai" }
        [[model]]
        id = "acme/one"
        offers = [{ provider = "acme", wire_id = "one-1", quirks = { developer_role = false, sampling_params = false } }]
        "#,
    );
    let catalogue = compiled(&toml(SMALL).overlay(source));
    let quirks = catalogue.offer(OfferIx(0)).quirks();
    assert_eq!(quirks.max_tokens_field, MaxTokensField::MaxCompletionTokens);
    assert_eq!(quirks.thinking, ThinkingFormat::Zai);
    assert!(!quirks.developer_role && !quirks.sampling_params && quirks.usage_in_stream);
}

#[test]
fn names_that_people_use_lead_to_a_chat_offer_that_can_be_reached() {
    let catalogue = compiled(&builtin());
    let reachable = |model: ModelIx| {
        OfferIx::each(catalogue.offers_of(model))
            .map(|at| catalogue.offer(at))
            .filter(|offer| offer.prices().is_some() && offer.speaks(Dialect::OpenAiChat))
            .filter_map(|offer| {
                let provider = catalogue.provider(offer.provider());
                provider.endpoint(Dialect::OpenAiChat)
            })
            .any(EndpointView::is_ready)
    };
    for (name, id) in [
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("openai/gpt-4.1", "openai/gpt-4.1"),
        ("o3-mini", "openai/o3-mini"),
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("deepseek-chat", "deepseek/deepseek-chat"),
        ("mistral-large-latest", "mistral/mistral-large-latest"),
        ("llama-3.3-70b-versatile", "meta/llama-3.3-70b-instruct"),
        ("gpt-oss-120b", "openai/gpt-oss-120b"),
    ] {
        let at = catalogue.find_model(name).expect(name);
        assert_eq!(catalogue.model(at).id(), id);
        assert!(reachable(at), "{name}");
    }
    let count = catalogue
        .models()
        .filter(|model| model.kind() == ModelKind::Chat && reachable(model.ix()))
        .count();
    assert!(count >= 400, "{count} chat models can be reached as they stand");
}

#[test]
fn who_counts_reasoning_beside_the_output_is_known_from_the_data() {
    let catalogue = CatalogueSource::builtin().unwrap().compile().unwrap();
    for offer in catalogue.offers() {
        let provider = catalogue.provider(offer.provider()).id();
        let apart = matches!(provider, "xai" | "perplexity");
        assert_eq!(offer.quirks().reasoning_apart, apart, "{} at {provider}", offer.wire_id());
    }
}

#[test]
fn addresses_are_filled_in_and_the_model_is_left_for_the_offer() {
    let catalogue = compiled(&toml(
        r#"
        [[provider]]
        id = "cloud"
        base_url = "https://{resource}.example.com/{place}/deployments/{model}"
        fill = { resource = "mine", place = "eu-1" }
        query = { api-version = "2024-10-21" }
        models = ["m"]

        [provider.endpoints.openai-responses]
        base_url = "https://{unfilled}.example.com"

        [provider.endpoints.openai-embeddings]
        enabled = false
        "#,
    ));
    let provider = catalogue.provider(catalogue.find_provider("cloud").expect("is there"));
    let chat = provider.endpoint(Dialect::OpenAiChat).expect("speaks it");
    assert_eq!(chat.base_url(), "https://mine.example.com/eu-1/deployments/{model}");
    assert!(chat.is_ready());
    assert_eq!(provider.query().collect::<Vec<_>>(), [("api-version", "2024-10-21")]);
    let responses =
        provider.endpoint(Dialect::OpenAiResponses).expect("for the offers that name it");
    assert_eq!(responses.placeholder(), Some("unfilled"));
    assert!(!responses.is_ready());
    assert!(!provider.endpoint(Dialect::OpenAiEmbeddings).expect("is known").is_ready());
}

#[test]
fn an_embedding_model_is_one_model_at_each_provider() {
    // Vectors of two versions cannot be compared, and offers of one model stand in for each other.
    let catalogue = compiled(&builtin());
    for model in catalogue.models().filter(|model| model.kind() == ModelKind::Embedding) {
        let mut seen: Vec<(ProviderIx, &str)> = Vec::new();
        for offer in OfferIx::each(catalogue.offers_of(model.ix())).map(|at| catalogue.offer(at)) {
            // A region may stand before the name.
            let name = offer.wire_id().rsplit('/').next().unwrap_or_default();
            let other = seen.iter().find(|(provider, _)| *provider == offer.provider());
            assert!(other.is_none_or(|(_, known)| *known == name), "{}: {name}", model.id());
            seen.push((offer.provider(), name));
        }
    }
}
