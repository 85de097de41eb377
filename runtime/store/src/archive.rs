//! A look into a database from outside: beside a running heald, or into a copy. It only reads, takes no lock that heald would wait for,
//! and blocks; it is for commands, not for the runtime.

use std::path::{Path, PathBuf};

use heald_engine::calls::{CallQuery, Settings};
use heald_model::{Incident, IncidentId, Moment, ServiceName};
use rusqlite::Connection;

use crate::calls::{self, Calls};
use crate::error::StoreError;
use crate::read;
use crate::schema;
use crate::tape::{self, Place, Strip};

/// An open database that is only read.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    connection: Connection,
}

impl Archive {
    /// Opens a database to read in it. A running heald is not disturbed.
    ///
    /// # Errors
    /// When there is none, it is not heald's, of another age, damaged, or the file system or SQLite refuses.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let connection = schema::visit(&path)?;
        Ok(Self { path, connection })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One page of kept calls.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn calls(&self, query: &CallQuery) -> Result<Calls, StoreError> {
        self.read(calls::read(&self.connection, query))
    }

    /// A configuration that a kept call or a checkpoint names.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn settings(&self, digest: &str) -> Result<Option<Settings>, StoreError> {
        self.read(calls::settings(&self.connection, digest))
    }

    /// One incident, whole.
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

    /// The services that are on tape.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn taped(&self) -> Result<Vec<ServiceName>, StoreError> {
        self.read(tape::services(&self.connection))
    }

    /// A service's tape, so that all looks since then can be understood: some of what it gives is from before.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn looks(&self, service: ServiceName, since: Moment) -> Result<Looks<'_>, StoreError> {
        let place = self.read(tape::begin(&self.connection, &service, since))?;
        Ok(Looks { archive: self, service, place })
    }

    fn read<T>(&self, read: rusqlite::Result<T>) -> Result<T, StoreError> {
        read.map_err(|source| StoreError::Database { path: self.path.clone(), source })
    }
}

/// A service's tape, piece by piece.
#[derive(Debug)]
pub struct Looks<'a> {
    archive: &'a Archive,
    service: ServiceName,
    place: Place,
}

impl Iterator for Looks<'_> {
    type Item = Result<Strip, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = tape::next(&self.archive.connection, &self.service, &mut self.place);
        self.archive.read(next).transpose()
    }
}
