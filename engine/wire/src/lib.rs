//! Bytes to meaning: HTTP/1.1, SSE, JSON spans and patches, dialects, refusals.
