//! Whole connections of the engine: a shard, its service, its peers and their network.
//!
//! Input: a script (see `throng_fuzz::world`). What the service is told and what each peer is sent
//! is held against what was said.

#![no_main]

use libfuzzer_sys::fuzz_target;
use throng_fuzz::world::{Script, run};

fuzz_target!(|script: Script| run(&script));
