//! What of a service's past a plug-in is shown. The loop, a replay and a plug-in's own tests all ask here, so that none of them
//! shows a plug-in anything that another would not.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use heald_model::{Moment, ProbeId, ProbeSpec, Replica, Role, Sample, Series, Window};

/// Samples kept of each series, unless a detector's window asks for more.
const KEPT: usize = 60;
/// Never more than this, whatever is asked for.
const KEPT_AT_MOST: usize = 600;
/// The period assumed of a series whose probe is not configured (the implicit process probe).
const PROCESS_PERIOD: Duration = Duration::from_secs(1);

/// What was seen of a service, by probe and copy.
pub type SeriesMap = BTreeMap<(ProbeId, Option<Replica>), Series>;

/// Takes a sample into its series, of which `kept` samples stay; one seen for the first time begins a series as its probe is
/// configured.
pub fn take_in(seen: &mut SeriesMap, probes: &[ProbeSpec], sample: Sample, kept: usize) {
    let key = (sample.probe.clone(), sample.replica.clone());
    seen.entry(key).or_insert_with(|| begin(probes, &sample)).push(sample, kept);
}

/// A look is over: nothing is new any more.
pub fn settle(seen: &mut SeriesMap) {
    seen.values_mut().for_each(|series| series.fresh = 0);
}

fn begin(probes: &[ProbeSpec], sample: &Sample) -> Series {
    let spec = probes.iter().find(|probe| probe.id == sample.probe);
    Series {
        probe: sample.probe.clone(),
        role: spec.map_or(Role::Liveness, |probe| probe.role),
        replica: sample.replica.clone(),
        period: spec.map_or(PROCESS_PERIOD, |probe| probe.period),
        failure_threshold: spec.map_or(1, |probe| probe.failure_threshold),
        success_threshold: spec.map_or(1, |probe| probe.success_threshold),
        samples: VecDeque::new(),
        fresh: 0,
    }
}

/// How many samples of each series are kept for detectors with these windows.
pub fn kept(windows: impl IntoIterator<Item = Window>) -> usize {
    let asked = windows.into_iter().map(|window| window.samples as usize).max().unwrap_or(0);
    asked.clamp(KEPT, KEPT_AT_MOST)
}

/// The part of each series that a plug-in is shown: with a memory what is fresh (at least the newest), without one, or if it
/// wants a sliding window, the window.
pub fn shown<'a>(
    series: impl IntoIterator<Item = &'a Series>,
    window: Window,
    remembers: bool,
    now: Moment,
) -> Vec<Series> {
    series.into_iter().map(|series| one(series, window, remembers, now)).collect()
}

fn one(series: &Series, window: Window, remembers: bool, now: Moment) -> Series {
    let whole = series.samples.len();
    let fresh = (series.fresh as usize).min(whole);
    let wanted = match window.samples as usize {
        0 => whole,
        bound => bound.max(fresh),
    };
    let count = if remembers && !window.sliding { fresh.max(1) } else { wanted }.min(whole);
    let horizon = if window.span.is_zero() { Moment::EPOCH } else { now - window.span };
    let samples = series.samples.iter().skip(whole - count).filter(|sample| sample.at >= horizon).cloned().collect();
    Series { samples, fresh: series.fresh, ..empty(series) }
}

/// Without its samples, which need not be copied to be left out.
fn empty(series: &Series) -> Series {
    Series {
        probe: series.probe.clone(),
        role: series.role,
        replica: series.replica.clone(),
        period: series.period,
        failure_threshold: series.failure_threshold,
        success_threshold: series.success_threshold,
        samples: VecDeque::new(),
        fresh: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten samples, a second apart, the last `fresh` of them new.
    fn series(fresh: u32) -> Series {
        let samples = (0..10).map(|at| Sample::new("web".into(), "http".into(), Moment::from_millis(at * 1_000)));
        Series {
            probe: "http".into(),
            role: Role::Liveness,
            replica: None,
            period: Duration::from_secs(1),
            failure_threshold: 3,
            success_threshold: 1,
            samples: samples.collect(),
            fresh,
        }
    }

    fn count(fresh: u32, window: Window, remembers: bool) -> usize {
        shown([&series(fresh)], window, remembers, Moment::from_millis(9_000))[0].samples.len()
    }

    #[test]
    fn a_memory_is_shown_the_news_and_none_the_window() {
        let five = Window { samples: 5, ..Window::default() };
        assert_eq!([count(1, five, true), count(3, five, true), count(0, five, true)], [1, 3, 1]);
        assert_eq!([count(1, five, false), count(7, five, false)], [5, 7], "what is fresh is always shown");
        assert_eq!(count(1, Window::default(), false), 10, "no bound");
        assert_eq!(count(1, Window { sliding: true, ..five }, true), 5);
        let span = Window { span: Duration::from_secs(2), ..Window::default() };
        assert_eq!(count(1, span, false), 3);
    }

    #[test]
    fn so_many_are_kept() {
        let asks = |samples| kept([Window { samples, ..Window::default() }]);
        assert_eq!([asks(0), asks(100), asks(10_000), kept([])], [60, 100, 600, 60]);
    }
}
