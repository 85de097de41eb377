//! From a configured copy to the keeper's request, and its answer.

use std::path::PathBuf;

use heald_keeper::protocol::{Ask, Done, Log, Place, Refusal, Spawn};
use heald_model::ServiceName;
use tracing::info;

use super::Supervisor;
use crate::config::ProcessConfig;
use crate::environment::{account, environment};
use crate::terms::{ServiceProcess, Started, SupervisorError};

impl Supervisor {
    /// Has a copy started. Nobody lives there, or the keeper refuses.
    pub(super) async fn spawn(
        &self,
        service: &ServiceProcess,
        place: Place,
        intent: &str,
    ) -> Result<Started, SupervisorError> {
        let before = self.inner.shared.roster().incarnation(&place);
        let request = self.request(service, place, intent)?;
        match self.ask(Ask::Spawn(Box::new(request))).await? {
            Done::Spawned(child) => {
                let fresh = child.incarnation > before;
                info!(service = %service.name, replica = child.place.replica, pid = child.pid, fresh, "started");
                Ok(Started::of(&child, fresh))
            }
            other => Err(SupervisorError::Refused(Refusal::Invalid(format!("{other:?} answers no spawn")))),
        }
    }

    fn request(&self, service: &ServiceProcess, place: Place, intent: &str) -> Result<Spawn, SupervisorError> {
        let config = &service.config;
        let env = environment(config, service.name.as_str(), place.replica)
            .map_err(|source| SupervisorError::EnvFile { path: config.env_file.clone().unwrap_or_default(), source })?;
        let user = match &config.user {
            Some(name) => Some(account(name).ok_or_else(|| SupervisorError::User(name.clone()))?.user),
            None => None,
        };
        Ok(Spawn {
            spawn: spawn_id(intent, &place),
            command: config.command.clone(),
            env,
            cwd: config.cwd.clone(),
            user,
            log: Some(Log {
                path: self.log_path(service, place.replica),
                max_bytes: config.log.max_size,
                keep: config.log.keep,
            }),
            fallback: config.fallback(),
            stop: config.stop(),
            tag: digest(config),
            place,
        })
    }

    /// The file a copy's output goes to.
    pub(super) fn log_path(&self, service: &ServiceProcess, replica: u32) -> PathBuf {
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

    /// Where a copy's output goes, if heald runs it.
    pub fn log(&self, service: &ServiceName, replica: u32) -> Option<PathBuf> {
        Some(self.log_path(self.inner.services.get(service)?, replica))
    }
}

/// One intent can start several copies of several services; each is a process of its own.
pub(super) fn spawn_id(intent: &str, place: &Place) -> String {
    format!("{intent}/{place}")
}

/// A service may be called anything; a file may not.
fn file_name(service: &str) -> String {
    service.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect()
}

/// A short text that differs when the configuration does (FNV-1a: stable across builds, and nobody attacks it).
pub(super) fn digest(config: &ProcessConfig) -> String {
    let text = serde_json::to_vec(config).unwrap_or_default();
    let hash = text
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
