//! Benchmarks: one per stage, router evaluation, side-by-side runs.
