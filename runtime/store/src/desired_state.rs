//! The desired state of each service, in a small file of its own. A person can read it, and damage to the journal does
//! not touch it.
//!
//! Each change is written to a new file, synced, and moved over the old one. A file that cannot be read is never
//! overwritten: it stays until the first change and is then set aside. Until then all healing is halted.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use heald_engine::ports::DesiredStates;
use heald_model::JournalError;
use heald_model::{Desired, ServiceName};
use serde::{Deserialize, Serialize};

use crate::files::{read_text, replace_file, set_aside};

/// The version of the file format.
const VERSION: u32 = 1;
/// The most that is read of a file. A thousand services take 50 KB.
const LIMIT: u64 = 16 << 20;

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DesiredStateDocument {
    version: u32,
    /// Services that are to run are not listed, because that is the default.
    services: BTreeMap<ServiceName, Desired>,
    /// All healing is halted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    halted: bool,
}

/// The desired states, and the file that keeps them.
#[derive(Debug)]
pub struct DesiredStateFile {
    shared: Arc<SharedDocument>,
}

/// The opened file, and what was found in it.
#[derive(Debug)]
pub struct OpenedDesiredState {
    /// The file.
    pub file: DesiredStateFile,
    /// True if the file exists and cannot be read. Nobody knows what is wanted then, so all healing is halted.
    pub unreadable: bool,
    /// Notes for the operator.
    pub notes: Vec<String>,
}

/// What is wanted, of the services and of heald.
#[derive(Clone, Debug, Default)]
struct KnownStates {
    services: BTreeMap<ServiceName, Desired>,
    halted: bool,
}

#[derive(Debug)]
struct SharedDocument {
    path: PathBuf,
    known: Mutex<KnownStates>,
    /// Held while the file is written, so that the last change is written last. True if the present file cannot be read.
    writing: Mutex<bool>,
}

impl DesiredStateFile {
    /// Reads the file. A missing file is fine.
    pub fn open(path: impl Into<PathBuf>) -> OpenedDesiredState {
        let path = path.into();
        let (known, problem) = match read(&path) {
            Ok(known) => (known, None),
            // Nobody knows whether healing was halted, so it is.
            Err(problem) => (KnownStates { halted: true, ..KnownStates::default() }, Some(problem)),
        };
        let unreadable = problem.is_some();
        let notes: Vec<String> = problem
            .map(|problem| {
                format!(
                    "the desired state in {} cannot be read ({problem}); all healing is halted until `heald resume --all`",
                    path.display()
                )
            })
            .into_iter()
            .collect();
        for note in &notes {
            tracing::error!("{note}");
        }
        let shared = SharedDocument { path, known: Mutex::new(known), writing: Mutex::new(unreadable) };
        OpenedDesiredState { file: Self { shared: Arc::new(shared) }, unreadable, notes }
    }

    /// Every desired state that is not [`Desired::Running`].
    pub fn all(&self) -> BTreeMap<ServiceName, Desired> {
        self.shared.known().services.clone()
    }
}

#[async_trait]
impl DesiredStates for DesiredStateFile {
    fn desired(&self, service: &ServiceName) -> Desired {
        self.shared.known().services.get(service).copied().unwrap_or_default()
    }

    fn halted(&self) -> bool {
        self.shared.known().halted
    }

    async fn set_halted(&self, halted: bool) -> Result<(), JournalError> {
        // In memory at once, whatever becomes of the file: the kill switch waits for no disk.
        self.shared.known().halted = halted;
        self.write(move |known| known.halted = halted).await
    }

    async fn set_desired(&self, service: &ServiceName, desired: Desired) -> Result<(), JournalError> {
        let service = service.clone();
        let change = move |known: &mut KnownStates| {
            match desired {
                Desired::Running => known.services.remove(&service),
                other => known.services.insert(service, other),
            };
        };
        self.write(change).await
    }
}

impl DesiredStateFile {
    /// Changes what is known once the change is in the file.
    async fn write(&self, change: impl FnOnce(&mut KnownStates) + Send + 'static) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.shared);
        let kept = tokio::task::spawn_blocking(move || shared.keep(change)).await;
        kept.map_err(|error| JournalError::Unavailable(error.to_string()))?.map_err(|error| {
            JournalError::Unavailable(format!("the desired state in {}: {error}", self.shared.path.display()))
        })
    }
}

impl SharedDocument {
    fn known(&self) -> MutexGuard<'_, KnownStates> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, change: impl FnOnce(&mut KnownStates)) -> io::Result<()> {
        let mut unreadable = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.known().clone();
        change(&mut known);
        if *unreadable {
            set_aside(&self.path)?;
            *unreadable = false;
        }
        let KnownStates { services, halted } = known.clone();
        write(&self.path, &DesiredStateDocument { version: VERSION, services, halted })?;
        *self.known() = known;
        Ok(())
    }
}

fn read(path: &Path) -> Result<KnownStates, String> {
    let text = match read_text(path, LIMIT) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(KnownStates::default()),
        Err(error) => return Err(error.to_string()),
    };
    let document: DesiredStateDocument = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match document.version {
        VERSION => Ok(KnownStates { services: document.services, halted: document.halted }),
        newer => Err(format!("it has version {newer}, this heald knows version {VERSION}")),
    }
}

fn write(path: &Path, document: &DesiredStateDocument) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(document)?;
    text.push(b'\n');
    replace_file(path, &text)
}
