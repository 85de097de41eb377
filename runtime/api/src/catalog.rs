//! `GET /api/catalog`: what can be done, for which services and by whom, with what was learned of it.
//!
//! One list of two kinds of line. An issue's remedy that was tried has its experience, and who offers it now, if anybody
//! does; an offer that was never tried stands alone, without an issue. Nothing is made up to fill the gaps: no experience,
//! no confidence.

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
    let lines = lines(learned, &Remedy::all(api.control.offers(), &modes));
    Ok(Json(json!({"count": lines.len(), "catalog": lines})))
}

/// One offer with all the services that have it.
struct Remedy {
    offer: Offer,
    /// Whose service, and how decisions about that are treated.
    services: BTreeMap<ServiceName, Mode>,
}

impl Remedy {
    fn all(offers: Vec<(ServiceName, Offer)>, modes: &BTreeMap<ServiceName, Mode>) -> Vec<Self> {
        let mut remedies: Vec<Self> = Vec::new();
        for (service, offer) in offers {
            let mode = modes.get(&service).copied().unwrap_or_default();
            match remedies.iter_mut().find(|known| known.offer == offer) {
                Some(known) => known.services.extend([(service, mode)]),
                None => remedies.push(Self { offer, services: [(service, mode)].into() }),
            }
        }
        remedies
    }

    fn fits(&self, experience: &Experience) -> bool {
        let had = |service| self.services.contains_key(service);
        self.offer.action.name == experience.action && experience.service.as_ref().is_none_or(had)
    }
}

/// One line of the catalog.
#[derive(Debug, Default, Serialize)]
struct Line {
    /// `SERVICE_DOWN`; None: nothing is known of what it is good for.
    issue: Option<String>,
    action: String,
    /// The expected chance of success, 0..1; None: it was never tried.
    confidence: Option<f64>,
    tries: u32,
    successes: u32,
    /// Whether heald does it by itself, for some service at least.
    auto: bool,
    /// None: nobody offers it now.
    description: Option<String>,
    /// JSON Schema.
    parameters: Value,
    disruptive: Option<bool>,
    undoable: Option<bool>,
    /// Who offers it: `native`, or a plug-in with the beginning of its digest.
    source: Option<String>,
    /// That plug-in.
    plugin: Option<PluginName>,
    /// For which services it is offered.
    services: Vec<ServiceName>,
    // What was learned, in heald's own words.
    signature: Option<Signature>,
    /// Learned of this service; None: of all.
    service: Option<ServiceName>,
    alpha: Option<f64>,
    beta: Option<f64>,
    chance: Option<f64>,
    recovery_seconds: Option<f64>,
    recovery_p90_seconds: Option<f64>,
}

impl Line {
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

    /// As it is offered, for the service the line is about or for all that have it.
    fn offered(self, remedy: &Remedy) -> Self {
        let Offer { action, source, .. } = &remedy.offer;
        let about = |service: &ServiceName| self.service.as_ref().is_none_or(|own| own == service);
        let services = || remedy.services.iter().filter(|(service, _)| about(service));
        Self {
            action: action.name.clone(),
            // A mere message passes in every mode.
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

    /// Issues first, by name; of each what helps most; then what was never tried.
    fn order(&self, other: &Self) -> Ordering {
        let known = |line: &Self| (line.issue.is_none(), line.issue.clone());
        let helps = other.confidence.partial_cmp(&self.confidence).unwrap_or(Ordering::Equal);
        let named = |line: &Self| (line.action.clone(), line.service.clone(), line.source.clone());
        known(self).cmp(&known(other)).then(helps).then_with(|| named(self).cmp(&named(other)))
    }
}

fn lines(learned: Vec<Experience>, remedies: &[Remedy]) -> Vec<Line> {
    let mut lines = Vec::new();
    for experience in &learned {
        let mut offered = remedies.iter().filter(|remedy| remedy.fits(experience)).peekable();
        if offered.peek().is_none() {
            lines.push(Line::learned(experience));
        }
        lines.extend(offered.map(|remedy| Line::learned(experience).offered(remedy)));
    }
    let untried = remedies.iter().filter(|remedy| !learned.iter().any(|experience| remedy.fits(experience)));
    lines.extend(untried.map(|remedy| Line::default().offered(remedy)));
    lines.sort_by(Line::order);
    lines
}
