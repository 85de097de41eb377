//! The desired states of a running heald: the file that keeps them, and the keeper, which must know what it may not start
//! again while there is no runtime.
//!
//! The keeper knows of a halt, a pause or a stop before the order is acknowledged. It decides nothing about services.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use heald_engine::ports::DesiredStates;
use heald_model::{Desired, JournalError, ServiceName};
use heald_store::DesiredStateFile;
use heald_supervisor::{RestartHold, Supervisor, SupervisorError};

/// The desired states, told to the keeper.
pub struct KeptDesiredStates {
    file: Arc<DesiredStateFile>,
    /// None without a keeper.
    supervisor: Option<Supervisor>,
    /// The file cannot be read, so nobody knows what is wanted.
    unreadable: AtomicBool,
    /// What the keeper was told last. Held while it is told, so that the newest state is told last.
    told: tokio::sync::Mutex<Option<RestartHold>>,
}

impl KeptDesiredStates {
    /// The states in this file. The keeper is not told yet.
    pub fn new(file: DesiredStateFile, unreadable: bool, supervisor: Option<Supervisor>) -> Self {
        let (file, unreadable) = (Arc::new(file), AtomicBool::new(unreadable));
        Self { file, supervisor, unreadable, told: tokio::sync::Mutex::default() }
    }

    /// The file.
    pub fn file(&self) -> &DesiredStateFile {
        &self.file
    }

    /// Tells the keeper what it may not start again, unless it knows. `also` is a service that is about to be paused or
    /// stopped.
    ///
    /// # Errors
    /// When the keeper does not answer. It is then told the present state once more, in case it reads both later.
    pub async fn tell_keeper(&self, also: Option<&ServiceName>) -> Result<(), SupervisorError> {
        let Some(supervisor) = &self.supervisor else { return Ok(()) };
        let mut told = self.told.lock().await;
        let present = self.restart_hold(supervisor);
        let mut hold = present.clone();
        hold.services.extend(also.map(ToString::to_string));
        if told.as_ref() == Some(&hold) {
            return Ok(());
        }
        *told = None;
        if let Err(error) = supervisor.hold_restarts(hold.clone()).await {
            let supervisor = supervisor.clone();
            tokio::spawn(async move { supervisor.hold_restarts(present).await });
            return Err(error);
        }
        *told = Some(hold);
        Ok(())
    }

    fn restart_hold(&self, supervisor: &Supervisor) -> RestartHold {
        if self.unreadable.load(Ordering::Relaxed) {
            // Healing is halted as long as the file cannot be read. The halt itself is not to be remembered: it ends when
            // the file is repaired.
            let services = supervisor.services().map(|service| service.name.to_string()).collect();
            return RestartHold { halted: false, services };
        }
        let services: BTreeSet<String> = self.file.all().keys().map(ToString::to_string).collect();
        RestartHold { halted: self.file.halted(), services }
    }

    fn changed(&self, kept: Result<(), JournalError>) -> Result<(), JournalError> {
        if kept.is_ok() {
            self.unreadable.store(false, Ordering::Relaxed);
        }
        kept
    }
}

fn untold(error: SupervisorError) -> JournalError {
    JournalError::Unavailable(format!("the keeper could not be told: {error}"))
}

#[async_trait]
impl DesiredStates for KeptDesiredStates {
    fn desired(&self, service: &ServiceName) -> Desired {
        self.file.desired(service)
    }

    fn halted(&self) -> bool {
        self.file.halted()
    }

    async fn set_halted(&self, halted: bool) -> Result<(), JournalError> {
        // The file takes it into memory at once. Neither the disk nor the keeper waits for the other.
        let (kept, told) = tokio::join!(self.file.set_halted(halted), self.tell_keeper(None));
        self.changed(kept)?;
        told.map_err(untold)?;
        // The file may have become readable with this change.
        self.tell_keeper(None).await.map_err(untold)
    }

    async fn set_desired(&self, service: &ServiceName, desired: Desired) -> Result<(), JournalError> {
        if desired != Desired::Running {
            self.tell_keeper(Some(service)).await.map_err(untold)?;
        }
        let kept = self.changed(self.file.set_desired(service, desired).await);
        // If the change was not kept, this takes it back.
        let told = self.tell_keeper(None).await;
        kept?;
        told.map_err(untold)
    }
}
