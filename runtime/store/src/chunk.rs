//! A segment of the tape: looks of one service as columns, decoded to the same bits. A chunk consists of segments.
//!
//! Samples are sorted into their series. In each series the times, latencies and metrics are columns of their own. The
//! time of a look is stored as its distance to the end of its last check, which leaves the delay within heald. A seed
//! that [`die`] computes costs nothing. Rare parts (the view of the service, the frame of a checkpoint) are CBOR.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use heald_model::{Checkpoint, TapeEntry, call_seed};
use heald_model::{Moment, PluginName, ProbeId, Replica, Sample, ServiceName, ServiceView};

use crate::blob::{Unreadable, cbor, from_cbor};
use crate::columns::{ColumnReader, ColumnWriter, InvalidColumns};

/// The series that a sample belongs to.
type SeriesKey = (ServiceName, ProbeId, Option<Replica>);

/// Encodes looks of one service.
pub(crate) fn write(service: &ServiceName, looks: &[TapeEntry]) -> io::Result<Vec<u8>> {
    let mut out = ColumnWriter::default();
    out.number(looks.len() as u64);
    let word = out.word(service.as_str());
    out.number(word);
    out.numbers(&looks.iter().map(|look| look.samples.len() as u64).collect::<Vec<_>>());
    write_samples(&mut out, &looks.iter().flat_map(|look| &look.samples).collect::<Vec<_>>());
    let ways = looks.iter().map(|look| look.at.nanos().wrapping_sub(end(&look.samples)));
    out.numbers(&ways.collect::<Vec<_>>());
    write_rare(&mut out, looks.iter().map(|look| look.view.as_ref()))?;
    write_seeds(&mut out, looks);
    let checkpoints: Vec<Option<&Checkpoint>> = looks.iter().map(|look| look.checkpoint.as_deref()).collect();
    let frames: Vec<Option<Checkpoint>> = checkpoints.iter().map(|checkpoint| checkpoint.map(frame)).collect();
    write_rare(&mut out, frames.iter().map(Option::as_ref))?;
    let series = || checkpoints.iter().flatten().flat_map(|checkpoint| &checkpoint.series);
    out.numbers(&series().map(|series| series.samples.len() as u64).collect::<Vec<_>>());
    write_samples(&mut out, &series().flat_map(|series| &series.samples).collect::<Vec<_>>());
    Ok(out.finish())
}

/// Decodes looks.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<TapeEntry>, Unreadable> {
    let mut reader = ColumnReader::begin(bytes)?;
    let count = reader.count()?;
    let service = reader.number()?;
    let service = ServiceName::from(reader.text(service)?);
    let counts = reader.numbers(count)?;
    let mut samples = read_samples(&mut reader, sum(&counts)?)?.into_iter();
    let samples: Vec<Vec<Sample>> =
        counts.iter().map(|count| samples.by_ref().take(*count as usize).collect()).collect();
    let ways = reader.numbers(count)?;
    let times = ways.into_iter().zip(&samples).map(|(way, samples)| Moment::from_nanos(way.wrapping_add(end(samples))));
    let times: Vec<Moment> = times.collect();
    let views: Vec<Option<ServiceView>> = read_rare(&mut reader, count)?;
    let seeds = read_seeds(&mut reader, &service, &times)?;
    let mut checkpoints: Vec<Option<Checkpoint>> = read_rare(&mut reader, count)?;
    let every = checkpoints.iter().flatten().map(|checkpoint| checkpoint.series.len()).sum();
    let sizes = reader.numbers(every)?;
    let mut kept = read_samples(&mut reader, sum(&sizes)?)?.into_iter();
    reader.finish()?;
    let mut sizes = sizes.into_iter();
    for series in checkpoints.iter_mut().flatten().flat_map(|checkpoint| &mut checkpoint.series) {
        series.samples = kept.by_ref().take(sizes.next().unwrap_or_default() as usize).collect();
    }
    let looks = times.into_iter().zip(samples).zip(views).zip(seeds).zip(checkpoints);
    let looks = looks.map(|((((at, samples), view), seeds), checkpoint)| TapeEntry {
        service: service.clone(),
        at,
        view,
        samples,
        seeds,
        checkpoint: checkpoint.map(Box::new),
    });
    Ok(looks.collect())
}

/// When the last check of a look ended, according to its samples.
fn end(samples: &[Sample]) -> u64 {
    let took = |sample: &Sample| heald_model::time::nanos(sample.latency.unwrap_or_default());
    samples.last().map_or(0, |sample| sample.at.nanos().wrapping_add(took(sample)))
}

/// The number of all samples.
fn sum(counts: &[u64]) -> Result<usize, InvalidColumns> {
    /// Far more than any chunk has, so that a broken chunk does not take all memory.
    const MOST: u64 = 1 << 20;
    let sum = counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count)).filter(|sum| *sum <= MOST);
    sum.and_then(|sum| usize::try_from(sum).ok()).ok_or(InvalidColumns)
}

/// A checkpoint without its samples, which are encoded as columns.
fn frame(checkpoint: &Checkpoint) -> Checkpoint {
    let mut frame = checkpoint.clone();
    frame.series.iter_mut().for_each(|series| series.samples.clear());
    frame
}

fn write_rare<'a, T: serde::Serialize + 'a>(
    out: &mut ColumnWriter,
    values: impl Iterator<Item = Option<&'a T>> + Clone,
) -> io::Result<()> {
    out.presence(values.clone().map(|value| value.is_some()));
    for value in values.flatten() {
        out.bytes(&cbor(value)?);
    }
    Ok(())
}

fn read_rare<T: serde::de::DeserializeOwned>(
    reader: &mut ColumnReader<'_>,
    count: usize,
) -> Result<Vec<Option<T>>, Unreadable> {
    let there = reader.presence(count)?;
    there.into_iter().map(|there| if there { Ok(Some(from_cbor(reader.bytes()?)?)) } else { Ok(None) }).collect()
}

/// Encodes the names as one of a few lists, and only the seeds that cannot be computed.
fn write_seeds(out: &mut ColumnWriter, looks: &[TapeEntry]) {
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
    out.number(lists.len() as u64);
    for list in &lists {
        out.number(list.len() as u64);
        for name in list {
            let word = out.word(name.as_str());
            out.number(word);
        }
    }
    out.numbers(&choices);
    let odd = |look: &TapeEntry, name: &PluginName, seed: u64| {
        (seed != call_seed(&look.service, name, look.at)).then_some(seed)
    };
    let odd: Vec<Option<u64>> =
        looks.iter().flat_map(|look| look.seeds.iter().map(move |(name, seed)| odd(look, name, *seed))).collect();
    out.presence(odd.iter().map(Option::is_some));
    out.planes(&odd.into_iter().flatten().collect::<Vec<_>>());
}

fn read_seeds(
    reader: &mut ColumnReader<'_>,
    service: &ServiceName,
    times: &[Moment],
) -> Result<Vec<Vec<(PluginName, u64)>>, Unreadable> {
    let lists = reader.count()?;
    let lists: Vec<Vec<PluginName>> = (0..lists)
        .map(|_| {
            let names = reader.count()?;
            (0..names)
                .map(|_| {
                    let place = reader.number()?;
                    reader.text(place).map(PluginName::from)
                })
                .collect()
        })
        .collect::<Result<_, InvalidColumns>>()?;
    let choices = reader.numbers(times.len())?;
    let chosen =
        choices.into_iter().map(|choice| usize::try_from(choice).ok().and_then(|c| lists.get(c)).ok_or(InvalidColumns));
    let chosen: Vec<&Vec<PluginName>> = chosen.collect::<Result<_, _>>()?;
    let odd = reader.presence(chosen.iter().map(|names| names.len()).sum())?;
    let mut given = reader.planes(odd.iter().filter(|odd| **odd).count())?.into_iter();
    let mut odd = odd.into_iter();
    let each = times.iter().zip(chosen).map(|(at, names)| {
        let seed = |name: &PluginName| match odd.next() {
            Some(true) => given.next().unwrap_or_default(),
            _ => call_seed(service, name, *at),
        };
        names.iter().cloned().zip(names.iter().map(seed).collect::<Vec<_>>()).collect()
    });
    Ok(each.collect())
}

fn write_samples(out: &mut ColumnWriter, all: &[&Sample]) {
    let mut groups: BTreeMap<SeriesKey, (u64, Vec<&Sample>)> = BTreeMap::new();
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
    out.number(groups.len() as u64);
    out.numbers(&order);
    for ((service, probe, replica), (_, group)) in &groups {
        for word in [Some(service.as_str()), Some(probe.as_str()), replica.as_ref().map(Replica::as_str)] {
            let word = word.map_or(0, |text| out.word(text) + 1);
            out.number(word);
        }
        write_series(out, group);
    }
}

fn read_samples(reader: &mut ColumnReader<'_>, count: usize) -> Result<Vec<Sample>, Unreadable> {
    let groups = reader.count()?;
    let order = reader.numbers(count)?;
    let mut sizes = vec![0_usize; groups];
    for place in &order {
        *sizes.get_mut(usize::try_from(*place).unwrap_or(usize::MAX)).ok_or(InvalidColumns)? += 1;
    }
    let mut each = Vec::with_capacity(groups);
    for size in sizes {
        let mut word = || {
            let place = reader.number()?;
            place.checked_sub(1).map(|place| reader.text(place).map(str::to_owned)).transpose()
        };
        let (service, probe, replica) = (word()?.ok_or(InvalidColumns)?, word()?.ok_or(InvalidColumns)?, word()?);
        each.push(read_series(reader, (service.into(), probe.into(), replica.map(Replica::from)), size)?.into_iter());
    }
    let next = |place: u64| each.get_mut(place as usize).and_then(Iterator::next).ok_or(InvalidColumns);
    Ok(order.into_iter().map(next).collect::<Result<_, _>>()?)
}

fn write_series(out: &mut ColumnWriter, group: &[&Sample]) {
    let each = || group.iter().copied();
    let optional = |get: fn(&Sample) -> Option<u64>| each().map(get).collect::<Vec<_>>();
    let floats = |get: fn(&Sample) -> Option<f64>| each().map(get).collect::<Vec<_>>();
    out.numbers(&each().map(|sample| sample.at.nanos()).collect::<Vec<_>>());
    out.optional(&optional(|sample| sample.latency.map(heald_model::time::nanos)));
    out.optional(&optional(|sample| sample.ok.map(u64::from)));
    out.optional(&optional(|sample| sample.incarnation));
    out.optional(&optional(|sample| sample.status.map(|status| i64::from(status) as u64)));
    out.optional_words(each().map(|sample| sample.fault.as_deref()));
    out.optional_words(each().map(|sample| sample.message.as_deref()));
    out.optional_words(each().map(|sample| sample.reported.as_deref()));
    out.optional_floats(&floats(|sample| sample.cpu));
    out.optional_floats(&floats(|sample| sample.memory));
    out.optional_floats(&floats(|sample| sample.error_rate));
    let names: BTreeSet<&String> = each().flat_map(|sample| sample.values.keys()).collect();
    out.number(names.len() as u64);
    for name in names {
        let word = out.word(name);
        out.number(word);
        out.optional_floats(&each().map(|sample| sample.values.get(name).copied()).collect::<Vec<_>>());
    }
}

fn read_series(reader: &mut ColumnReader<'_>, key: SeriesKey, count: usize) -> Result<Vec<Sample>, Unreadable> {
    let (service, probe, replica) = key;
    let blank = |at| Sample { replica: replica.clone(), ..Sample::new(service.clone(), probe.clone(), at) };
    let mut samples: Vec<Sample> = reader.numbers(count)?.into_iter().map(|at| blank(Moment::from_nanos(at))).collect();
    fill(&mut samples, reader.optional(count)?, |sample, took| sample.latency = took.map(Duration::from_nanos));
    fill(&mut samples, reader.optional(count)?, |sample, ok| sample.ok = ok.map(|ok| ok != 0));
    fill(&mut samples, reader.optional(count)?, |sample, incarnation| sample.incarnation = incarnation);
    fill(&mut samples, reader.optional(count)?, |sample, status| sample.status = status.map(|status| status as i32));
    fill(&mut samples, reader.optional_words(count)?, |sample, word| sample.fault = word.map(str::to_owned));
    fill(&mut samples, reader.optional_words(count)?, |sample, word| sample.message = word.map(str::to_owned));
    fill(&mut samples, reader.optional_words(count)?, |sample, word| sample.reported = word.map(str::to_owned));
    fill(&mut samples, reader.optional_floats(count)?, |sample, value| sample.cpu = value);
    fill(&mut samples, reader.optional_floats(count)?, |sample, value| sample.memory = value);
    fill(&mut samples, reader.optional_floats(count)?, |sample, value| sample.error_rate = value);
    let names = reader.count()?;
    for _ in 0..names {
        let place = reader.number()?;
        let name = reader.text(place)?.to_owned();
        fill(&mut samples, reader.optional_floats(count)?, |sample, value| {
            sample.values.extend(value.map(|value| (name.clone(), value)));
        });
    }
    Ok(samples)
}

fn fill<T>(samples: &mut [Sample], values: Vec<T>, set: impl Fn(&mut Sample, T)) {
    samples.iter_mut().zip(values).for_each(|(sample, value)| set(sample, value));
}
