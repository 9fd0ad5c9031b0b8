//! What judges prompts, as a user meets it: swaps under load, refusals, the second stage, observing,
//! the cache, the admin port. Without ONNX Runtime most of it says so and is left out.

use std::sync::atomic::{AtomicBool, Ordering};

use loadtest::provider::{Config, Handle, Provider, Script};
use serde_json::{Value, json};
use tests::http::{Answer, chat};
use tests::{FakeModel, Gateway, ModelFolder, Setup, onnxruntime};

const MODEL: FakeModel = FakeModel { id: "fake/one", ability: 0.0, input: 1_000, output: 2_000 };
/// A prompt whose task every good model sees.
const PROMPT: &str = "Translate the following sentence into French: the train is late.";
const ADMIN: &str = "/v1/admin/classifier";

fn provider() -> Handle {
    Provider::start(Config { script: Script::default(), ..Config::default() }).expect("a provider")
}

/// A gateway whose `[classifier]` has these lines beside the library, if there is one.
fn gateway(provider: &Handle, lines: &str, more: impl FnOnce(Setup) -> Setup) -> Option<Gateway> {
    let library = onnxruntime()?;
    let setup = Setup::new()
        .config(&format!("[classifier]\nonnxruntime = \"{}\"\n{lines}", library.display()))
        .provider("fake", provider, &[MODEL]);
    Some(more(setup).start())
}

fn inline(folder: &ModelFolder) -> String {
    format!("model = \"{}\"\nplacement = \"inline\"\n", folder.path().display())
}

fn request(gateway: &Gateway, model: &str, prompt: &str) -> Vec<u8> {
    let body = json!({"model": model, "messages": [{"role": "user", "content": prompt}]});
    chat(gateway.key(), body.to_string().as_bytes())
}

fn ask(gateway: &Gateway, prompt: &str) -> Answer {
    let mut connection = gateway.connect();
    connection.send(&request(gateway, "auto", prompt));
    let answer = connection.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// The task that a prompt is found to be.
fn task(gateway: &Gateway, prompt: &str) -> String {
    ask(gateway, prompt).field("x-pointsman-task").expect("a task").to_owned()
}

/// The verdict of a dry run.
fn verdict(gateway: &Gateway, prompt: &str) -> Value {
    let mut connection = gateway.connect();
    let request = String::from_utf8(request(gateway, "auto", prompt)).expect("text");
    connection.send(request.replace("/v1/chat/completions", "/v1/route").as_bytes());
    let answer = connection.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["verdict"].clone()
}

fn post(gateway: &Gateway, folder: &ModelFolder) -> Answer {
    gateway.administer("POST", ADMIN, "", &json!({"folder": folder.path()}).to_string())
}

fn shown(gateway: &Gateway) -> Value {
    let answer = gateway.administer("GET", ADMIN, "", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Asks without a pause from several connections while `during` runs. Every request must be answered.
fn under_load(gateway: &Gateway, during: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..3)
            .map(|asker| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut connection = gateway.connect();
                    let mut asked = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let prompt = format!("{PROMPT} ({asker}, {asked})");
                        connection.send(&request(gateway, "auto", &prompt));
                        let answer = connection.answer();
                        assert_eq!(answer.status, 200, "{answer:?}");
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        during();
        is_over.store(true, Ordering::Relaxed);
        for asker in askers {
            assert!(asker.join().expect("no request is lost") > 0);
        }
    });
}

#[test]
fn a_swap_under_load_loses_nothing_and_counts_from_its_answer_on() {
    let provider = provider();
    let old = ModelFolder::shipped();
    let new = ModelFolder::shipped().exchanging("translation", "math").version("9.0.0");
    let cores = |setup: Setup| setup.argument("--cores").argument("2");
    let Some(gateway) = gateway(&provider, &inline(&old), cores) else { return };
    assert_eq!(task(&gateway, PROMPT), "translation");
    under_load(&gateway, || {
        for (folder, expected) in [(&new, "math"), (&old, "translation"), (&new, "math")] {
            let answer = post(&gateway, folder);
            assert_eq!(answer.status, 200, "{answer:?}");
            for _ in 0..10 {
                assert_eq!(task(&gateway, PROMPT), expected, "on every core, the cache included");
            }
        }
    });
    assert_eq!(shown(&gateway)["main"]["version"], "9.0.0");
    let info = |gateway: &Gateway, version: &str| {
        gateway.metric("pointsman_classifier_info", &["role=\"main\"", version])
    };
    assert_eq!(info(&gateway, "version=\"9.0.0\""), 1.0);
    assert_eq!(gateway.metric("pointsman_classifier_info", &[]), 1.0, "and no other");
    assert_eq!(gateway.metric("pointsman_classifier_swaps_total", &["result=\"done\""]), 3.0);
}

#[test]
fn sighup_takes_up_a_folder_whose_content_has_changed() {
    let provider = provider();
    let folder = ModelFolder::shipped();
    let Some(gateway) = gateway(&provider, &inline(&folder), |setup| setup) else { return };
    gateway.signal("HUP");
    gateway.until("nothing has changed", |gateway| {
        gateway.log().contains("the classifier is unchanged")
    });
    let folder = folder.exchanging("translation", "math").version("9.0.1");
    under_load(&gateway, || {
        gateway.signal("HUP");
        gateway.until("the new version judges", |gateway| {
            shown(gateway)["main"]["version"] == "9.0.1" && task(gateway, PROMPT) == "math"
        });
    });

    // The configuration counts again after a swap by hand.
    let other = ModelFolder::shipped();
    assert_eq!(post(&gateway, &other).status, 200);
    assert_eq!(task(&gateway, PROMPT), "translation");
    gateway.signal("HUP");
    gateway.until("the configured one judges", |gateway| task(gateway, PROMPT) == "math");
    drop(folder);
}

#[test]
fn a_bad_folder_is_refused_whole_and_the_old_one_stays() {
    let provider = provider();
    let good = ModelFolder::shipped();
    let Some(gateway) = gateway(&provider, &inline(&good), |setup| setup) else { return };
    let bad = |change: &dyn Fn(String) -> String| {
        let folder = ModelFolder::shipped();
        folder.manifest(|text: String| {
            let changed = change(text.clone());
            assert_ne!(changed, text, "the shipped manifest has nothing of the kind to spoil");
            changed
        });
        folder
    };
    let wrong_probe = bad(&|text| text.replace("task = \"multimodal\"", "task = \"math\""));
    let wrong_shape = bad(&|text| text.replace("words_log2 = 17", "words_log2 = 16"));
    let wrong_field = bad(&|text| text.replace("licence = ", "license = "));
    let rows = [
        ("hash of the graph", ModelFolder::shipped().damaged("model.onnx"), "SHA-256"),
        ("hash of the table", ModelFolder::shipped().damaged("table.i8"), "SHA-256"),
        ("shape", wrong_shape, "table"),
        ("probe", wrong_probe, "probe"),
        ("field", wrong_field, "license"),
        ("numbers", ModelFolder::fixture("faulty"), "failed on"),
        ("speed", ModelFolder::fixture("slow"), "threads"),
    ];
    for (index, (what, folder, named)) in rows.iter().enumerate() {
        let answer = post(&gateway, folder);
        assert_eq!(answer.status, 422, "{what}: {answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{what}");
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:pointsman:problem:classifier-refused", "{what}");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(named), "{what}: {detail}");
        assert_eq!(shown(&gateway)["last_refusal"]["reason"], detail, "{what}");
        let refused = gateway.metric("pointsman_classifier_swaps_total", &["result=\"refused\""]);
        assert_eq!(refused, (index + 1) as f64, "{what}");
        assert_eq!(task(&gateway, PROMPT), "translation", "{what}");
    }
    assert!(gateway.log().contains("the old one stays"), "{}", gateway.log());
    let version = shown(&gateway)["generation"].clone();
    assert_eq!(version, 1, "nothing was swapped");

    // The same by SIGHUP.
    good.manifest(|text| text.replace("task = \"multimodal\"", "task = \"math\""));
    gateway.signal("HUP");
    gateway.until("it is refused", |gateway| {
        shown(gateway)["last_refusal"]["reason"].as_str().is_some_and(|why| {
            why.contains(&good.path().display().to_string()) || why.contains("probe")
        }) && gateway.metric("pointsman_classifier_swaps_total", &["result=\"refused\""])
            == (rows.len() + 1) as f64
    });
    assert_eq!(task(&gateway, PROMPT), "translation");
}

#[test]
fn the_second_model_is_asked_where_the_first_is_unsure() {
    let provider = provider();
    let first = ModelFolder::shipped();
    let second = ModelFolder::shipped().exchanging("translation", "math").version("2nd");
    let cascade = |margin: f32| {
        format!(
            "{}second = \"{}\"\nsecond_margin = {margin}\nsecond_weight = 1.0\nsecond_deadline_us = 1000000\n",
            inline(&first),
            second.path().display()
        )
    };
    for driver in ["auto", "epoll"] {
        let on = |setup: Setup| setup.argument("--driver").argument(driver);
        // Whatever the first says, its margin is below 1.
        let Some(gateway) = gateway(&provider, &cascade(1.0), on) else { return };
        let found = verdict(&gateway, PROMPT);
        assert_eq!((&found["task"], &found["stage"]), (&json!("math"), &json!("second")));
        let found = verdict(&gateway, PROMPT);
        assert_eq!((&found["task"], &found["stage"]), (&json!("math"), &json!("cache")));
        let mut connection = gateway.connect();
        connection.send(&request(&gateway, "fake/one", "Who names a model needs no verdict."));
        assert_eq!(connection.answer().status, 200);
        gateway.until("it is counted", |gateway| {
            gateway.metric("pointsman_classifier_second_total", &["result=\"answered\""]) == 1.0
                && gateway.metric("pointsman_classifier_second_changed_total", &[]) == 1.0
                && gateway.metric("pointsman_classifier_verdicts_total", &["stage=\"cache\""])
                    == 1.0
        });
        let page = shown(&gateway);
        assert_eq!(page["second"]["version"], "2nd");
        assert_eq!(page["threads"]["asked"], 1);
    }
    let Some(gateway) = gateway(&provider, &cascade(0.0), |setup| setup) else { return };
    let found = verdict(&gateway, PROMPT);
    assert_eq!((&found["task"], &found["stage"]), (&json!("translation"), &json!("model")));
    assert_eq!(shown(&gateway)["threads"]["asked"], 0);
}

#[test]
fn a_second_model_that_is_late_or_busy_costs_its_verdict_and_nothing_else() {
    let provider = provider();
    let (first, slow) = (ModelFolder::shipped(), ModelFolder::fixture("slow"));
    let lines = format!(
        "{}second = \"{}\"\nsecond_margin = 1.0\nsecond_queue = 1\nsecond_deadline_us = 1000\n",
        inline(&first),
        slow.path().display()
    );
    let Some(gateway) = gateway(&provider, &lines, |setup| setup) else { return };
    let count = |gateway: &Gateway, result: &str| {
        gateway.metric("pointsman_classifier_second_total", &[&format!("result=\"{result}\"")])
    };
    let mut asked = 0;
    gateway.until("some were late, and some found no room", |gateway| {
        std::thread::scope(|scope| {
            for client in 0..6 {
                let prompt = format!("{PROMPT} ({asked}, {client})");
                scope.spawn(move || assert_eq!(task(gateway, &prompt), "translation"));
            }
        });
        asked += 1;
        count(gateway, "late") > 0.0 && count(gateway, "queue_full") > 0.0
    });
    assert_eq!(
        gateway.metric("pointsman_classifier_cache_lookups_total", &["result=\"hit\""]),
        0.0,
        "a verdict for want of a better one is not remembered"
    );
}

#[test]
fn a_first_model_that_is_too_slow_runs_on_threads_with_the_rules_before_it() {
    let provider = provider();
    let slow = ModelFolder::fixture("slow").exchanging("translation", "math");
    let lines = |deadline_us: u32| {
        format!(
            "model = \"{}\"\nsecond_deadline_us = {deadline_us}\ncache_entries = 0\n",
            slow.path().display()
        )
    };
    let Some(gateway) = gateway(&provider, &lines(1_000_000), |setup| setup) else { return };
    assert_eq!(shown(&gateway)["main"]["placement"], "threads");
    let found = verdict(&gateway, PROMPT);
    assert_eq!((&found["task"], &found["stage"]), (&json!("math"), &json!("model")));
    drop(gateway);

    let Some(gateway) = self::gateway(&provider, &lines(100), |setup| setup) else { return };
    assert!(gateway.log().contains("second_deadline_us"), "it says what to set");
    gateway.until("the rules' verdict stands", |gateway| {
        let found = verdict(gateway, PROMPT);
        found["stage"] == "rules" && found["task"] == "translation"
    });
}

#[test]
fn a_model_over_tokens_is_a_second_opinion() {
    let provider = provider();
    let first = ModelFolder::shipped();
    let topics = ModelFolder::fixture("topics").exchanging("translation", "math");
    let lines = format!(
        "{}second = \"{}\"\nsecond_margin = 1.0\nsecond_weight = 0.9\nsecond_deadline_us = 1000000\n",
        inline(&first),
        topics.path().display()
    );
    let Some(gateway) = gateway(&provider, &lines, |setup| setup) else { return };
    let found = verdict(&gateway, PROMPT);
    assert_eq!((&found["task"], &found["stage"]), (&json!("math"), &json!("second")));
    // What the second model has no head for stays as the first one said.
    assert!(found["difficulty"].as_f64().is_some_and(|value| value > 0.0), "{found}");
    assert_eq!(shown(&gateway)["second"]["placement"], "threads");
}

#[test]
fn an_observed_model_is_counted_and_decides_nothing() {
    let provider = provider();
    let first = ModelFolder::shipped();
    let other = ModelFolder::shipped().exchanging("translation", "math").version("next");
    let lines = format!(
        "{}observe = \"{}\"\nobserve_share = 0.5\ncache_entries = 0\n",
        inline(&first),
        other.path().display()
    );
    let Some(gateway) = gateway(&provider, &lines, |setup| setup) else { return };
    for _ in 0..20 {
        assert_eq!(task(&gateway, PROMPT), "translation");
    }
    gateway.until("every second one is compared", |gateway| {
        gateway.metric("pointsman_classifier_observed_total", &[]) == 10.0
    });
    let pair = ["task=\"translation\"", "observed=\"math\""];
    let disagreed = |labels: &[&str]| {
        gateway.metric("pointsman_classifier_observed_disagreements_total", labels)
    };
    assert_eq!(disagreed(&pair), 10.0);
    assert_eq!(disagreed(&[]), 10.0, "and no other pair");
    let difference =
        gateway.metric("pointsman_classifier_observed_difficulty_difference_total", &[]);
    assert_eq!(difference, 0.0, "the same weights");
    assert_eq!(shown(&gateway)["observed"]["mean_difficulty_difference"], 0.0);
}

#[test]
fn a_prompt_seen_before_needs_no_model() {
    let provider = provider();
    let folder = ModelFolder::shipped();
    let Some(gateway) = gateway(&provider, &inline(&folder), |setup| setup) else { return };
    let (first, again) = (verdict(&gateway, PROMPT), verdict(&gateway, PROMPT));
    assert_eq!((&first["stage"], &again["stage"]), (&json!("model"), &json!("cache")));
    for head in ["task", "probs", "difficulty", "domain", "sensitive_kinds", "confidence"] {
        assert_eq!(first[head], again[head], "{head}");
        assert!(!first[head].is_null(), "{head}");
    }
    assert_eq!(first["probs"].as_object().map(serde_json::Map::len), Some(17));
    gateway.until("a hit and a miss are counted", |gateway| {
        let lookups =
            |result: &str| gateway.metric("pointsman_classifier_cache_lookups_total", &[result]);
        (lookups("result=\"hit\""), lookups("result=\"miss\"")) == (1.0, 1.0)
    });
}

#[test]
fn the_part_that_a_request_plays_is_seen_and_counted() {
    let provider = provider();
    let gateway = Setup::new().provider("fake", &provider, &[MODEL]).start();
    let title = "Generate a title for this conversation:\nUser: where is the station?";
    for (prompt, field, expected) in [
        (PROMPT, "", "main"),
        (title, "", "title"),
        (PROMPT, "x-openai-subagent: compact\r\n", "compaction"),
        (PROMPT, "x-openai-subagent: review\r\n", "sub_agent"),
    ] {
        let mut connection = gateway.connect();
        let request = String::from_utf8(request(&gateway, "auto", prompt)).expect("text");
        let request = request.replace("/v1/chat/completions", "/v1/route");
        connection.send(request.replacen("Host:", &format!("{field}Host:"), 1).as_bytes());
        assert_eq!(connection.answer().json()["verdict"]["turn"], expected, "{prompt} {field}");
        gateway.until("it is counted", |gateway| {
            gateway.metric("pointsman_turns_total", &[&format!("turn=\"{expected}\"")]) == 1.0
        });
    }
}

#[test]
fn without_onnx_runtime_it_says_so_once_and_judges_by_rules() {
    let provider = provider();
    let folder = ModelFolder::shipped();
    let library = "onnxruntime = \"/nonexistent/libonnxruntime.so\"";
    let gateway = Setup::new()
        .config(&format!("[classifier]\n{library}\n{}", inline(&folder)))
        .provider("fake", &provider, &[MODEL])
        .start();
    let said = gateway.log();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("ONNX Runtime")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains("judged by rules") && lines[0].contains("/nonexistent"), "{said}");
    assert_eq!(task(&gateway, PROMPT), "translation");
    assert_eq!(verdict(&gateway, "Summarize this thread")["stage"], "rules");
    assert_eq!(gateway.metric("pointsman_classifier_model_loaded", &[]), 0.0);
    let page = shown(&gateway);
    assert!(page["main"].is_null());
    assert!(page["rules_only_because"].as_str().is_some_and(|why| why.contains("/nonexistent")));
}

#[test]
fn cuda_where_there_is_none_ends_the_start_with_a_clear_line() {
    let Some(library) = onnxruntime() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let model = ModelFolder::shipped();
    let config = format!(
        "[classifier]\nonnxruntime = \"{}\"\nmodel = \"{}\"\ndevice = \"cuda\"\n",
        library.display(),
        model.path().display()
    );
    std::fs::write(folder.path().join("pointsman.toml"), config).expect("written");
    if std::path::Path::new("/dev/nvidia0").exists() {
        eprintln!("SKIPPED: there is a GPU");
        return;
    }
    let output = std::process::Command::new(tests::pointsman())
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("pointsman: ") && last.to_lowercase().contains("cuda"), "{said}");
}

#[test]
fn swapping_takes_a_token_or_this_machine() {
    let provider = provider();
    let body = r#"{"folder":"/nonexistent"}"#;
    let open = Setup::new().provider("fake", &provider, &[MODEL]).start();
    for (method, fields, body, status, named) in [
        ("POST", "", body, 422, "/nonexistent"),
        ("POST", "", r#"{"folders":"x"}"#, 400, "folder"),
        ("POST", "", "", 400, "folder"),
        ("DELETE", "", "", 405, ""),
    ] {
        let answer = open.administer(method, ADMIN, fields, body);
        assert_eq!(answer.status, status, "{method} {body}: {answer:?}");
        assert!(answer.text().contains(named), "{method} {body}: {answer:?}");
    }
    drop(open);

    let token = "a-token-of-some-length";
    let guarded = Setup::new()
        .config(&format!("[admin]\ntoken = \"{token}\""))
        .provider("fake", &provider, &[MODEL])
        .start();
    let right = format!("Authorization: Bearer {token}\r\n");
    for (fields, status) in [("", 401), ("Authorization: Bearer x\r\n", 401), (right.as_str(), 422)]
    {
        let answer = guarded.administer("POST", ADMIN, fields, body);
        assert_eq!(answer.status, status, "{fields}: {answer:?}");
        assert!(!answer.text().contains(token));
    }
    assert!(guarded.metrics().contains("pointsman_requests"), "metrics need no token");
    assert!(!guarded.log().contains(token), "{}", guarded.log());
}

#[test]
fn check_names_a_configured_folder_that_would_be_refused() {
    let Some(library) = onnxruntime() else { return };
    let (good, bad) = (ModelFolder::shipped(), ModelFolder::shipped().damaged("table.i8"));
    for (second, ok, named) in [(&good, true, "classifier.second: task"), (&bad, false, "SHA-256")]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "[classifier]\nonnxruntime = \"{}\"\n{}second = \"{}\"\n",
            library.display(),
            inline(&good),
            second.path().display()
        );
        std::fs::write(folder.path().join("pointsman.toml"), config).expect("written");
        let output = std::process::Command::new(tests::pointsman())
            .arg("check")
            .current_dir(folder.path())
            .output()
            .expect("it runs");
        assert_eq!(output.status.success(), ok, "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(named) && said.contains("classifier.second"), "{said}");
    }
}

#[test]
fn the_commands_check_measure_and_swap() {
    let provider = provider();
    let (old, bad) = (ModelFolder::shipped(), ModelFolder::shipped().damaged("model.onnx"));
    let new = ModelFolder::shipped().exchanging("translation", "math").version("9.1.0");
    let Some(gateway) = gateway(&provider, &inline(&old), |setup| setup) else { return };
    let admin = gateway.admin().to_string();
    let path = |folder: &ModelFolder| folder.path().display().to_string();

    let checked = gateway.attempt(&["classifier", "check", &path(&new), "--json"]);
    assert!(checked.status.success(), "{checked:?}");
    let checked: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!((&checked["ok"], &checked["version"]), (&json!(true), &json!("9.1.0")));
    let refused = gateway.attempt(&["classifier", "check", &path(&bad)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("SHA-256"), "{refused:?}");

    let measured = gateway.command(&["classifier", "bench", &path(&new), "--json"]);
    let measured: Value = serde_json::from_str(&measured).expect("JSON");
    assert!(measured["p50_us"].as_f64().is_some_and(|us| us > 0.0), "{measured}");
    assert!(measured["by_length"].as_array().is_some_and(|rows| rows.len() > 2), "{measured}");

    let said = gateway.command(&["classifier", "use", &path(&new), "--admin", &admin]);
    assert!(said.contains("9.1.0") && said.contains("[classifier]"), "{said}");
    assert_eq!(task(&gateway, PROMPT), "math");
    let refused = gateway.attempt(&["classifier", "use", &path(&bad), "--admin", &admin]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("SHA-256") && said.contains("the old one stays"), "{said}");
    assert_eq!(task(&gateway, PROMPT), "math");
    let said = gateway.command(&["classifier", "show", "--admin", &admin]);
    assert!(said.contains("9.1.0"), "{said}");
}
