//! Turns a configured replica into a spawn request to the keeper.

use std::path::PathBuf;

use heald_keeper::protocol::{KeeperCommand, KeeperRefusal, KeeperReply, Log, SlotId, SpawnRequest};
use heald_model::ServiceName;
use tracing::info;

use super::Supervisor;
use crate::account::account;
use crate::config::ProcessConfig;
use crate::environment::environment;
use crate::terms::{Started, SupervisedService, SupervisorError};

impl Supervisor {
    /// Has a replica started. The keeper refuses if its slot is occupied.
    pub(super) async fn spawn(
        &self,
        service: &SupervisedService,
        slot: SlotId,
        intent: &str,
    ) -> Result<Started, SupervisorError> {
        let before = self.inner.shared.table().incarnation(&slot);
        let request = self.request(service, slot, intent)?;
        match self.ask(KeeperCommand::Spawn(Box::new(request))).await? {
            KeeperReply::Spawned(child) => {
                let fresh = child.incarnation > before;
                info!(service = %service.name, replica = child.slot.replica, pid = child.pid, fresh, "the process was started");
                Ok(Started::of(&child, fresh))
            }
            other => Err(SupervisorError::Refused(KeeperRefusal::Invalid(format!(
                "{other:?} is no answer to a spawn request"
            )))),
        }
    }

    fn request(
        &self,
        service: &SupervisedService,
        slot: SlotId,
        intent: &str,
    ) -> Result<SpawnRequest, SupervisorError> {
        let config = &service.config;
        let env = environment(config, service.name.as_str(), slot.replica)
            .map_err(|source| SupervisorError::EnvFile { path: config.env_file.clone().unwrap_or_default(), source })?;
        let user = match &config.user {
            Some(name) => Some(account(name).ok_or_else(|| SupervisorError::User(name.clone()))?.user),
            None => None,
        };
        Ok(SpawnRequest {
            spawn: spawn_id(intent, &slot),
            command: config.command.clone(),
            env,
            cwd: config.cwd.clone(),
            user,
            log: Some(Log {
                path: self.log_path(service, slot.replica),
                max_bytes: config.log.max_size,
                keep: config.log.keep,
            }),
            fallback: config.fallback(),
            stop: config.stop(),
            tag: digest(config),
            slot,
        })
    }

    /// The log file of a replica.
    pub(super) fn log_path(&self, service: &SupervisedService, replica: u32) -> PathBuf {
        let path = match &service.config.log.path {
            Some(path) => path.clone(),
            None => self.inner.log_dir.join(format!("{}.log", file_name(service.name.as_str()))),
        };
        match replica {
            0 => path,
            _ => {
                let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned());
                path.with_extension([replica.to_string()].into_iter().chain(extension).collect::<Vec<_>>().join("."))
            }
        }
    }

    /// The log file of a replica, if heald runs the service.
    pub fn log(&self, service: &ServiceName, replica: u32) -> Option<PathBuf> {
        Some(self.log_path(self.inner.services.get(service)?, replica))
    }
}

/// The spawn id of a replica. One intent can start several replicas of several services.
pub(super) fn spawn_id(intent: &str, slot: &SlotId) -> String {
    format!("{intent}/{slot}")
}

/// A service may have any name; a file may not.
fn file_name(service: &str) -> String {
    service.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect()
}

/// A short text that differs when the configuration does (FNV-1a: stable across builds, and not attacked here).
pub(super) fn digest(config: &ProcessConfig) -> String {
    let text = serde_json::to_vec(config).unwrap_or_default();
    let hash = text
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
