//! A WebSocket engine.
