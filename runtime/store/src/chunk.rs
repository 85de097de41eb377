//! A segment of the tape: looks of one service as columns, and back to the bit. A chunk is some of them together.
//!
//! Samples are sorted into their series, and in each the times, latencies and metrics lie in columns of their own. A look's time is
//! written as its distance to the end of the last check that it took in: what remains is the way through heald. A seed that is
//! the one [`die`] gives costs nothing. What is seldom there (the service's view, the frame of a checkpoint) is CBOR.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use heald_engine::calls::{Checkpoint, Look, die};
use heald_model::{Moment, PluginName, ProbeId, Replica, Sample, ServiceName, ServiceView};

use crate::blob::{Unreadable, cbor, from_cbor};
use crate::columns::{Broken, Reading, Sheet};

/// Which series a sample is of.
type Key = (ServiceName, ProbeId, Option<Replica>);

/// Writes looks of one service.
pub(crate) fn write(service: &ServiceName, looks: &[Look]) -> io::Result<Vec<u8>> {
    let mut sheet = Sheet::default();
    sheet.number(looks.len() as u64);
    let word = sheet.word(service.as_str());
    sheet.number(word);
    sheet.numbers(&looks.iter().map(|look| look.samples.len() as u64).collect::<Vec<_>>());
    samples(&mut sheet, &looks.iter().flat_map(|look| &look.samples).collect::<Vec<_>>());
    let ways = looks.iter().map(|look| look.at.nanos().wrapping_sub(end(&look.samples)));
    sheet.numbers(&ways.collect::<Vec<_>>());
    seldom(&mut sheet, looks.iter().map(|look| look.view.as_ref()))?;
    seeds(&mut sheet, looks);
    let checkpoints: Vec<Option<&Checkpoint>> = looks.iter().map(|look| look.checkpoint.as_deref()).collect();
    let frames: Vec<Option<Checkpoint>> = checkpoints.iter().map(|checkpoint| checkpoint.map(frame)).collect();
    seldom(&mut sheet, frames.iter().map(Option::as_ref))?;
    let series = || checkpoints.iter().flatten().flat_map(|checkpoint| &checkpoint.series);
    sheet.numbers(&series().map(|series| series.samples.len() as u64).collect::<Vec<_>>());
    samples(&mut sheet, &series().flat_map(|series| &series.samples).collect::<Vec<_>>());
    Ok(sheet.finish())
}

/// Reads them.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Look>, Unreadable> {
    let mut reading = Reading::begin(bytes)?;
    let count = reading.count()?;
    let service = reading.number()?;
    let service = ServiceName::from(reading.text(service)?);
    let counts = reading.numbers(count)?;
    let mut samples = samples_again(&mut reading, sum(&counts)?)?.into_iter();
    let samples: Vec<Vec<Sample>> =
        counts.iter().map(|count| samples.by_ref().take(*count as usize).collect()).collect();
    let ways = reading.numbers(count)?;
    let times = ways.into_iter().zip(&samples).map(|(way, samples)| Moment::from_nanos(way.wrapping_add(end(samples))));
    let times: Vec<Moment> = times.collect();
    let views: Vec<Option<ServiceView>> = seldom_again(&mut reading, count)?;
    let seeds = seeds_again(&mut reading, &service, &times)?;
    let mut checkpoints: Vec<Option<Checkpoint>> = seldom_again(&mut reading, count)?;
    let every = checkpoints.iter().flatten().map(|checkpoint| checkpoint.series.len()).sum();
    let sizes = reading.numbers(every)?;
    let mut kept = samples_again(&mut reading, sum(&sizes)?)?.into_iter();
    reading.finish()?;
    let mut sizes = sizes.into_iter();
    for series in checkpoints.iter_mut().flatten().flat_map(|checkpoint| &mut checkpoint.series) {
        series.samples = kept.by_ref().take(sizes.next().unwrap_or_default() as usize).collect();
    }
    let looks = times.into_iter().zip(samples).zip(views).zip(seeds).zip(checkpoints);
    let looks = looks.map(|((((at, samples), view), seeds), checkpoint)| Look {
        service: service.clone(),
        at,
        view,
        samples,
        seeds,
        checkpoint: checkpoint.map(Box::new),
    });
    Ok(looks.collect())
}

/// When the last check of a look ended, as far as its samples tell.
fn end(samples: &[Sample]) -> u64 {
    let took = |sample: &Sample| heald_model::time::nanos(sample.latency.unwrap_or_default());
    samples.last().map_or(0, |sample| sample.at.nanos().wrapping_add(took(sample)))
}

/// How many samples there are in all.
fn sum(counts: &[u64]) -> Result<usize, Broken> {
    /// Far more than any chunk has: what is broken must not take all memory.
    const MOST: u64 = 1 << 20;
    let sum = counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count)).filter(|sum| *sum <= MOST);
    sum.and_then(|sum| usize::try_from(sum).ok()).ok_or(Broken)
}

/// A checkpoint without its samples, which go into columns.
fn frame(checkpoint: &Checkpoint) -> Checkpoint {
    let mut frame = checkpoint.clone();
    frame.series.iter_mut().for_each(|series| series.samples.clear());
    frame
}

fn seldom<'a, T: serde::Serialize + 'a>(
    sheet: &mut Sheet,
    values: impl Iterator<Item = Option<&'a T>> + Clone,
) -> io::Result<()> {
    sheet.presence(values.clone().map(|value| value.is_some()));
    for value in values.flatten() {
        sheet.lump(&cbor(value)?);
    }
    Ok(())
}

fn seldom_again<T: serde::de::DeserializeOwned>(
    reading: &mut Reading<'_>,
    count: usize,
) -> Result<Vec<Option<T>>, Unreadable> {
    let there = reading.presence(count)?;
    there.into_iter().map(|there| if there { Ok(Some(from_cbor(reading.lump()?)?)) } else { Ok(None) }).collect()
}

/// The names as one of a few lists, and those seeds that nobody could compute.
fn seeds(sheet: &mut Sheet, looks: &[Look]) {
    let mut lists: Vec<Vec<&PluginName>> = Vec::new();
    let choices: Vec<u64> = looks
        .iter()
        .map(|look| {
            let names: Vec<&PluginName> = look.seeds.iter().map(|(name, _)| name).collect();
            let place = lists.iter().position(|list| *list == names);
            place.unwrap_or_else(|| {
                lists.push(names);
                lists.len() - 1
            }) as u64
        })
        .collect();
    sheet.number(lists.len() as u64);
    for list in &lists {
        sheet.number(list.len() as u64);
        for name in list {
            let word = sheet.word(name.as_str());
            sheet.number(word);
        }
    }
    sheet.numbers(&choices);
    let odd = |look: &Look, name: &PluginName, seed: u64| (seed != die(&look.service, name, look.at)).then_some(seed);
    let odd: Vec<Option<u64>> =
        looks.iter().flat_map(|look| look.seeds.iter().map(move |(name, seed)| odd(look, name, *seed))).collect();
    sheet.presence(odd.iter().map(Option::is_some));
    sheet.planes(&odd.into_iter().flatten().collect::<Vec<_>>());
}

fn seeds_again(
    reading: &mut Reading<'_>,
    service: &ServiceName,
    times: &[Moment],
) -> Result<Vec<Vec<(PluginName, u64)>>, Unreadable> {
    let lists = reading.count()?;
    let lists: Vec<Vec<PluginName>> = (0..lists)
        .map(|_| {
            let names = reading.count()?;
            (0..names)
                .map(|_| {
                    let place = reading.number()?;
                    reading.text(place).map(PluginName::from)
                })
                .collect()
        })
        .collect::<Result<_, Broken>>()?;
    let choices = reading.numbers(times.len())?;
    let chosen =
        choices.into_iter().map(|choice| usize::try_from(choice).ok().and_then(|c| lists.get(c)).ok_or(Broken));
    let chosen: Vec<&Vec<PluginName>> = chosen.collect::<Result<_, _>>()?;
    let odd = reading.presence(chosen.iter().map(|names| names.len()).sum())?;
    let mut given = reading.planes(odd.iter().filter(|odd| **odd).count())?.into_iter();
    let mut odd = odd.into_iter();
    let each = times.iter().zip(chosen).map(|(at, names)| {
        let seed = |name: &PluginName| match odd.next() {
            Some(true) => given.next().unwrap_or_default(),
            _ => die(service, name, *at),
        };
        names.iter().cloned().zip(names.iter().map(seed).collect::<Vec<_>>()).collect()
    });
    Ok(each.collect())
}

fn samples(sheet: &mut Sheet, all: &[&Sample]) {
    let mut groups: BTreeMap<Key, (u64, Vec<&Sample>)> = BTreeMap::new();
    let mut order = Vec::with_capacity(all.len());
    for sample in all {
        let key = (sample.service.clone(), sample.probe.clone(), sample.replica.clone());
        let next = groups.len() as u64;
        let (place, group) = groups.entry(key).or_insert_with(|| (next, Vec::new()));
        order.push(*place);
        group.push(sample);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (place, _))| *place);
    sheet.number(groups.len() as u64);
    sheet.numbers(&order);
    for ((service, probe, replica), (_, group)) in &groups {
        for word in [Some(service.as_str()), Some(probe.as_str()), replica.as_ref().map(Replica::as_str)] {
            let word = word.map_or(0, |text| sheet.word(text) + 1);
            sheet.number(word);
        }
        series(sheet, group);
    }
}

fn samples_again(reading: &mut Reading<'_>, count: usize) -> Result<Vec<Sample>, Unreadable> {
    let groups = reading.count()?;
    let order = reading.numbers(count)?;
    let mut sizes = vec![0_usize; groups];
    for place in &order {
        *sizes.get_mut(usize::try_from(*place).unwrap_or(usize::MAX)).ok_or(Broken)? += 1;
    }
    let mut each = Vec::with_capacity(groups);
    for size in sizes {
        let mut word = || {
            let place = reading.number()?;
            place.checked_sub(1).map(|place| reading.text(place).map(str::to_owned)).transpose()
        };
        let (service, probe, replica) = (word()?.ok_or(Broken)?, word()?.ok_or(Broken)?, word()?);
        each.push(series_again(reading, (service.into(), probe.into(), replica.map(Replica::from)), size)?.into_iter());
    }
    let next = |place: u64| each.get_mut(place as usize).and_then(Iterator::next).ok_or(Broken);
    Ok(order.into_iter().map(next).collect::<Result<_, _>>()?)
}

fn series(sheet: &mut Sheet, group: &[&Sample]) {
    let each = || group.iter().copied();
    let optional = |get: fn(&Sample) -> Option<u64>| each().map(get).collect::<Vec<_>>();
    let floats = |get: fn(&Sample) -> Option<f64>| each().map(get).collect::<Vec<_>>();
    sheet.numbers(&each().map(|sample| sample.at.nanos()).collect::<Vec<_>>());
    sheet.optional(&optional(|sample| sample.latency.map(heald_model::time::nanos)));
    sheet.optional(&optional(|sample| sample.ok.map(u64::from)));
    sheet.optional(&optional(|sample| sample.incarnation));
    sheet.optional(&optional(|sample| sample.status.map(|status| i64::from(status) as u64)));
    sheet.optional_words(each().map(|sample| sample.fault.as_deref()));
    sheet.optional_words(each().map(|sample| sample.message.as_deref()));
    sheet.optional_words(each().map(|sample| sample.reported.as_deref()));
    sheet.optional_floats(&floats(|sample| sample.cpu));
    sheet.optional_floats(&floats(|sample| sample.memory));
    sheet.optional_floats(&floats(|sample| sample.error_rate));
    let names: BTreeSet<&String> = each().flat_map(|sample| sample.values.keys()).collect();
    sheet.number(names.len() as u64);
    for name in names {
        let word = sheet.word(name);
        sheet.number(word);
        sheet.optional_floats(&each().map(|sample| sample.values.get(name).copied()).collect::<Vec<_>>());
    }
}

fn series_again(reading: &mut Reading<'_>, key: Key, count: usize) -> Result<Vec<Sample>, Unreadable> {
    let (service, probe, replica) = key;
    let blank = |at| Sample { replica: replica.clone(), ..Sample::new(service.clone(), probe.clone(), at) };
    let mut samples: Vec<Sample> =
        reading.numbers(count)?.into_iter().map(|at| blank(Moment::from_nanos(at))).collect();
    fill(&mut samples, reading.optional(count)?, |sample, took| sample.latency = took.map(Duration::from_nanos));
    fill(&mut samples, reading.optional(count)?, |sample, ok| sample.ok = ok.map(|ok| ok != 0));
    fill(&mut samples, reading.optional(count)?, |sample, incarnation| sample.incarnation = incarnation);
    fill(&mut samples, reading.optional(count)?, |sample, status| sample.status = status.map(|status| status as i32));
    fill(&mut samples, reading.optional_words(count)?, |sample, word| sample.fault = word.map(str::to_owned));
    fill(&mut samples, reading.optional_words(count)?, |sample, word| sample.message = word.map(str::to_owned));
    fill(&mut samples, reading.optional_words(count)?, |sample, word| sample.reported = word.map(str::to_owned));
    fill(&mut samples, reading.optional_floats(count)?, |sample, value| sample.cpu = value);
    fill(&mut samples, reading.optional_floats(count)?, |sample, value| sample.memory = value);
    fill(&mut samples, reading.optional_floats(count)?, |sample, value| sample.error_rate = value);
    let names = reading.count()?;
    for _ in 0..names {
        let place = reading.number()?;
        let name = reading.text(place)?.to_owned();
        fill(&mut samples, reading.optional_floats(count)?, |sample, value| {
            sample.values.extend(value.map(|value| (name.clone(), value)));
        });
    }
    Ok(samples)
}

fn fill<T>(samples: &mut [Sample], values: Vec<T>, set: impl Fn(&mut Sample, T)) {
    samples.iter_mut().zip(values).for_each(|(sample, value)| set(sample, value));
}
