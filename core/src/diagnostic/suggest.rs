//! Near misses of names.
