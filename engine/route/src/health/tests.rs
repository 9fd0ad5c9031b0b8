//! Tables and properties of `health`.
