//! A whole run: what `--json` writes and `--from` reads, and all that tables and charts need.

use std::fs;
use std::path::Path;

use crate::Error;
use crate::contender::Contender;
use crate::load::Measured;
use crate::measure::Sample;
use crate::row::{Figure, Row};
use crate::spread::Spread;
use serde::{Deserialize, Serialize};

/// What was planned and what came out.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) rows: Vec<Row>,
    /// Ratios are to the first.
    pub(crate) engines: Vec<Contender>,
    pub(crate) rounds: u32,
    pub(crate) samples: Vec<Sample>,
}

impl Record {
    /// Reads what [`Record::write`] has written.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(Error::io(format!("reading {shown}")))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::child(shown.to_string(), error.to_string()))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self)?;
        let action = format!("writing {}", path.display());
        fs::write(path, text + "\n").map_err(Error::io(action))
    }

    /// The rows that are measured for that.
    pub(crate) fn rows(&self, figure: Figure) -> Vec<&Row> {
        let rows = self.rows.iter();
        rows.filter(|row| row.figure() == figure).collect()
    }

    /// What `value` yields for each measurement of an engine at a row, by round; `None` where there is
    /// nothing.
    pub(crate) fn values(
        &self,
        row: &Row,
        engine: Contender,
        value: impl Fn(&Measured) -> Option<f64>,
    ) -> Vec<Option<f64>> {
        let cell = |round| (&row.name, engine, round);
        let in_round = |round| {
            let mut samples = self.samples.iter();
            let it = samples.find(|it| (&it.row, it.engine, it.round) == cell(round))?;
            value(&it.measured)
        };
        (0..self.rounds).map(in_round).collect()
    }

    /// The spread of those values; `None` if there are none.
    pub(crate) fn spread(
        &self,
        row: &Row,
        engine: Contender,
        value: impl Fn(&Measured) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.values(row, engine, value).into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use throng_bench::serve::Engine;

    use super::*;
    use crate::delay::Delay;
    use crate::row;

    #[test]
    fn what_is_written_can_be_read() {
        let measured = Measured {
            messages: 10,
            server_cpu: 0.1,
            delay: Some(Delay {
                p50_ns: 1,
                p99_ns: 2,
                max_ns: 3,
            }),
            ..Measured::default()
        };
        let sample = |row: &Row, engine: Engine| Sample {
            row: row.name.clone(),
            engine: engine.into(),
            round: 0,
            measured: measured.clone(),
        };
        let rows: Vec<Row> = row::all().collect();
        let record = Record {
            samples: rows.iter().map(|row| sample(row, Engine::Floor)).collect(),
            rows,
            engines: vec![Engine::Floor.into(), Engine::Throng.into()],
            rounds: 1,
        };
        let name = format!("throng-compare-{}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        record.write(&path).unwrap();
        let read = Record::read(&path);
        fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), record);
        let missing = Record::read(&path).unwrap_err().to_string();
        assert!(missing.contains("throng-compare"), "{missing}");
    }

    #[test]
    fn values_are_those_of_the_cell_by_round() {
        let sample = |engine: Engine, round, messages| Sample {
            row: "echo-100".to_owned(),
            engine: engine.into(),
            round,
            measured: Measured {
                messages,
                server_cpu: 1e-6,
                ..Measured::default()
            },
        };
        let row = row::named("echo-100").unwrap();
        let record = Record {
            rows: vec![row.clone()],
            engines: vec![Engine::Floor.into(), Engine::Throng.into()],
            rounds: 3,
            samples: vec![
                sample(Engine::Throng, 0, 9),
                sample(Engine::Floor, 2, 4),
                sample(Engine::Floor, 1, 0),
                sample(Engine::Floor, 0, 2),
            ],
        };
        let values = record.values(&row, Engine::Floor.into(), Measured::server_us);
        // By round; one has no such value.
        assert_eq!(format!("{values:.2?}"), "[Some(0.50), None, Some(0.25)]");
    }
}
