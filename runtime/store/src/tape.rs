//! The tape: chunks of looks to and from their rows.
//!
//! A look can only be understood together with all looks since the last checkpoint. So a chunk is read only if it begins
//! with a checkpoint or follows the previous chunk without a gap. Everything else is skipped until the next checkpoint,
//! and the gap is reported.

use std::io;
use std::time::Instant;

use heald_model::TapeEntry;
use heald_model::{Moment, ServiceName};
use rusqlite::{Connection, OptionalExtension, params};

use crate::blob::{Unreadable, pack, unpack};
use crate::calls::touch_settings;
use crate::chunk;
use crate::columns::InvalidColumns;
use crate::row::{integer, moment, wall};

/// How many looks are encoded together; fewer would not be worth their columns.
const SEGMENT: usize = 100;

/// A chunk that is packed and ready to be inserted.
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
    /// Packs the segments of a builder.
    pub(crate) fn of(service: &ServiceName, builder: ChunkBuilder) -> io::Result<Self> {
        let ChunkBuilder { begins, count, first, last, checkpoint, settings, segments, .. } = builder;
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

/// Collects the looks of one service for one chunk. Most looks are encoded at once: as plain data, those of a hundred
/// services would take fifty megabytes.
#[derive(Debug)]
pub(crate) struct ChunkBuilder {
    /// The number of the first look.
    begins: u64,
    /// The number of looks.
    count: usize,
    first: Moment,
    last: Moment,
    checkpoint: bool,
    settings: Vec<String>,
    loose: Vec<TapeEntry>,
    segments: Vec<u8>,
    since: Instant,
}

impl ChunkBuilder {
    /// An empty builder whose first look must have this number.
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

    /// When the first look was added.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Adds the next look.
    pub(crate) fn push(&mut self, look: TapeEntry) -> io::Result<()> {
        if self.is_empty() {
            (self.first, self.checkpoint, self.since) = (look.at, look.checkpoint.is_some(), Instant::now());
        }
        let detectors = look.checkpoint.iter().flat_map(|checkpoint| &checkpoint.detectors);
        self.settings.extend(detectors.map(|(_, settings, _)| settings.clone()));
        self.count += 1;
        self.last = self.last.max(look.at);
        self.loose.push(look);
        if self.loose.len() >= SEGMENT { self.encode_pending() } else { Ok(()) }
    }

    /// Encodes the looks that are not encoded yet.
    pub(crate) fn encode_pending(&mut self) -> io::Result<()> {
        if let Some(look) = self.loose.first() {
            let segment = chunk::write(&look.service, &self.loose)?;
            self.segments.extend(u32::try_from(segment.len()).unwrap_or(u32::MAX).to_le_bytes());
            self.segments.extend(segment);
            self.loose.clear();
        }
        Ok(())
    }
}

/// How far a tape has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapePosition {
    /// The chunk that was read last.
    chunk: u64,
    /// The number that the next look must have; `None` if the next chunk must begin with a checkpoint.
    look: Option<u64>,
}

/// A chunk of the tape, as it is read.
#[derive(Clone, Debug, Default)]
pub struct TapeChunk {
    /// The looks in order; empty if the chunk cannot be used.
    pub looks: Vec<TapeEntry>,
    /// What is missing before this chunk. The chunk then begins with a checkpoint or is empty.
    pub gap: Option<String>,
}

/// The services that have a tape, by name.
pub(crate) fn services(connection: &Connection) -> rusqlite::Result<Vec<ServiceName>> {
    let mut statement = connection.prepare_cached("SELECT DISTINCT service FROM tape ORDER BY service")?;
    statement.query_map([], |row| Ok(row.get::<_, String>(0)?.into()))?.collect()
}

/// Where to begin reading, so that all looks since `since` can be understood: at the last checkpoint before, else at the
/// first after.
pub(crate) fn begin(connection: &Connection, service: &ServiceName, since: Moment) -> rusqlite::Result<TapePosition> {
    let before = connection
        .prepare_cached("SELECT max(seq) FROM tape WHERE service = ? AND checkpoint = 1 AND first <= ?")?
        .query_row(params![service.as_str(), wall(since)], |row| row.get::<_, Option<u64>>(0))?;
    Ok(TapePosition { chunk: before.map_or(0, |seq| seq.saturating_sub(1)), look: None })
}

/// Reads the next chunk; `None` at the end of the tape.
pub(crate) fn next(
    connection: &Connection,
    service: &ServiceName,
    position: &mut TapePosition,
) -> rusqlite::Result<Option<TapeChunk>> {
    type Columns = (u64, i64, u64, u64, bool, Vec<u8>);
    let row: Option<Columns> = connection
        .prepare_cached(
            "SELECT seq, first, begins, looks, checkpoint, chunk FROM tape WHERE service = ? AND seq > ? ORDER BY seq LIMIT 1",
        )?
        .query_row(params![service.as_str(), integer(position.chunk)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })
        .optional()?;
    let Some((seq, first, begins, count, checkpoint, chunk)) = row else { return Ok(None) };
    let follows = position.look == Some(begins);
    // The first look of every run of heald is a checkpoint, so nothing is missing before it.
    let missing = begins > 1 && position.look.is_some_and(|expected| expected != begins);
    *position = TapePosition { chunk: seq, look: None };
    if !follows && !checkpoint {
        let gap = format!("looks before {} are missing, and no checkpoint follows them", moment(first));
        return Ok(Some(TapeChunk { looks: Vec::new(), gap: Some(gap) }));
    }
    match read(&chunk, count) {
        Ok(looks) => {
            position.look = Some(begins + count);
            let gap = missing.then(|| format!("looks before {} are missing", moment(first)));
            Ok(Some(TapeChunk { looks, gap }))
        }
        Err(why) => {
            let gap = format!("chunk {seq} of {service} from {} cannot be read: {why}", moment(first));
            Ok(Some(TapeChunk { looks: Vec::new(), gap: Some(gap) }))
        }
    }
}

fn read(blob: &[u8], count: u64) -> Result<Vec<TapeEntry>, Unreadable> {
    let bytes = unpack(blob)?;
    let (mut rest, mut looks) = (bytes.as_slice(), Vec::new());
    while let Some((size, others)) = rest.split_first_chunk::<4>() {
        let (segment, others) = others.split_at_checked(u32::from_le_bytes(*size) as usize).ok_or(InvalidColumns)?;
        looks.extend(chunk::read(segment)?);
        rest = others;
    }
    if looks.len() as u64 == count {
        Ok(looks)
    } else {
        Err(Unreadable::Foreign(format!("{} looks where {count} should be", looks.len())))
    }
}
