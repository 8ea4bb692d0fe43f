//! From the command line to a job.

use throng_loadtest::{Error, Job, Pace, Scenario, Target};

use crate::args::{BroadcastLoad, Common, EchoLoad, IdleLoad, Messages};

/// The host of a server that is yet to be spawned.
const UNKNOWN: &str = "ws://127.0.0.1/";

/// A load as the command line asks for it.
pub(crate) trait Load {
    /// What the connections do.
    const SCENARIO: Scenario;

    /// The settings all scenarios share.
    fn common(&self) -> &Common;

    /// Takes over the scenario's own settings.
    fn apply(&self, job: &mut Job);

    /// The job of the whole run; its address is still to be set if its server is spawned.
    ///
    /// # Errors
    /// [`Error::Setting`] when the URL does not resolve or a setting is out of bounds.
    fn job(&self) -> Result<Job, Error> {
        let common = self.common();
        let target = Target::resolve(common.url.as_deref().unwrap_or(UNKNOWN))?;
        let mut job = Job::new(target.addr, target.path, Self::SCENARIO);
        job.host = target.host;
        job.connections = common.connections;
        job.duration = common.duration;
        job.warmup = common.warmup;
        job.patience = common.patience;
        job.ramp = common.ramp;
        job.handshakes = common.handshakes;
        job.sources.clone_from(&common.source);
        job.seed = common.seed.unwrap_or_else(|| fastrand::u64(..));
        self.apply(&mut job);
        job.check()?;
        job.spread_sources(common.per_source)?;
        Ok(job)
    }
}

impl Load for IdleLoad {
    const SCENARIO: Scenario = Scenario::Idle;

    fn common(&self) -> &Common {
        &self.common
    }

    fn apply(&self, _: &mut Job) {}
}

impl Load for EchoLoad {
    const SCENARIO: Scenario = Scenario::Echo;

    fn common(&self) -> &Common {
        &self.common
    }

    fn apply(&self, job: &mut Job) {
        self.messages.apply(job);
        job.size = self.size;
    }
}

impl Load for BroadcastLoad {
    const SCENARIO: Scenario = Scenario::Broadcast;

    fn common(&self) -> &Common {
        &self.common
    }

    fn apply(&self, job: &mut Job) {
        self.messages.apply(job);
        job.size = self.size;
        job.senders = self.senders;
    }
}

impl Messages {
    fn apply(&self, job: &mut Job) {
        job.pace = self.rate.map_or(Pace::Depth(self.depth), Pace::Rate);
        job.text = self.text;
        job.contents = !self.lengths_only;
    }
}
