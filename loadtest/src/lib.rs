//! Scripted fake providers and an open-loop load generator.
