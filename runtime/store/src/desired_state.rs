//! What the operator wants of each service, in a small file of its own: a person can read it, and no fate of the
//! journal's touches it.
//!
//! Each change is written to a new file, synced, and moved over the old one. A file that cannot be read is never
//! overwritten: it stays until the first new wish and is then set aside, and until somebody has spoken heald must only
//! observe.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use heald_engine::ports::{JournalError, Wishes};
use heald_model::{Desired, ServiceName};
use serde::{Deserialize, Serialize};

use crate::lock::beside;

/// The version of the file's form.
const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    /// What is wanted to run is not listed: that is the default.
    services: BTreeMap<ServiceName, Desired>,
}

/// The wishes and the file they are in.
#[derive(Debug)]
pub struct WishFile {
    shared: Arc<Shared>,
}

/// What was found when the file was opened.
#[derive(Debug)]
pub struct OpenedWishes {
    /// The wishes.
    pub wishes: WishFile,
    /// True if there is a file that cannot be read: nobody knows what is wanted, so heald must only observe.
    pub unreadable: bool,
    /// What an operator should know.
    pub notes: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    known: Mutex<BTreeMap<ServiceName, Desired>>,
    /// Held while the file is written, so that the last wish is the last written. True: what is there now cannot be
    /// read.
    writing: Mutex<bool>,
}

impl WishFile {
    /// Reads the file; that there is none is fine.
    pub fn open(path: impl Into<PathBuf>) -> OpenedWishes {
        let path = path.into();
        let (known, problem) = match read(&path) {
            Ok(known) => (known, None),
            Err(problem) => (BTreeMap::new(), Some(problem)),
        };
        let unreadable = problem.is_some();
        let notes: Vec<String> = problem
            .map(|problem| {
                format!(
                    "the desired state in {} cannot be read ({problem}); heald only observes until it is mended or replaced",
                    path.display()
                )
            })
            .into_iter()
            .collect();
        for note in &notes {
            tracing::error!("{note}");
        }
        let shared = Shared { path, known: Mutex::new(known), writing: Mutex::new(unreadable) };
        OpenedWishes { wishes: Self { shared: Arc::new(shared) }, unreadable, notes }
    }

    /// Every wish that is not [`Desired::Running`].
    pub fn all(&self) -> BTreeMap<ServiceName, Desired> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Wishes for WishFile {
    fn desired(&self, service: &ServiceName) -> Desired {
        let known = self.shared.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(service).copied().unwrap_or_default()
    }

    async fn wish(&self, service: &ServiceName, desired: Desired) -> Result<(), JournalError> {
        let (shared, service) = (Arc::clone(&self.shared), service.clone());
        let kept = tokio::task::spawn_blocking(move || shared.keep(service, desired)).await;
        kept.map_err(|error| JournalError::Unavailable(error.to_string()))?.map_err(|error| {
            JournalError::Unavailable(format!("the desired state in {}: {error}", self.shared.path.display()))
        })
    }
}

impl Shared {
    fn keep(&self, service: ServiceName, desired: Desired) -> io::Result<()> {
        let mut unreadable = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut services = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match desired {
            Desired::Running => services.remove(&service),
            other => services.insert(service, other),
        };
        if *unreadable {
            set_aside(&self.path)?;
            *unreadable = false;
        }
        write(&self.path, &Document { version: VERSION, services: services.clone() })?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = services;
        Ok(())
    }
}

fn read(path: &Path) -> Result<BTreeMap<ServiceName, Desired>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.to_string()),
    };
    let document: Document = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match document.version {
        VERSION => Ok(document.services),
        newer => Err(format!("it has version {newer}, this heald knows version {VERSION}")),
    }
}

fn write(path: &Path, document: &Document) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(document)?;
    text.push(b'\n');
    replace_file(path, &text)
}

/// Puts a file in the place of another so that at every moment, and after a crash, one of the two is there, whole. Durable when
/// it returns.
///
/// # Errors
/// When the file system refuses; then the old one is still there.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = File::create(&new)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The rename is durable once the folder is.
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn set_aside(path: &Path) -> io::Result<()> {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let names = (0..)
        .map(|n: u32| if n == 0 { format!(".unreadable-{seconds}") } else { format!(".unreadable-{seconds}-{n}") });
    let aside = names.map(|ending| beside(path, &ending)).find(|aside| !aside.exists());
    let aside = aside.unwrap_or_else(|| beside(path, ".unreadable"));
    tracing::warn!(aside = %aside.display(), "the unreadable desired state is set aside");
    fs::rename(path, aside)
}
