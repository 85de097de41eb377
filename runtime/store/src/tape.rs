//! The tape's chunks to and from their rows, and reading them without stepping over a gap.
//!
//! A look only means something after those before it, from a checkpoint on. So a chunk is read if it begins with a checkpoint or
//! goes on exactly where the one before it ended; everything else is left out until the next checkpoint, and said.

use std::io;
use std::time::Instant;

use heald_engine::calls::Look;
use heald_model::{Moment, ServiceName};
use rusqlite::{Connection, OptionalExtension, params};

use crate::blob::{Unreadable, pack, unpack};
use crate::calls::touch_settings;
use crate::chunk;
use crate::columns::Broken;
use crate::row::{integer, moment, wall};

/// Looks that are made bytes together: enough that their columns are worth it.
const SEGMENT: usize = 100;

/// A chunk on its way into its row: all that takes time is done.
#[derive(Debug)]
pub(crate) struct PackedChunk {
    service: ServiceName,
    first: Moment,
    last: Moment,
    begins: u64,
    looks: usize,
    checkpoint: bool,
    settings: Vec<String>,
    chunk: Vec<u8>,
}

impl PackedChunk {
    /// The segments of a reel as one.
    pub(crate) fn of(service: &ServiceName, reel: Reel) -> io::Result<Self> {
        let Reel { begins, count, first, last, checkpoint, settings, segments, .. } = reel;
        Ok(Self {
            service: service.clone(),
            first,
            last,
            begins,
            looks: count,
            checkpoint,
            settings,
            chunk: pack(&segments)?,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.chunk.len()
    }

    pub(crate) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        touch_settings(connection, &self.settings, self.last)?;
        connection
            .prepare_cached(
                "INSERT INTO tape (service, first, last, begins, looks, checkpoint, chunk) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                self.service.as_str(),
                wall(self.first),
                wall(self.last),
                integer(self.begins),
                integer(self.looks as u64),
                self.checkpoint,
                self.chunk,
            ])?;
        Ok(())
    }
}

/// Looks of one service that are to be a chunk. Most of them wait as bytes already: as they are, those of a hundred services would
/// take fifty megabytes.
#[derive(Debug)]
pub(crate) struct Reel {
    /// The number of the first.
    begins: u64,
    /// How many there are.
    count: usize,
    first: Moment,
    last: Moment,
    checkpoint: bool,
    settings: Vec<String>,
    loose: Vec<Look>,
    segments: Vec<u8>,
    since: Instant,
}

impl Reel {
    /// An empty one, whose first look is to have this number.
    pub(crate) fn begin(begins: u64) -> Self {
        Self {
            begins,
            count: 0,
            first: Moment::EPOCH,
            last: Moment::EPOCH,
            checkpoint: false,
            settings: Vec::new(),
            loose: Vec::new(),
            segments: Vec::new(),
            since: Instant::now(),
        }
    }

    /// The number that the next look must have.
    pub(crate) fn next(&self) -> u64 {
        self.begins + self.count as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// When the first look came.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Puts the next look behind the others.
    pub(crate) fn push(&mut self, look: Look) -> io::Result<()> {
        if self.is_empty() {
            (self.first, self.checkpoint, self.since) = (look.at, look.checkpoint.is_some(), Instant::now());
        }
        let detectors = look.checkpoint.iter().flat_map(|checkpoint| &checkpoint.detectors);
        self.settings.extend(detectors.map(|(_, settings, _)| settings.clone()));
        self.count += 1;
        self.last = self.last.max(look.at);
        self.loose.push(look);
        if self.loose.len() >= SEGMENT { self.press() } else { Ok(()) }
    }

    /// Makes bytes of what is loose.
    pub(crate) fn press(&mut self) -> io::Result<()> {
        if let Some(look) = self.loose.first() {
            let segment = chunk::write(&look.service, &self.loose)?;
            self.segments.extend(u32::try_from(segment.len()).unwrap_or(u32::MAX).to_le_bytes());
            self.segments.extend(segment);
            self.loose.clear();
        }
        Ok(())
    }
}

/// How far a tape was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The chunk that was read last.
    chunk: u64,
    /// The number that the next look must have; None: only a checkpoint will do.
    look: Option<u64>,
}

/// A piece of tape.
#[derive(Clone, Debug, Default)]
pub struct Strip {
    /// Looks in their order; empty if this piece cannot be used.
    pub looks: Vec<Look>,
    /// Something before this piece is missing: it begins with a checkpoint, or is empty. Says what.
    pub gap: Option<String>,
}

/// The services that are on tape, by name.
pub(crate) fn services(connection: &Connection) -> rusqlite::Result<Vec<ServiceName>> {
    let mut statement = connection.prepare_cached("SELECT DISTINCT service FROM tape ORDER BY service")?;
    statement.query_map([], |row| Ok(row.get::<_, String>(0)?.into()))?.collect()
}

/// Where to begin, so that all looks since then can be understood: at the last checkpoint before, else the first after.
pub(crate) fn begin(connection: &Connection, service: &ServiceName, since: Moment) -> rusqlite::Result<Place> {
    let before = connection
        .prepare_cached("SELECT max(seq) FROM tape WHERE service = ? AND checkpoint = 1 AND first <= ?")?
        .query_row(params![service.as_str(), wall(since)], |row| row.get::<_, Option<u64>>(0))?;
    Ok(Place { chunk: before.map_or(0, |seq| seq.saturating_sub(1)), look: None })
}

/// The next piece; None: the tape ends here.
pub(crate) fn next(
    connection: &Connection,
    service: &ServiceName,
    place: &mut Place,
) -> rusqlite::Result<Option<Strip>> {
    type Columns = (u64, i64, u64, u64, bool, Vec<u8>);
    let row: Option<Columns> = connection
        .prepare_cached(
            "SELECT seq, first, begins, looks, checkpoint, chunk FROM tape WHERE service = ? AND seq > ? ORDER BY seq LIMIT 1",
        )?
        .query_row(params![service.as_str(), integer(place.chunk)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })
        .optional()?;
    let Some((seq, first, begins, count, checkpoint, chunk)) = row else { return Ok(None) };
    let follows = place.look == Some(begins);
    // A life of heald begins with a checkpoint as its first look: nothing is missing before that.
    let missing = begins > 1 && place.look.is_some_and(|expected| expected != begins);
    *place = Place { chunk: seq, look: None };
    if !follows && !checkpoint {
        let gap = format!("looks before {} are missing, and no checkpoint follows them", moment(first));
        return Ok(Some(Strip { looks: Vec::new(), gap: Some(gap) }));
    }
    match read(&chunk, count) {
        Ok(looks) => {
            place.look = Some(begins + count);
            let gap = missing.then(|| format!("looks before {} are missing", moment(first)));
            Ok(Some(Strip { looks, gap }))
        }
        Err(why) => {
            let gap = format!("chunk {seq} of {service} from {} cannot be read: {why}", moment(first));
            Ok(Some(Strip { looks: Vec::new(), gap: Some(gap) }))
        }
    }
}

fn read(blob: &[u8], count: u64) -> Result<Vec<Look>, Unreadable> {
    let bytes = unpack(blob)?;
    let (mut rest, mut looks) = (bytes.as_slice(), Vec::new());
    while let Some((size, others)) = rest.split_first_chunk::<4>() {
        let (segment, others) = others.split_at_checked(u32::from_le_bytes(*size) as usize).ok_or(Broken)?;
        looks.extend(chunk::read(segment)?);
        rest = others;
    }
    if looks.len() as u64 == count {
        Ok(looks)
    } else {
        Err(Unreadable::Foreign(format!("{} looks where {count} should be", looks.len())))
    }
}
