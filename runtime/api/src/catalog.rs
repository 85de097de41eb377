//! `GET /api/catalog`: which actions are offered, for which services and by whom, and what was learned about them.
//!
//! The list has two kinds of line. An action that was tried has its experience, and who offers it now, if anybody does.
//! An offer that was never tried stands alone, without an issue. Gaps are not filled: no experience, no confidence.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use heald_model::{Experience, Mode, Offer, PluginName, ServiceName, Signature, Source};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Api;
use crate::failure::Failure;
use crate::view::capitals;

/// `GET /api/catalog`.
pub(crate) async fn catalog(State(api): State<Api>) -> Result<Json<Value>, Failure> {
    let learned = api.history.catalog().await?;
    let modes = api.control.services().into_iter().map(|service| (service.name, service.mode)).collect();
    let lines = lines(learned, &OfferedAction::all(api.control.offers(), &modes));
    Ok(Json(json!({"count": lines.len(), "catalog": lines})))
}

/// One offered action and all services that have it.
struct OfferedAction {
    offer: Offer,
    /// The services, and how decisions about each are treated.
    services: BTreeMap<ServiceName, Mode>,
}

impl OfferedAction {
    fn all(offers: Vec<(ServiceName, Offer)>, modes: &BTreeMap<ServiceName, Mode>) -> Vec<Self> {
        let mut actions: Vec<Self> = Vec::new();
        for (service, offer) in offers {
            let mode = modes.get(&service).copied().unwrap_or_default();
            match actions.iter_mut().find(|known| known.offer == offer) {
                Some(known) => known.services.extend([(service, mode)]),
                None => actions.push(Self { offer, services: [(service, mode)].into() }),
            }
        }
        actions
    }

    fn fits(&self, experience: &Experience) -> bool {
        let had = |service| self.services.contains_key(service);
        self.offer.action.name == experience.action && experience.service.as_ref().is_none_or(had)
    }
}

/// One line of the catalog.
#[derive(Debug, Default, Serialize)]
struct CatalogLine {
    /// `SERVICE_DOWN`; `None` if it is not known what the action helps against.
    issue: Option<String>,
    action: String,
    /// The expected chance of success, 0..1; `None` if the action was never tried.
    confidence: Option<f64>,
    tries: u32,
    successes: u32,
    /// Whether heald performs it by itself, for at least one service.
    auto: bool,
    /// `None` if nobody offers it now.
    description: Option<String>,
    /// JSON Schema.
    parameters: Value,
    disruptive: Option<bool>,
    undoable: Option<bool>,
    /// Who offers it: `native`, or a plug-in with the beginning of its digest.
    source: Option<String>,
    /// The plug-in that offers it.
    plugin: Option<PluginName>,
    /// The services that it is offered for.
    services: Vec<ServiceName>,
    // What follows was learned, in heald's own words.
    signature: Option<Signature>,
    /// The service that it was learned of; `None` for all services.
    service: Option<ServiceName>,
    alpha: Option<f64>,
    beta: Option<f64>,
    chance: Option<f64>,
    recovery_seconds: Option<f64>,
    recovery_p90_seconds: Option<f64>,
}

impl CatalogLine {
    fn learned(experience: &Experience) -> Self {
        let chance = experience.alpha / (experience.alpha + experience.beta);
        Self {
            issue: Some(capitals(experience.signature.as_str())),
            action: experience.action.clone(),
            confidence: Some(chance),
            tries: experience.tries,
            successes: experience.successes,
            signature: Some(experience.signature.clone()),
            service: experience.service.clone(),
            alpha: Some(experience.alpha),
            beta: Some(experience.beta),
            chance: Some(chance),
            recovery_seconds: experience.recovery.map(|took| took.as_secs_f64()),
            recovery_p90_seconds: experience.recovery_p90.map(|took| took.as_secs_f64()),
            ..Self::default()
        }
    }

    /// Adds the offer, for the service of the line or for all that have it.
    fn offered(self, offered_action: &OfferedAction) -> Self {
        let Offer { action, source, .. } = &offered_action.offer;
        let about = |service: &ServiceName| self.service.as_ref().is_none_or(|own| own == service);
        let services = || offered_action.services.iter().filter(|(service, _)| about(service));
        Self {
            action: action.name.clone(),
            // A message passes in every mode.
            auto: !action.disruptive || services().any(|(_, mode)| *mode == Mode::Auto),
            description: Some(action.summary.clone()),
            parameters: action.parameters.clone(),
            disruptive: Some(action.disruptive),
            undoable: Some(action.undoable),
            source: Some(source.to_string()),
            plugin: match source {
                Source::Plugin(plugin) => Some(plugin.name.clone()),
                Source::Native | Source::Operator(_) => None,
            },
            services: services().map(|(service, _)| service.clone()).collect(),
            ..self
        }
    }

    /// Lines with an issue come first, by name and by confidence; then what was never tried.
    fn order(&self, other: &Self) -> Ordering {
        let known = |line: &Self| (line.issue.is_none(), line.issue.clone());
        let helps = other.confidence.partial_cmp(&self.confidence).unwrap_or(Ordering::Equal);
        let named = |line: &Self| (line.action.clone(), line.service.clone(), line.source.clone());
        known(self).cmp(&known(other)).then(helps).then_with(|| named(self).cmp(&named(other)))
    }
}

fn lines(learned: Vec<Experience>, actions: &[OfferedAction]) -> Vec<CatalogLine> {
    let mut lines = Vec::new();
    for experience in &learned {
        let mut offered = actions.iter().filter(|offered_action| offered_action.fits(experience)).peekable();
        if offered.peek().is_none() {
            lines.push(CatalogLine::learned(experience));
        }
        lines.extend(offered.map(|offered_action| CatalogLine::learned(experience).offered(offered_action)));
    }
    let untried =
        actions.iter().filter(|offered_action| !learned.iter().any(|experience| offered_action.fits(experience)));
    lines.extend(untried.map(|offered_action| CatalogLine::default().offered(offered_action)));
    lines.sort_by(CatalogLine::order);
    lines
}
