//! Benchmarks: one per stage (`benches/`), allocation counts on the hot path (`tests/`), runs side by
//! side with other gateways ([`compare`]), and how good a classifier is ([`judge`]).

pub mod compare;
pub mod judge;
