//! Which web pages may connect.
//!
//! Browsers let any page open a WebSocket to any server and send the user's cookies with it; the
//! `Origin` header is what tells such pages apart (RFC 6455 §10.2, RFC 6454). What is no browser
//! need not send one and could send any: this protects users, not the server.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, SeqAccess, Visitor};

use crate::config::{ConfigError, split_list};
