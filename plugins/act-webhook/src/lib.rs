//! The action `webhook`: tells somebody else, by a POST of JSON to a host that the operator granted.
//!
//! Its delivery is its proof: an answer of 200 to 299 is a receipt, with the status and the id under which it was delivered. The id is
//! that of the attempt (`webhook-id`, as Standard Webhooks has it), so a receiver can tell one that is sent again. What may work
//! later (no answer, 408, 425, 429, 5xx) is `unavailable`, and heald tries again; anything else is an error that says so.
//!
//! It signs nothing and holds no secret: credentials are headers in the grant, which the host adds on the way out. The path of a
//! webhook's address is often a secret itself, so receipts and errors name the host alone.
#![deny(unsafe_code)]

mod delivery;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use heald_plugin::http::Request;
use heald_plugin::{Action, ActionInfo, Error, Plan, Problem, Receipt, Task};
use serde::Deserialize;
use serde_json::{Value, json};

use template::Words;

/// As the operator writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to.
    pub url: String,
    /// What the action is called.
    #[serde(default = "action_name")]
    pub action: String,
    /// How long to wait for an answer.
    #[serde(default = "timeout", deserialize_with = "heald_plugin::duration::read")]
    pub timeout: Duration,
    /// Headers to send along.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What to send, if not heald's own.
    #[serde(default)]
    pub body: Option<Value>,
}

fn action_name() -> String {
    "webhook".to_owned()
}

fn timeout() -> Duration {
    Duration::from_secs(10)
}

/// What may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Parameters {
    message: Option<String>,
}

/// See the crate.
pub struct Webhook(Config);

impl Action for Webhook {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if delivery::place(&config.url).is_none_or(|place| place.contains(['{', '}', '@'])) {
            let message = "must begin with https:// or http:// and a host, without a user or anything in braces";
            problems.push(Problem::at("/url", message));
        }
        problems.extend(template::unknown(&Value::String(config.url.clone()), "/url"));
        problems.extend(config.body.iter().flat_map(|body| template::unknown(body, "/body")));
        if config.timeout.is_zero() {
            problems.push(Problem::at("/timeout", "must be more than nothing"));
        }
        if problems.is_empty() { Ok(Self(config)) } else { Err(problems) }
    }

    fn offers(&self) -> Vec<ActionInfo> {
        let place = delivery::place(&self.0.url).unwrap_or_default();
        let offer = ActionInfo::new(&self.0.action, format!("tells {place}"));
        vec![ActionInfo { disruptive: false, ..offer.parameters(include_str!("../parameters.schema.json")) }]
    }

    fn check(&self, task: &Task) -> Result<Plan, Error> {
        let request = self.request(task)?;
        let place = delivery::place(&request.url).unwrap_or_default();
        Ok(Plan::new(format!("would POST to {place}")).with("bytes", request.body.len() as f64))
    }

    fn perform(&self, task: &Task) -> Result<Receipt, Error> {
        let timestamp = task.now / 1_000_000_000;
        let receipt = delivery::deliver(self.request(task)?)?;
        Ok(receipt.with("webhook-id", task.attempt.as_str()).with("webhook-timestamp", timestamp as f64))
    }
}

impl Webhook {
    fn request(&self, task: &Task) -> Result<Request, Error> {
        let config = &self.0;
        if task.action != config.action {
            return Err(Error::Unsupported(format!("{} is not what this plug-in does", task.action)));
        }
        let parameters: Parameters =
            serde_json::from_str(&task.parameters).map_err(|error| Error::BadInput(format!("parameters: {error}")))?;
        let words = Words::of(task, parameters.message);
        let body = config.body.as_ref().map_or_else(|| own_body(task, &words), |body| words.fill(body));
        let mut request = Request::post(words.fill_url(&config.url))
            .header("webhook-id", &task.attempt)
            .header("webhook-timestamp", (task.now / 1_000_000_000).to_string())
            .timeout(config.timeout.min(Duration::from_nanos(task.deadline)))
            .body(body.to_string());
        if !config.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        Ok(config.headers.iter().fold(request, |request, (name, value)| request.header(name, value)))
    }
}

/// What is said where the operator does not say otherwise: a word for each placeholder, and null for what there is none of.
fn own_body(task: &Task, words: &Words) -> Value {
    let mut body: serde_json::Map<_, _> = words.all().map(|(name, word)| (name.to_owned(), json!(word))).collect();
    body.insert("timestamp".to_owned(), json!(task.now / 1_000_000_000));
    Value::Object(body)
}

heald_plugin::action!(
    Webhook,
    config: include_str!("../config.schema.json"),
    capabilities: &["log", "http"],
    memory_mib: 16,
);
