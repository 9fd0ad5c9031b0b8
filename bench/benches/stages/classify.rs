//! A parsed request to a verdict: unescaping, excerpt, features, model.

use crate::fixture;
use classifier::{Classifier, CoreClassifier, OnnxRuntime};
use criterion::Criterion;
use engine::judge::Reader;
use models::Dialect;
use std::hint::black_box;
use wire::dialect::codec;

pub(crate) fn bench(criterion: &mut Criterion) {
    run(criterion, "rules", CoreClassifier::rules_only());
    match with_model() {
        Ok(classifier) => run(criterion, "model", classifier),
        #[allow(clippy::print_stderr)]
        Err(error) => eprintln!("\nclassify/model: SKIPPED, no classifier to measure: {error}\n"),
    }
}

fn with_model() -> Result<CoreClassifier, classifier::ClassifierError> {
    let runtime = OnnxRuntime::init(None)?;
    Classifier::load(&fixture::classifier_folder(), &runtime)?.session()
}

fn run(criterion: &mut Criterion, name: &str, mut classifier: CoreClassifier) {
    let codec = codec(Dialect::OpenAiChat).expect("the dialect is spoken");
    let mut reader = Reader::default();
    let mut group = criterion.benchmark_group("classify");
    for (size, bytes) in [("400 B", 400), ("4 KB", 4 << 10), ("40 KB", 40 << 10)] {
        let body = fixture::chat_request(bytes);
        let parsed = codec.read_request(&body).expect("a good request");
        group.bench_function(format!("{name}, {size}"), |bencher| {
            bencher.iter(|| {
                reader.read(black_box(&body), &parsed);
                classifier.classify(&reader.input()).verdict
            });
        });
    }
    group.finish();
}
