//! Byte streams on one thread per core.
