//! A bounded campaign per reader of bytes from outside: the corpus, and mutations of it from a fixed seed.

use std::path::Path;

use tests::fuzz::{Campaign, TARGETS};

/// Mutations per target. The configuration compiles the whole catalogue for each, so it gets fewer.
const MUTATIONS: usize = 5_000;
const MUTATIONS_OF_CONFIG: usize = 20;

#[test]
fn readers_of_bytes_from_outside_keep_their_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in TARGETS {
        let mut campaign = Campaign::new(*target, &corpus, 1).expect("the corpus");
        assert!(campaign.corpus_len() > 2, "{}: nothing to begin with", target.name);
        let count = if target.name == "config" { MUTATIONS_OF_CONFIG } else { MUTATIONS };
        if let Err(finding) = campaign.replay().and_then(|()| campaign.run(count)) {
            let input = finding.input.escape_ascii();
            panic!("{}: {}\n    input: {input}", target.name, finding.message);
        }
    }
}
