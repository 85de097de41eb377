//! A shelf of made-up plug-ins that keeps its state: `threshold` (active), `rules` (a shadow of `threshold`), `broken`
//! (never loaded).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use heald_control::*;
use heald_model::JournalError;
use heald_model::{Agreement, Difference, Quarantine};
use heald_model::{Fault, FaultCause, Moment, PluginName, PluginRef};
use serde_json::json;
use tokio::sync::Notify;

pub struct Shelf {
    pub plugins: Mutex<BTreeMap<String, PluginStatus>>,
    /// What was ordered, by whom.
    pub said: Mutex<Vec<String>>,
    /// Why nothing can be loaded now.
    pub refusal: Mutex<Option<String>>,
    /// The journal cannot be written.
    pub mute: AtomicBool,
    /// A reload waits for `go` if set.
    pub slow: AtomicBool,
    pub begun: Notify,
    pub go: Notify,
}

fn reference(name: &str, version: &str) -> PluginRef {
    PluginRef { name: name.into(), version: version.into(), digest: "ab".repeat(32) }
}

fn plugin(name: &str, mode: PluginMode) -> PluginStatus {
    PluginStatus {
        name: name.into(),
        state: PluginState::Running,
        why: None,
        mode,
        component: format!("builtin:detect-{name}"),
        origin: "configuration".into(),
        loaded: Some(reference(name, "0.1.0")),
        since: Some(Moment::from_millis(1_000)),
        summary: "looks at numbers".into(),
        roles: vec!["detector".into()],
        actions: Vec::new(),
        signed_by: None,
        requested: vec!["log".into(), "kv".into()],
        granted: vec!["kv".into()],
        revoked: Vec::new(),
        instead_of: None,
        services: vec!["writer".into(), "backend".into()],
        counters: PluginCounters {
            calls: 120,
            faults: [("trap".to_owned(), 2), ("made-up".to_owned(), 1)].into(),
            guest_seconds: 0.25,
            wall_seconds: 1.5,
            instances: 3,
            peak_memory_bytes: 1_114_112,
            bytes_out: 4096,
            host_calls: 7,
            dropped_log_lines: 5,
        },
        quarantine: vec![
            Quarantine { service: "writer".into(), strikes: 3, until: Some(Moment::from_millis(9_000)) },
            Quarantine { service: "backend".into(), strikes: 1, until: None },
        ],
        last_fault: Some(Fault::new(FaultCause::Trap, "unreachable")),
        agreement: None,
        schema: json!({"type": "object"}),
    }
}

impl Shelf {
    pub fn new() -> Arc<Self> {
        let rules = PluginStatus {
            instead_of: Some("threshold".into()),
            agreement: Some(Agreement {
                compared: 8,
                agreed: 6,
                disagreed: 2,
                would_have_acted: 2,
                ..Agreement::default()
            }),
            ..plugin("rules", PluginMode::Shadow)
        };
        let broken = PluginStatus {
            state: PluginState::Failed,
            why: Some("broken.wasm: no such file".into()),
            loaded: None,
            since: None,
            counters: PluginCounters::default(),
            quarantine: Vec::new(),
            last_fault: None,
            ..plugin("broken", PluginMode::Active)
        };
        let all = [plugin("threshold", PluginMode::Active), rules, broken];
        Arc::new(Self {
            plugins: Mutex::new(all.map(|plugin| (plugin.name.to_string(), plugin)).into()),
            said: Mutex::default(),
            refusal: Mutex::default(),
            mute: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            begun: Notify::new(),
            go: Notify::new(),
        })
    }

    fn change(
        &self,
        name: &str,
        said: &str,
        change: impl FnOnce(&mut PluginStatus) -> Result<(), PluginError>,
    ) -> Result<PluginStatus, PluginError> {
        self.status(name)?;
        if self.mute.load(Ordering::SeqCst) {
            return Err(JournalError::Unavailable("disk full".into()).into());
        }
        let mut plugins = self.plugins.lock().unwrap();
        let plugin = plugins.get_mut(name).unwrap();
        change(plugin)?;
        self.said.lock().unwrap().push(said.into());
        Ok(plugin.clone())
    }
}

fn nothing(why: &str) -> Result<(), PluginError> {
    Err(PluginError::NothingToDo(why.into()))
}

#[async_trait]
impl Plugins for Shelf {
    fn list(&self) -> Vec<PluginStatus> {
        self.plugins.lock().unwrap().values().cloned().collect()
    }

    fn status(&self, name: &str) -> Result<PluginStatus, PluginError> {
        let plugins = self.plugins.lock().unwrap();
        let none = || PluginError::NoPlugin { name: name.into(), known: plugins.keys().cloned().collect() };
        plugins.get(name).cloned().ok_or_else(none)
    }

    fn divergence(&self, name: &str) -> Result<Divergence, PluginError> {
        let status = self.status(name)?;
        let Some(agreement) = status.agreement else {
            return Err(PluginError::NothingToDo(format!("{name} is active: it is compared with nothing")));
        };
        let difference = Difference {
            at: Moment::from_millis(7_000),
            service: "writer".into(),
            incident: None,
            would: "restart".into(),
            did: "nothing".into(),
            by: "threshold@abababababab".into(),
        };
        Ok(Divergence {
            plugin: status.loaded.unwrap(),
            mode: status.mode,
            instead_of: status.instead_of.map(|name| PluginName::from(name.as_str())),
            since: Moment::from_millis(1_000),
            services: [("writer".into(), agreement.clone())].into(),
            agreement,
            differences: vec![difference],
        })
    }

    async fn reload(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError> {
        self.status(name)?;
        if self.slow.load(Ordering::SeqCst) {
            self.begun.notify_one();
            self.go.notified().await;
        }
        if let Some(why) = self.refusal.lock().unwrap().clone() {
            return Err(PluginError::Refused(why));
        }
        self.change(name, &format!("reload {name} {by}"), |plugin| {
            plugin.loaded = Some(reference(name, "0.2.0"));
            Ok(())
        })
    }

    async fn enable(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError> {
        self.change(name, &format!("enable {name} {by}"), |plugin| match plugin.state {
            PluginState::Disabled => {
                (plugin.state, plugin.why) = (PluginState::Running, None);
                Ok(())
            }
            _ => nothing("it is not disabled"),
        })
    }

    async fn disable(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError> {
        self.change(name, &format!("disable {name} {by}"), |plugin| {
            (plugin.state, plugin.why) = (PluginState::Disabled, Some(format!("disabled by {by}")));
            Ok(())
        })
    }

    async fn promote(&self, name: &str, by: &str) -> Result<PluginStatus, PluginError> {
        self.change(name, &format!("promote {name} {by}"), |plugin| match plugin.mode {
            PluginMode::Active => nothing("it is active already"),
            PluginMode::Shadow | PluginMode::Canary => {
                (plugin.mode, plugin.agreement) = (PluginMode::Active, None);
                Ok(())
            }
        })
    }

    async fn revoke(&self, name: &str, capability: &str, by: &str) -> Result<PluginStatus, PluginError> {
        self.change(name, &format!("revoke {capability} {name} {by}"), |plugin| {
            let Some(place) = plugin.granted.iter().position(|granted| granted == capability) else {
                return nothing(&format!("{capability} was never granted"));
            };
            plugin.revoked.push(plugin.granted.remove(place));
            Ok(())
        })
    }
}
