//! Benchmarks: one per stage (`benches/`), allocation counts on the hot path (`tests/`), and runs side
//! by side with other gateways ([`compare`]).

pub mod compare;
