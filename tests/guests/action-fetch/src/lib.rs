//! An action that sends whatever requests it is told to, wherever they lead, and says what came of each. It follows every redirect, and
//! if its configuration says so it sends one while it is being configured.
#![deny(unsafe_code)]

use std::time::Duration;

use heald_plugin::http::{Error as HttpError, Request, Response, get};
use heald_plugin::{Action, ActionInfo, Error, Plan, Problem, Receipt, Task, log};

/// See the crate.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Fetch {
    /// Fetched in `configure`.
    #[serde(default)]
    early: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    requests: Vec<Wanted>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    url: String,
    #[serde(default = "method")]
    method: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// So many bytes of it.
    #[serde(default)]
    body: usize,
    /// Waited for so many milliseconds.
    #[serde(default)]
    patience: Option<u64>,
    /// Sent so many times; the last answer is told.
    #[serde(default = "once")]
    times: u32,
}

fn method() -> String {
    "GET".to_owned()
}

fn once() -> u32 {
    1
}

impl Action for Fetch {
    type Config = Self;

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        if let Some(url) = &config.early {
            log::error!("early: {}", told(&get(url)));
        }
        Ok(config)
    }

    fn offers(&self) -> Vec<ActionInfo> {
        let schema = r#"{"type": "object", "required": ["requests"], "properties": {"requests": {"type": "array"}}}"#;
        vec![ActionInfo::new("fetch", "sends requests").parameters(schema)]
    }

    fn check(&self, _: &Task) -> Result<Plan, Error> {
        Ok(Plan::new("would send requests"))
    }

    fn perform(&self, task: &Task) -> Result<Receipt, Error> {
        let asked: Parameters =
            serde_json::from_str(&task.parameters).map_err(|error| Error::BadInput(error.to_string()))?;
        let mut receipt = Receipt::new("sent", true);
        for (nth, wanted) in asked.requests.into_iter().enumerate() {
            receipt = receipt.with(format!("answer-{nth}"), fetch(wanted));
        }
        Ok(receipt)
    }
}

fn fetch(wanted: Wanted) -> String {
    let mut request = Request::new(wanted.method, wanted.url).body(vec![b'x'; wanted.body]);
    request.headers = wanted.headers;
    request.timeout = wanted.patience.map(Duration::from_millis);
    let mut answer = request.send();
    for _ in 1..wanted.times {
        answer = request.send();
    }
    while let Some(location) =
        answer.as_ref().ok().filter(|answer| answer.status / 100 == 3).and_then(|a| a.header("location"))
    {
        answer = get(location);
    }
    told(&answer)
}

fn told(answer: &Result<Response, HttpError>) -> String {
    match answer {
        Ok(answer) => {
            let head: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            format!("{} {} [{}] {:.300}", answer.status, answer.body.len(), head.join(", "), answer.text())
        }
        Err(error) => {
            let kind = format!("{error:?}");
            format!("{}: {error}", kind.split('(').next().unwrap_or_default())
        }
    }
}

heald_plugin::action!(Fetch, capabilities: &["log", "http"]);
