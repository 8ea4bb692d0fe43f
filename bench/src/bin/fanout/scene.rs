//! A room, somebody who publishes to it, and bystanders.

use std::fmt;
use std::fs;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use throng::{
    Accept, Compression, Config, Conn, Engine, Handler, Message, Origins, Reject, Upgrade,
};

use crate::clients::{Bystander, Members, upgraded};

/// How often the small publication is made.
const HANDED_OVER: u32 = 2000;
/// A bystander asks as often as that.
const ASKING: Duration = Duration::from_millis(2);
/// After a scene everything should be sent within that time.
const REST: Duration = Duration::from_millis(300);

/// Who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publisher {
    /// A thread outside.
    Thread,
    /// A handler, when a client says so.
    Handler,
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Publisher::Thread => "a thread",
            Publisher::Handler => "a handler",
        })
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) publisher: Publisher,
    pub(crate) members: usize,
    pub(crate) size: usize,
    pub(crate) workers: usize,
    /// Publications a second.
    pub(crate) rate: u32,
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Time on a processor for each publication.
    pub(crate) processor: Duration,
    pub(crate) echo_p50: Duration,
    pub(crate) echo_p99: Duration,
}

/// Members join by asking for `/member`; what the others say is echoed, and `!` is obeyed.
struct Service {
    sample: Arc<str>,
}

impl Handler for Service {
    type State = bool;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<bool>, Reject> {
        Ok(Accept::new(request.path() == "/member"))
    }

    fn on_open(&self, conn: &mut Conn<'_, bool>) {
        if *conn.state() {
            // There are no limits.
            let _ = conn.join("room");
        }
    }

    fn on_message(&self, conn: &mut Conn<'_, bool>, message: Message<'_>) {
        if message.as_text() == Some("!") {
            conn.to("room").text(&*self.sample).publish();
        } else {
            conn.send(message);
        }
    }
}

fn serve(workers: usize, compression: Compression, size: usize) -> io::Result<Engine> {
    let config = Config::default()
        .shards(1)
        .ping_interval(None)
        .origins(Origins::danger_allow_any_origin())
        .compression(compression)
        .send_queue_bytes(256 << 20)
        .fanout_workers(workers)
        .fanout_threshold(0);
    let sample = sample(size).into();
    let builder = Engine::builder()
        .bind("127.0.0.1:0")
        .map_err(io::Error::other)?;
    let builder = builder.config(config).handler(Service { sample });
    builder.start().map_err(io::Error::other)
}

impl Scene {
    /// Plays it, with an engine of its own.
    pub(crate) fn play(&self) -> io::Result<Outcome> {
        let engine = serve(self.workers, Compression::default(), self.size)?;
        let address = engine.local_addr().ok_or(io::ErrorKind::NotConnected)?;
        let members = Members::connect(address, self.members)?;
        let bystander = Bystander::connect(address)?;
        let mut client = upgraded(address, "/", "")?;
        let sample = sample(self.size);
        let asking = bystander.ask(ASKING, self.duration);
        let (begun, before) = (Instant::now(), processor_time()?);
        let mut count = 0;
        while begun.elapsed() < self.duration {
            match self.publisher {
                Publisher::Thread => {
                    let published = engine.to("room").text(&sample).publish();
                    published.map_err(io::Error::other)?;
                }
                Publisher::Handler => crate::clients::say(&mut client, "!")?,
            }
            count += 1;
            let due = begun + Duration::from_secs(count.into()) / self.rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let mut echoes = asking
            .join()
            .map_err(|_| io::Error::other("a bystander panicked"))??;
        thread::sleep(REST);
        // The bystander's echoes are in it, which are the same in all scenes.
        let processor = (processor_time()? - before) / count;
        members.leave();
        echoes.sort_unstable();
        Ok(Outcome {
            processor,
            echo_p50: echoes[echoes.len() / 2],
            echo_p99: echoes[echoes.len() * 99 / 100],
        })
    }
}

/// How long a small publication takes until its receipt is there, and the time on a processor.
pub(crate) fn handing_over(workers: usize) -> io::Result<(Duration, Duration)> {
    let engine = serve(workers, Compression::default().threshold(0), 16)?;
    let address = engine.local_addr().ok_or(io::ErrorKind::NotConnected)?;
    let members = Members::connect(address, 1)?;
    let (begun, before) = (Instant::now(), processor_time()?);
    for _ in 0..HANDED_OVER {
        let publication = engine.to("room").text("a small publication");
        publication
            .publish_with_receipt()
            .wait()
            .map_err(io::Error::other)?;
    }
    let taken = (begun.elapsed(), processor_time()? - before);
    members.leave();
    Ok((taken.0 / HANDED_OVER, taken.1 / HANDED_OVER))
}

/// A text of JSON, of about that many bytes, as services send them.
pub(crate) fn sample(size: usize) -> String {
    let mut text = String::from("[");
    let mut number = 7_u32;
    while text.len() + 1 < size {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (id, price) = (number >> 16, number % 100_000);
        text += &format!(
            r#"{{"id":{id},"symbol":"S{}","price":{price},"open":true}},"#,
            id % 97
        );
    }
    text.truncate(size.saturating_sub(1));
    text + "]"
}

/// Time that the engine's threads, and the one that publishes, have been on a processor.
fn processor_time() -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        let name = fs::read_to_string(folder.join("comm"))?;
        // The main thread is named like the program.
        if name.starts_with("throng-") || name.trim() == "fanout" {
            let statistics = fs::read_to_string(folder.join("schedstat"))?;
            let nanos = statistics
                .split(' ')
                .next()
                .and_then(|nanos| nanos.parse().ok());
            sum += Duration::from_nanos(nanos.ok_or(io::ErrorKind::InvalidData)?);
        }
    }
    Ok(sum)
}
