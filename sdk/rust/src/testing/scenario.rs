//! A detector's life, one sample after the other.

use super::build::{SampleBuilder, SeriesBuilder, series, service};
use crate::instance::Slot;
use crate::{About, Detector, Error, Observation, Service, Verdict};

/// Feeds a detector samples in sequence and carries its state from call to call, as the host would.
pub struct Scenario<D: Detector> {
    slot: Slot<D>,
    service: Service,
    series: Vec<SeriesBuilder>,
    state: Option<Vec<u8>>,
    now: u64,
    window: usize,
}

impl<D: Detector> Scenario<D> {
    /// Configured so. A configuration that is refused ends the test.
    #[track_caller]
    #[allow(clippy::panic)] // a test double's way to fail a test
    pub fn of(config: &str) -> Self {
        let slot = Slot::empty();
        if let Err(refusal) = slot.configure(config, D::new) {
            panic!("the configuration is refused: {refusal:?}");
        }
        let mut made = Self { slot, service: service("web"), series: Vec::new(), state: None, now: 0, window: 1 };
        made.window = usize::try_from(made.about().window.samples).unwrap_or(usize::MAX).max(1);
        made
    }

    /// What the plug-in says of itself.
    #[track_caller]
    #[allow(clippy::panic)] // a test double's way to fail a test
    pub fn about(&self) -> About {
        match self.slot.get() {
            Ok(plugin) => plugin.about(),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Watches through this probe as well.
    pub fn watching(mut self, probe: SeriesBuilder) -> Self {
        self.series.push(probe);
        self
    }

    /// The service, to be changed as the test likes.
    pub fn service(&mut self) -> &mut Service {
        &mut self.service
    }

    /// A sample of the only probe (one called `http` unless [`watching`](Self::watching) said otherwise), and the verdict.
    #[track_caller]
    pub fn feed(&mut self, sample: SampleBuilder) -> Verdict {
        let first = match self.series.first() {
            Some(first) => first.clone().build().probe,
            None => "http".to_owned(),
        };
        self.feed_to(&first, sample)
    }

    /// A sample of that probe, and the verdict. The other series send their newest sample along, not fresh.
    #[track_caller]
    #[allow(clippy::panic)] // a test double's way to fail a test
    pub fn feed_to(&mut self, probe: &str, sample: SampleBuilder) -> Verdict {
        if !self.series.iter().any(|each| each.is(probe)) {
            self.series.push(series(probe));
        }
        if let Some(found) = self.series.iter_mut().find(|each| each.is(probe)) {
            self.now = found.push(sample).max(self.now);
        }
        match self.evaluate() {
            Ok(verdict) => verdict,
            Err(error) => panic!("the detector fails: {error:?}"),
        }
    }

    /// Evaluates what there is, new or not.
    pub fn evaluate(&mut self) -> Result<Verdict, Error> {
        let keep = if self.state.is_some() { 1 } else { self.window };
        let observation = Observation {
            now: self.now,
            seed: 0,
            service: self.service.clone(),
            series: self.series.iter_mut().map(|each| each.send(keep)).collect(),
            state: self.state.clone(),
        };
        let verdict = crate::detector::evaluate(&self.slot, observation)?;
        if verdict.state.is_some() {
            self.state.clone_from(&verdict.state);
        }
        Ok(verdict)
    }

    /// Loses the state, as a host may at any time; the next call brings the window the detector asked for.
    pub fn forget(&mut self) {
        self.state = None;
        for each in &mut self.series {
            *each = each.last(self.window);
        }
    }

    /// The state the host would hold now.
    pub fn state(&self) -> Option<&[u8]> {
        self.state.as_deref()
    }

    /// Puts a state in place of the stored one.
    pub fn set_state(&mut self, state: Vec<u8>) {
        self.state = Some(state);
    }
}
