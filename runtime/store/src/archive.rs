//! Reads a database from outside: beside a running heald, or from a copy.
//!
//! It is for commands and not for the runtime, because it blocks. It writes nothing and takes no lock that heald would
//! wait for.

use std::path::{Path, PathBuf};

use heald_model::{CallQuery, PluginSettings};
use heald_model::{Incident, IncidentId, Moment, ServiceName};
use rusqlite::Connection;

use crate::calls::{self, CallPage};
use crate::error::StoreError;
use crate::read;
use crate::schema;
use crate::tape::{self, TapeChunk, TapePosition};

/// A database that is only read.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    connection: Connection,
}

impl Archive {
    /// Opens a database to read in it. A running heald is not disturbed.
    ///
    /// # Errors
    ///
    /// When there is no database, when it is not heald's, has another schema or is damaged, or when the file system or
    /// SQLite refuses.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let connection = schema::visit(&path)?;
        Ok(Self { path, connection })
    }

    /// The path of the database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One page of kept calls.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn calls(&self, query: &CallQuery) -> Result<CallPage, StoreError> {
        self.read(calls::read(&self.connection, query))
    }

    /// The configuration with this digest, which a kept call or a checkpoint names.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn settings(&self, digest: &str) -> Result<Option<PluginSettings>, StoreError> {
        self.read(calls::settings(&self.connection, digest))
    }

    /// One incident with attempts and timeline.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn incident(&self, id: IncidentId) -> Result<Option<Incident>, StoreError> {
        self.read(read::incident(&self.connection, id))
    }

    /// The incidents whose ids begin with these hexadecimal digits (dashes do not matter), at most `limit`, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn incidents(&self, beginning: &str, limit: u32) -> Result<Vec<IncidentId>, StoreError> {
        self.read(read::ids(&self.connection, beginning, limit))
    }

    /// The services that have a tape.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn taped(&self) -> Result<Vec<ServiceName>, StoreError> {
        self.read(tape::services(&self.connection))
    }

    /// Reads the tape of a service so that all looks since `since` can be understood. The first looks may be from
    /// before.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn looks(&self, service: ServiceName, since: Moment) -> Result<TapeReader<'_>, StoreError> {
        let position = self.read(tape::begin(&self.connection, &service, since))?;
        Ok(TapeReader { archive: self, service, position })
    }

    fn read<T>(&self, read: rusqlite::Result<T>) -> Result<T, StoreError> {
        read.map_err(|source| StoreError::Database { path: self.path.clone(), source })
    }
}

/// Reads the tape of a service, chunk by chunk.
#[derive(Debug)]
pub struct TapeReader<'a> {
    archive: &'a Archive,
    service: ServiceName,
    position: TapePosition,
}

impl Iterator for TapeReader<'_> {
    type Item = Result<TapeChunk, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = tape::next(&self.archive.connection, &self.service, &mut self.position);
        self.archive.read(next).transpose()
    }
}
