//! A verdict to a plan.

use crate::fixture;
use criterion::Criterion;
use models::catalogue::CatalogueSource;
use route::{Ask, Columns, FailureKind, HealthTable, ModelIx, OfferIx, Scratch, Target, plan};
use std::hint::black_box;
use std::sync::Arc;

pub(crate) fn bench(criterion: &mut Criterion) {
    let catalogue = CatalogueSource::builtin().expect("the built-in catalogue").compile();
    let catalogue = catalogue.expect("the built-in catalogue is sound");
    let offers = [
        ("2,000 offers", Columns::from_rows(fixture::offers(2_000))),
        (
            "the catalogue",
            Columns::build(&catalogue, |_| true, |_| Some(models::Capabilities::NONE)),
        ),
    ];
    let mut group = criterion.benchmark_group("score");
    for (name, columns) in offers {
        let columns = Arc::new(columns);
        let health = used_for_a_while(&columns);
        let mut scratch = Scratch::default();
        for (target_name, target) in [("auto", Target::Auto), ("named", Target::Model(ModelIx(17)))]
        {
            let ask = Ask::new(target, 700);
            group.bench_function(format!("{target_name}, {name}"), |bencher| {
                bencher.iter(|| {
                    let planned = plan(&columns, &health, black_box(&ask), 3, &mut scratch);
                    // A catalogue may have no offer for the named one: being told so is a decision.
                    planned.map_or(0, |plan| plan.candidates)
                });
            });
        }
    }
    group.finish();
}

/// Every offer has been measured, and one in fifty is down.
fn used_for_a_while(columns: &Arc<Columns>) -> HealthTable {
    let mut health = HealthTable::new(Arc::clone(columns));
    for (at, &offer) in (0..).zip(columns.offers()) {
        let offer: OfferIx = offer;
        health.on_success(offer, 1, 200_000 + at * 37 % 900_000, 3_000_000, 300);
        if at % 50 == 0 {
            (0..5).for_each(|_| health.on_failure(offer, 2, FailureKind::Server));
        }
    }
    health
}
