//! Metrics of heald itself. It reads them at every scrape.

use std::fmt::Result;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::families::{family, one};
use crate::{Api, Phase};

/// No labels.
const BARE: [(&str, &str); 0] = [];

/// The state of heald at this moment.
#[derive(Debug)]
pub(super) struct HealdMetrics {
    version: &'static str,
    uptime: Duration,
    ready: bool,
    halted: bool,
    journal: bool,
    safe_mode: bool,
}

impl HealdMetrics {
    pub(super) fn read(api: &Api) -> Self {
        Self {
            version: api.version,
            uptime: api.started.elapsed(),
            ready: *api.phase.borrow() == Phase::Ready,
            halted: api.control.halted(),
            journal: (api.database)(),
            safe_mode: api.safe_mode.borrow().is_some(),
        }
    }
}

impl Collector for HealdMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result {
        let out = &mut encoder;
        family("build", "Which heald this is.").tells(out, [[("version", self.version)]])?;
        family("uptime", "Since it came up.").of(&Unit::Seconds).levels(out, [(BARE, self.uptime.as_secs_f64())])?;
        family("ready", "1 between start and end.").levels(out, [(BARE, one(self.ready))])?;
        family("halted", "1 while an operator has stopped all healing.").levels(out, [(BARE, one(self.halted))])?;
        family("safe_mode", "1 while heald uses no plug-in, because it died repeatedly.")
            .levels(out, [(BARE, one(self.safe_mode))])?;
        family("journal_writable", "1 while the journal can be written.").levels(out, [(BARE, one(self.journal))])
    }
}
