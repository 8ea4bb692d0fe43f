//! A load-test client for any WebSocket server.
//!
//! One thread drives thousands of connections over non-blocking sockets and one poll, with
//! no async runtime, so that it costs little next to the server it drives; what it costs is
//! measured and reported, and so is its being the bottleneck. Every message that comes back
//! is checked: opcode, length, content, order, none lost and none twice.
//!
//! The program `loadtest` is built on this library; so are benches, which call [`run()`] in
//! a thread of their own and sample the server's [`ProcessCpu`] in the hooks of
//! [`Progress`]:
//!
//! ```no_run
//! use throng_loadtest::{Job, Pace, Scenario, run};
//!
//! let mut job = Job::new("127.0.0.1:9001".parse()?, "/", Scenario::Echo);
//! job.pace = Pace::Depth(16);
//! let report = run(&job, &mut ())?;
//! for line in report.failures() {
//!     panic!("{line}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is measured
//!
//! Load goes on for [`Job::warmup`] and then for the measured window, [`Job::duration`].
//! Rates and CPU times are those of the window: *received* counts what arrived in it.
//! Latencies are those of the messages sent in it, or in the open loop due in it, whenever
//! they arrived. After the window nothing more is sent, and the run ends once all that was
//! sent has come, or nothing has come for [`Job::patience`]; then the connections close.
//! The load begins 100 ms after the last handshake; what comes before is taken for
//! greetings and not checked.
//!
//! A connection fails whose server breaks the protocol, does not answer its close frame, or
//! fragments a message, which is not supported. The figures of `/proc` are there on Linux only.
//!
//! # The report as JSON
//!
//! [`Report`] is what `loadtest --json FILE` writes. Names and units are stable; times of
//! latencies are in nanoseconds, CPU times per message in microseconds. `null` stands for
//! what is unknown or does not apply.
//!
//! | field | meaning |
//! |---|---|
//! | `scenario` | `"idle"`, `"echo"` or `"broadcast"` |
//! | `size`, `text`, `seed` | payload bytes, whether text, seed of keys and fillers |
//! | `pace` | `{"depth": K}` or `{"rate": R}` |
//! | `connections.asked`, `.opened`, `.failed`, `.dropped`, `.unclosed` | how many; dropped ones ended before the run did, unclosed ones with it but without the server's close frame |
//! | `connections.connect_seconds` | first connect to last answer |
//! | `connections.first_failure` | what was wrong with the first one that failed, was dropped or unclosed |
//! | `connections.pings` | pings answered |
//! | `messages.window_seconds` | length of the measured window |
//! | `messages.sent`, `.received` | in the whole run; in broadcast each delivery counts as received |
//! | `messages.sent_in_window`, `.received_in_window` | in the window |
//! | `messages.sent_per_second`, `.received_per_second` | in the window |
//! | `latency.samples` | messages measured |
//! | `latency.min_ns`, `.mean_ns`, `.p50_ns`, `.p90_ns`, `.p99_ns`, `.p99_9_ns`, `.max_ns` | three significant digits |
//! | `latency.buckets` | the histogram: `[[latency_ns, count], …]`, ascending |
//! | `faults.lost`, `.duplicated`, `.reordered`, `.corrupt` | messages |
//! | `faults.first` | `{"connection", "kind", "expected", "got"}` |
//! | `client.workers` | processes that shared the load |
//! | `client.cpu_seconds`, `.cpu_us_per_message` | CPU time in the window, and per message received |
//! | `client.busy` | busy part of the busiest worker's core, 0 to 1 |
//! | `client.saturated` | the client was the bottleneck: busy for more than 95 % of the window, and no thread of the server was |
//! | `server.pid` | the server's process |
//! | `server.cpu_seconds`, `.cpu_us_per_message`, `.busy` | as the client's; busy may exceed 1 |
//! | `server.busiest_thread` | the part of the window its busiest thread was running, 0 to 1 |
//! | `server.memory_before`, `.memory_open` | `{"rss_bytes", "anon_bytes"}` before the first connection and with all open |
//! | `server.rss_bytes_per_connection`, `.anon_bytes_per_connection` | the difference, per connection |

mod bounds;
mod broadcast;
mod check;
mod clock;
mod connection;
mod echo;
pub mod embedded;
mod error;
mod flow;
mod frames;
mod handshake;
mod job;
mod latency;
pub mod machine;
mod opening;
mod owed;
mod payload;
mod progress;
mod report;
mod run;
mod target;
mod traffic;
mod turns;
mod usage;

pub use bounds::{CONNECTIONS_PER_SOURCE, MAX_RATE, MAX_SIZE, MAX_STREAMS};
pub use clock::now;
pub use error::Error;
pub use job::{HANDSHAKES, Job, Pace, Scenario};
pub use latency::Latency;
pub use progress::{Progress, Snapshot, Stage};
pub use report::{Client, Connections, Faults, Messages, Offence, Report, Server, ServerUse};
pub use run::run;
pub use target::Target;
pub use usage::{ProcessCpu, ProcessMemory, ThreadsCpu};
