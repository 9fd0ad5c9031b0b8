//! The life of the process: start on any driver, reload, drain.

use loadtest::provider::{Config, Handle, Provider, Script};
use tests::{FakeModel, Gateway, Setup};

const MODEL: FakeModel = FakeModel { id: "fake/one", ability: 0.0, input: 1_000, output: 2_000 };

fn provider(script: Script) -> Handle {
    Provider::start(Config { script, ..Config::default() }).expect("a provider")
}

fn post(gateway: &Gateway, stream: bool) -> Vec<u8> {
    let body = format!(
        r#"{{"model":"fake/one","stream":{stream},"messages":[{{"role":"user","content":"Hello"}}]}}"#
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        gateway.key(),
        body.len()
    )
    .into_bytes()
}

fn serves(gateway: &Gateway) {
    for stream in [false, true] {
        let mut connection = gateway.connect();
        connection.send(&post(gateway, stream));
        assert_eq!(connection.answer().status, 200);
    }
}

#[test]
fn every_driver_serves() {
    for driver in ["auto", "epoll"] {
        let provider = provider(Script::default());
        let gateway = Setup::new()
            .provider("fake", &provider, &[MODEL])
            .argument("--driver")
            .argument(driver)
            .start();
        serves(&gateway);
        if driver == "epoll" {
            assert!(gateway.log().contains("epoll"), "{}", gateway.log());
        }
        assert!(gateway.stop().success());
    }
}

#[test]
fn two_cores_share_keys_and_ledger() {
    let provider = provider(Script::default());
    let gateway = Setup::new()
        .provider("fake", &provider, &[MODEL])
        .argument("--cores")
        .argument("2")
        .start();
    // New connections are spread over the cores by the kernel.
    for _ in 0..20 {
        serves(&gateway);
    }
    gateway.until("the ledger has both cores' requests", |gateway| {
        gateway.usage("model")["total"]["calls"] == 40
    });
}

#[test]
fn a_stream_that_runs_at_sigterm_ends_in_order() {
    let provider = provider(Script { chunks: 60, gap_ms: 20, ..Script::default() });
    let gateway = Setup::new().provider("fake", &provider, &[MODEL]).start();
    let mut connection = gateway.connect();
    connection.send(&post(&gateway, true));
    let head = connection.head();
    assert_eq!(head.status, 200);
    gateway.signal("TERM");
    let answer = connection.with_body(head);
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    assert!(gateway.stop_was_asked().success());
    assert_eq!(provider.counters().completed, 1);
}

#[test]
fn a_reload_takes_a_good_configuration_and_refuses_a_bad_one() {
    let provider = provider(Script::default());
    let gateway = Setup::new().provider("fake", &provider, &[MODEL]).start();
    let path = gateway.folder().join("pointsman.toml");
    let old = std::fs::read_to_string(&path).expect("the configuration");
    let models = |gateway: &Gateway| {
        let mut connection = gateway.connect();
        connection.send(
            format!(
                "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
                gateway.key()
            )
            .as_bytes(),
        );
        connection.answer().text()
    };

    std::fs::write(&path, format!("{old}\n[server]\nlissten = 1\n")).expect("written");
    gateway.signal("HUP");
    gateway.until("the bad one is refused", |gateway| gateway.log().contains("the old one stays"));
    assert!(gateway.log().contains("lissten"), "the log names the key: {}", gateway.log());
    serves(&gateway);

    let more = "[[model]]\nid = \"fake/two\"\n[[model.offers]]\nprovider = \"fake\"\nwire_id = \"two\"\nprice = { input = 1, output = 1 }\n";
    std::fs::write(&path, format!("{old}\n{more}")).expect("written");
    gateway.signal("HUP");
    gateway.until("the new model is listed", |gateway| models(gateway).contains("fake/two"));
    serves(&gateway);
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let gateway = Setup::new().start();
    let data = gateway.folder().join("pointsman-data");
    let output = std::process::Command::new(tests::pointsman())
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .current_dir(gateway.folder())
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("another pointsman is running"), "{said}");
}

/// A container or a unit file may leave a process next to no lockable memory. Then io_uring cannot be
/// had, and detection says that it can.
#[test]
fn without_privileges_and_lockable_memory_it_serves_all_the_same() {
    let is_root = std::process::Command::new("id").arg("-u").output();
    if !is_root.is_ok_and(|output| output.stdout.starts_with(b"0\n")) {
        eprintln!("SKIPPED: only root can become somebody without privileges");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let binary = folder.path().join("pointsman");
    std::fs::copy(tests::pointsman(), &binary).expect("copied");
    let status =
        std::process::Command::new("chmod").arg("-R").arg("a+rwX").arg(folder.path()).status();
    assert!(status.is_ok_and(|status| status.success()));
    let script = "ulimit -l 64 && cd \"$1\" && exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                  ./pointsman --listen 127.0.0.1:0 --admin 127.0.0.1:0 --cores 1";
    let mut child = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    let out = child.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("read");
    child.kill().expect("it runs");
    let output = child.wait_with_output().expect("waited for");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(line.starts_with("listening on"), "{line}{said}");
    let driver = said.lines().find(|line| line.contains("core ready")).unwrap_or_default();
    eprintln!("{driver}");
}
