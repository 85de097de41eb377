//! Performs actions for a service: heald's own on the processes it runs, a note in the log, and those of plug-ins.
//!
//! It consumes the permit and does once what the permit says. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use heald_engine::guard::Permit;
use heald_engine::ports::{ActionError, Actions, Clock, Entropy, Processes};
use heald_host::{PluginActions, Task, Touch, TouchError};
use heald_model::ProcessState;
use heald_model::{
    ActionInfo, Attempt, Breaker, Class, Incident, Intent, Offer, PluginName, Receipt, Replica, ServiceName,
    ServiceSpec, ServiceView, Source,
};
use heald_supervisor::{ReplicaProcess, Supervisor, Which};
use serde_json::{Value, json};

/// The stop grace of a process that does not answer. One that answers gets its configured grace.
const NO_ANSWER_GRACE: Duration = Duration::from_millis(500);

/// The causes that mean "no answer".
const NO_ANSWER: [&str; 2] = ["timeout", "unreachable"];

/// The names of heald's own actions. A plug-in's action of such a name is not offered.
pub(crate) const NATIVE: [&str; 5] = heald_config::NATIVE_ACTIONS;

/// Performs the actions of every service.
pub struct ActionExecutor {
    /// The processes that heald runs; None: it runs no processes.
    pub supervisor: Option<Supervisor>,
    /// Every service, by name.
    pub specs: BTreeMap<ServiceName, ServiceSpec>,
    /// The actions of plug-ins by service. A change of plug-ins replaces all of them.
    pub plugins: RwLock<BTreeMap<ServiceName, Vec<Arc<PluginActions>>>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random seeds for plug-ins.
    pub entropy: Arc<dyn Entropy>,
}

/// An action of heald's own.
fn native(name: &str, summary: &str, parameters: Value, disruptive: bool) -> Offer {
    let action = ActionInfo {
        name: name.to_owned(),
        summary: summary.to_owned(),
        parameters: json!({ "type": "object", "properties": parameters, "additionalProperties": false }),
        disruptive,
        undoable: false,
        facts: Vec::new(),
    };
    Offer { action, source: Source::Native, blocked: None }
}

/// What the process actions take: all copies, or one.
fn replica() -> Value {
    json!({ "type": "integer", "minimum": 0, "description": "one copy; all if left out" })
}

impl ActionExecutor {
    fn supervised(&self, service: &ServiceName) -> Option<(&Supervisor, &ServiceSpec)> {
        let spec = self.specs.get(service).filter(|spec| spec.supervised)?;
        Some((self.supervisor.as_ref()?, spec))
    }

    /// Replaces the actions of plug-ins. An action that is under way ends on the plug-in it began with.
    pub fn offer(&self, actions: BTreeMap<ServiceName, Vec<Arc<PluginActions>>>) {
        *self.plugins.write().unwrap_or_else(PoisonError::into_inner) = actions;
    }

    /// The services to which the plug-in of that name offers an action.
    pub fn audience(&self, plugin: &PluginName) -> BTreeSet<ServiceName> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        let offered =
            plugins.iter().filter(|(_, offered)| offered.iter().any(|actions| actions.plugin().name == *plugin));
        offered.map(|(service, _)| service.clone()).collect()
    }

    /// The actions that the plug-in of that name offers to any service.
    pub fn offered_by(&self, plugin: &PluginName) -> Vec<String> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        let its = plugins.values().flatten().filter(|actions| actions.plugin().name == *plugin);
        let names: BTreeSet<String> =
            its.flat_map(|actions| actions.infos().iter().map(|info| info.name.clone())).collect();
        names.into_iter().collect()
    }

    fn plugins_of(&self, service: &ServiceName) -> Vec<Arc<PluginActions>> {
        self.plugins.read().unwrap_or_else(PoisonError::into_inner).get(service).cloned().unwrap_or_default()
    }

    fn plugin_of(&self, service: &ServiceName, action: &str) -> Option<Arc<PluginActions>> {
        // No plug-in replaces one of heald's own actions.
        if NATIVE.contains(&action) {
            return None;
        }
        let mut plugins = self.plugins_of(service).into_iter();
        plugins.find(|plugin| plugin.infos().iter().any(|info| info.name == action))
    }

    /// Performs an action on processes that heald runs.
    async fn move_processes(&self, supervisor: &Supervisor, intent: &Intent) -> Result<Receipt, ActionError> {
        let service = &intent.service;
        let which = which(&intent.parameters)?;
        let id = intent.id.to_string();
        let grace = intent.cause.as_deref().filter(|cause| NO_ANSWER.contains(cause)).map(|_| NO_ANSWER_GRACE);
        let failed = |error: heald_supervisor::SupervisorError| ActionError::Failed(error.to_string());
        let started = match intent.action.as_str() {
            "start" => supervisor.start(service, which, &id).await.map_err(failed)?,
            // Only dead copies are started: copies that serve are left alone.
            "restart" if intent.class == Class::Restore => {
                supervisor.start(service, which, &id).await.map_err(failed)?
            }
            "restart" => supervisor.restart(service, which, &id, grace).await.map_err(failed)?,
            "stop" => {
                let stopped = supervisor.stop(service, which, grace).await.map_err(failed)?;
                let pids: Vec<String> = stopped.iter().map(|process| process.pid.to_string()).collect();
                let summary = if pids.is_empty() {
                    "it was not running".into()
                } else {
                    format!("stopped PID {}", pids.join(", "))
                };
                return Ok(self.receipt(summary, !pids.is_empty(), None));
            }
            "signal" => {
                let name = intent.parameters.get("signal").and_then(Value::as_str).unwrap_or_default();
                let number = heald_supervisor::config::signal_number(name).ok_or_else(|| {
                    ActionError::BadParameters(format!(
                        "signal: `{name}` is not the name of a signal; write one such as HUP"
                    ))
                })?;
                let count = supervisor.signal(service, which, number).await.map_err(failed)?;
                return Ok(self.receipt(
                    format!("sent {name} to {count} process{}", if count == 1 { "" } else { "es" }),
                    count > 0,
                    None,
                ));
            }
            other => return Err(ActionError::Unknown(other.to_owned())),
        };
        let fresh: Vec<_> = started.iter().filter(|started| started.fresh).collect();
        let summary = match fresh.as_slice() {
            [] => "it is already running".to_owned(),
            fresh => {
                let each = fresh.iter().map(|s| format!("PID {} (life {})", s.pid, s.incarnation));
                format!("started {}", each.collect::<Vec<_>>().join(", "))
            }
        };
        let incarnation = started.iter().map(|started| started.incarnation).min();
        Ok(self.receipt(summary, !fresh.is_empty(), incarnation))
    }

    fn receipt(&self, summary: String, changed: bool, incarnation: Option<u64>) -> Receipt {
        Receipt { summary, changed, incarnation, facts: Vec::new(), undo: None, at: self.clock.now() }
    }

    /// The service as a plug-in's action sees it.
    fn view(&self, service: &ServiceName) -> ServiceView {
        let spec = self.specs.get(service);
        let running =
            u32::try_from(self.of(service).iter().filter(|process| process.pid.is_some()).count()).unwrap_or(0);
        ServiceView {
            name: service.clone(),
            tags: spec.map(|spec| spec.tags.clone()).unwrap_or_default(),
            depends_on: Vec::new(),
            wanted: spec.map_or(0, |spec| spec.replicas),
            running,
            ready: running,
            breaker: Breaker::Closed,
            metadata: spec.map_or(Value::Null, |spec| spec.metadata.clone()),
            facts: Vec::new(),
        }
    }
}

/// Which copies the parameters mean.
fn which(parameters: &Value) -> Result<Which, ActionError> {
    match parameters.get("replica") {
        None | Some(Value::Null) => Ok(Which::All),
        Some(replica) => {
            let number = replica.as_u64().and_then(|number| u32::try_from(number).ok());
            number.map(Which::One).ok_or_else(|| {
                ActionError::BadParameters(format!(
                    "replica: {replica} is not the number of a copy; write a whole number from 0 up"
                ))
            })
        }
    }
}

/// Refuses a parameter that heald's own action does not take, and names those it takes.
fn check_names(info: &ActionInfo, parameters: &Value) -> Result<(), ActionError> {
    let (Some(given), Some(known)) =
        (parameters.as_object(), info.parameters.get("properties").and_then(Value::as_object))
    else {
        return Err(ActionError::BadParameters("the parameters must be a JSON object".into()));
    };
    match given.keys().find(|name| !known.contains_key(*name)) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<&str> = known.keys().map(String::as_str).collect();
            Err(ActionError::BadParameters(format!("`{name}` is unknown; `{}` takes: {}", info.name, known.join(", "))))
        }
    }
}

#[async_trait]
impl Actions for ActionExecutor {
    fn offers(&self, service: &ServiceName) -> Vec<Offer> {
        let mut offers = Vec::new();
        if self.supervised(service).is_some() {
            let signal = json!({
                "signal": { "type": "string", "description": "its name without SIG, such as HUP" },
                "replica": replica(),
            });
            offers.push(native(
                "restart",
                "stops the processes and starts them again",
                json!({ "replica": replica() }),
                true,
            ));
            offers.push(native("start", "starts the processes that do not run", json!({ "replica": replica() }), true));
            offers.push(native("stop", "stops the processes", json!({ "replica": replica() }), true));
            offers.push(native("signal", "sends a signal to the processes", signal, true));
        }
        let text = json!({ "message": { "type": "string", "description": "what to say" } });
        offers.push(native("notify", "says it in heald's log", text, false));
        for plugin in self.plugins_of(service) {
            let source = Source::Plugin(plugin.plugin().clone());
            let infos = plugin.infos().iter().filter(|info| !NATIVE.contains(&info.name.as_str()));
            offers.extend(infos.map(|info| {
                // A plug-in that may touch processes counts as disruptive, whatever it declares: the guard judges by what it could do.
                let disruptive = info.disruptive || plugin.touches_processes();
                let action = ActionInfo { disruptive, ..info.clone() };
                Offer { action, source: source.clone(), blocked: None }
            }));
        }
        offers
    }

    async fn perform(&self, permit: Permit, incident: Option<&Incident>) -> Result<Receipt, ActionError> {
        let intent = permit.intent();
        if let Some(plugin) = self.plugin_of(&intent.service, &intent.action) {
            let service = self.view(&intent.service);
            let task = self.task(intent, incident, &service);
            return Ok(plugin.perform(&task).await.map(|receipt| Receipt { at: self.clock.now(), ..receipt })?);
        }
        let offers = self.offers(&intent.service);
        let Some(offer) = offers.iter().find(|offer| offer.action.name == intent.action) else {
            return Err(ActionError::Unknown(intent.action.clone()));
        };
        check_names(&offer.action, &intent.parameters)?;
        if intent.action == "notify" {
            let said = intent.parameters.get("message").and_then(Value::as_str);
            let about = incident.and_then(Incident::leading).map(|concern| concern.finding.message.clone());
            let text = said.map(str::to_owned).or(about).unwrap_or_else(|| "something needs attention".into());
            let id = intent.incident.map(|id| id.to_string()).unwrap_or_default();
            tracing::warn!(service = %intent.service, incident = id, "{text}");
            return Ok(self.receipt(format!("said in the log: {text}"), false, None));
        }
        match self.supervised(&intent.service) {
            Some((supervisor, _)) => self.move_processes(supervisor, intent).await,
            None => Err(ActionError::Unknown(intent.action.clone())),
        }
    }

    async fn undo(&self, permit: Permit, attempt: &Attempt) -> Result<Receipt, ActionError> {
        let intent = permit.intent();
        let token = attempt.receipt.as_ref().and_then(|receipt| receipt.undo.as_deref());
        let (Some(token), Some(plugin)) = (token, self.plugin_of(&intent.service, &intent.action)) else {
            return Err(ActionError::Failed(format!("{} cannot be undone", intent.action)));
        };
        let service = self.view(&intent.service);
        Ok(plugin.undo(&self.task(intent, None, &service), token).await?)
    }

    async fn recall(&self, intent: &Intent) -> Option<Receipt> {
        let (supervisor, _) = self.supervised(&intent.service)?;
        let started = supervisor.recall(&intent.service, &intent.id.to_string()).await.ok()?;
        let incarnation = started.iter().map(|started| started.incarnation).min()?;
        Some(self.receipt("it had been started before heald died".into(), true, Some(incarnation)))
    }
}

impl ActionExecutor {
    fn task<'a>(&self, intent: &'a Intent, incident: Option<&'a Incident>, service: &'a ServiceView) -> Task<'a> {
        Task {
            now: self.clock.now(),
            seed: self.entropy.roll(),
            attempt: intent.id,
            service,
            incident,
            action: &intent.action,
            parameters: &intent.parameters,
        }
    }
}

impl Processes for ActionExecutor {
    fn of(&self, service: &ServiceName) -> Vec<ProcessState> {
        self.supervised(service).map(|(supervisor, _)| states(supervisor, service)).unwrap_or_default()
    }
}

/// A plug-in's action touches processes the way heald's own actions do: through the supervisor and the keeper.
#[async_trait]
impl Touch for ActionExecutor {
    async fn start(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError> {
        let (supervisor, which, id) = self.hold(service, replica)?;
        supervisor.start(service, which, &id).await.map(drop).map_err(untouched)
    }

    async fn stop(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError> {
        let (supervisor, which, _) = self.hold(service, replica)?;
        supervisor.stop(service, which, None).await.map(drop).map_err(untouched)
    }

    async fn restart(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError> {
        let (supervisor, which, id) = self.hold(service, replica)?;
        supervisor.restart(service, which, &id, None).await.map(drop).map_err(untouched)
    }

    async fn signal(&self, service: &ServiceName, replica: Option<&str>, name: &str) -> Result<(), TouchError> {
        let (supervisor, which, _) = self.hold(service, replica)?;
        let number = heald_supervisor::config::signal_number(name).ok_or_else(|| {
            TouchError::BadInput(format!("`{name}` is not the name of a signal; write one such as HUP"))
        })?;
        supervisor.signal(service, which, number).await.map(drop).map_err(untouched)
    }

    fn children(&self, service: &ServiceName) -> Vec<ProcessState> {
        self.of(service)
    }
}

fn untouched(error: heald_supervisor::SupervisorError) -> TouchError {
    TouchError::Failed(error.to_string())
}

impl ActionExecutor {
    /// The supervisor, the copies that are meant, and an id for processes that are started.
    fn hold(&self, service: &ServiceName, replica: Option<&str>) -> Result<(&Supervisor, Which, String), TouchError> {
        let (supervisor, _) = self
            .supervised(service)
            .ok_or_else(|| TouchError::NotFound(format!("heald runs no processes of {service}")))?;
        let which = match replica.map(|replica| (replica, replica.parse())) {
            None => Which::All,
            Some((_, Ok(number))) => Which::One(number),
            Some((replica, Err(_))) => {
                return Err(TouchError::NotFound(format!("{service} has no copy `{replica}`")));
            }
        };
        Ok((supervisor, which, self.entropy.id(self.clock.now()).to_string()))
    }
}

/// The copies of a service as they stand.
pub fn states(supervisor: &Supervisor, service: &ServiceName) -> Vec<ProcessState> {
    let config = supervisor.services().find(|known| known.name == *service).map(|known| &known.config);
    let finished = |process: &ReplicaProcess| {
        let end = process.ended.as_ref().filter(|ended| !ended.asked).map(|ended| ended.end);
        config.zip(end).is_some_and(|(config, end)| !config.runs_again(end))
    };
    let processes = supervisor.processes(service).into_iter();
    processes
        .map(|process| ProcessState {
            finished: finished(&process),
            replica: Replica::from(process.replica.to_string()),
            incarnation: process.incarnation,
            pid: process.is_running().then_some(process.pid),
            started: process.started,
            ended: process.ended.map(|ended| ended.at),
        })
        .collect()
}
