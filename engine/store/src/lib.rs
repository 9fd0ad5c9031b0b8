//! Journal and SQLite: what must outlive the process.
