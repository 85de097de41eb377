//! Answers of the API for a person: tables, a status at a glance, an incident as a story. Pure text; what the API leaves out is
//! left out here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::line::plain;

/// A column is cut here; the whole text is a `--json` away.
const WIDEST: usize = 60;

#[derive(Debug, Deserialize)]
struct ServicesJson {
    services: Vec<ServiceJson>,
}

#[derive(Debug, Deserialize)]
struct ServiceJson {
    name: String,
    health: String,
    breaker: String,
    desired: String,
    mode: String,
    incidents: Vec<String>,
    processes: Vec<ProcessJson>,
    metrics: BTreeMap<String, f64>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ProcessJson {
    pid: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct IncidentsJson {
    incidents: Vec<IncidentJson>,
    pagination: Pagination,
}

#[derive(Debug, Deserialize)]
struct Pagination {
    total: u64,
}

#[derive(Debug, Deserialize)]
struct IncidentJson {
    id: String,
    service: String,
    condition: String,
    level: String,
    stage: String,
    opened: When,
    updated: When,
    resolved: Option<When>,
    reopened: u32,
    message: Option<String>,
    attempts: Vec<AttemptJson>,
    held: Option<HeldJson>,
    #[serde(default)]
    timeline: Vec<EventJson>,
}

#[derive(Debug, Deserialize)]
struct AttemptJson {}

#[derive(Debug, Deserialize)]
struct HeldJson {
    rule: String,
    why: String,
    until: Option<When>,
}

#[derive(Debug, Deserialize)]
struct EventJson {
    at: When,
    kind: String,
    source: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct ChecksJson {
    health: String,
    response_time_ms: Option<f64>,
    error_message: Option<String>,
    total_checks: u64,
    uptime_percentage: f64,
    circuit_breaker_state: String,
}

/// A point in time as the API writes it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct When(Timestamp);

impl TryFrom<String> for When {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

pub(super) fn read<T: DeserializeOwned>(answer: &Value) -> anyhow::Result<T> {
    T::deserialize(answer).context("this heald answers in a way that this command does not know; try --json")
}

/// How the incidents begin whose service is a plug-in.
const PLUGIN: &str = "plugin:";

/// The incidents about plug-ins, out of a list of incidents.
pub(super) fn of_plugins(incidents: &Value) -> Value {
    let all = incidents["incidents"].as_array().into_iter().flatten();
    all.filter(|incident| incident["service"].as_str().is_some_and(|name| name.starts_with(PLUGIN))).cloned().collect()
}

/// `heald status`.
pub(super) fn status(
    health: &Value,
    services: &Value,
    halted: &Value,
    plugins: &Value,
    url: &str,
) -> anyhow::Result<String> {
    let ServicesJson { services } = read(services)?;
    let plugins: Vec<IncidentJson> = read(plugins)?;
    let word = health["health"].as_str().unwrap_or("there");
    let mut details = vec![url.to_owned()];
    details.extend(health["version"].as_str().map(|version| format!("version {version}")));
    let uptime = health["uptime"].as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    details.extend(uptime.map(|uptime| format!("up {}", lasting(uptime))));
    let mut text = format!("heald is {word} ({})\n", details.join(", "));
    if halted["halted"].as_bool() == Some(true) {
        text.push_str("ALL HEALING IS STOPPED; `heald resume --all` resumes it\n");
    }
    let of_safe_mode = |member: &str| health["safe_mode"].get(member).and_then(Value::as_str);
    if let Some(why) = of_safe_mode("why") {
        let until = of_safe_mode("until").unwrap_or("it is calm");
        let _ =
            writeln!(text, "SAFE MODE until {}: no plug-in is used, native rules heal; {}", plain(until), plain(why));
    }
    if let Some(word) = health["keeper"].as_str().filter(|word| *word != "connected") {
        let _ = writeln!(text, "THE KEEPER is {}", plain(word));
    }
    if health["database"].as_str().is_some_and(|word| word != "connected") {
        text.push_str("the journal cannot be written\n");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for service in &services {
        *counts.entry(service.word()).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let _ = match services.len() {
        0 => writeln!(text, "no services are configured"),
        number => writeln!(text, "{}: {}", many(number, "service"), counts.join(", ")),
    };
    let open = services.iter().map(|service| service.incidents.len()).sum::<usize>() + plugins.len();
    if open > 0 {
        let about = if plugins.is_empty() { String::new() } else { format!(", {} about plug-ins", plugins.len()) };
        let _ = writeln!(text, "{}{about}; `heald incidents --open` lists them", many(open, "open incident"));
    }
    let faulty = plugins
        .iter()
        .map(|incident| vec![incident.service.clone(), incident.state(), incident.message.clone().unwrap_or_default()]);
    let ailing: Vec<Vec<String>> = services
        .iter()
        .filter(|service| service.word() != "healthy" || !service.incidents.is_empty())
        .map(|service| vec![service.name.clone(), service.word().to_owned(), service.error.clone().unwrap_or_default()])
        .chain(faulty)
        .collect();
    if !ailing.is_empty() {
        let _ = write!(text, "\n{}", table(&[], &ailing));
    }
    Ok(text)
}

impl ServiceJson {
    /// Its health, unless the operator wants something that says more.
    fn word(&self) -> &str {
        if self.desired == "running" { &self.health } else { &self.desired }
    }
}

/// `heald services`.
pub(super) fn services(answer: &Value) -> anyhow::Result<String> {
    let ServicesJson { services } = read(answer)?;
    let row = |service: &ServiceJson| {
        let pids: Vec<String> = service.processes.iter().filter_map(|p| p.pid).map(|pid| pid.to_string()).collect();
        let metric = |name: &str| service.metrics.get(name).map_or_else(|| "-".to_owned(), |v| format!("{v:.0} %"));
        vec![
            service.name.clone(),
            service.word().to_owned(),
            service.breaker.clone(),
            service.mode.clone(),
            if pids.is_empty() { "-".into() } else { pids.join(" ") },
            metric("cpu"),
            metric("memory"),
            service.incidents.len().to_string(),
            service.error.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = services.iter().map(row).collect();
    let heads = ["SERVICE", "HEALTH", "CIRCUIT", "MODE", "PIDS", "CPU", "MEMORY", "INCIDENTS", "ERROR"];
    Ok(if rows.is_empty() { "no services are configured\n".into() } else { table(&heads, &rows) })
}

/// `heald incidents`.
pub(super) fn incidents(answer: &Value, now: Timestamp) -> anyhow::Result<String> {
    let IncidentsJson { incidents, pagination } = read(answer)?;
    if incidents.is_empty() {
        return Ok("no incidents\n".into());
    }
    let row = |incident: &IncidentJson| {
        vec![
            incident.id.clone(),
            format!("{} ago", lasting(since(incident.updated.0, now))),
            format!("{} ago", lasting(since(incident.opened.0, now))),
            incident.service.clone(),
            incident.condition.clone(),
            incident.level.clone(),
            match incident.reopened {
                0 => incident.state(),
                again => format!("{}, came back {}", incident.state(), times(again)),
            },
            incident.attempts.len().to_string(),
            incident.message.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = incidents.iter().map(row).collect();
    let heads = ["INCIDENT", "ACTIVE", "OPENED", "SERVICE", "CONDITION", "SEVERITY", "STAGE", "TRIES", "MESSAGE"];
    let mut text = table(&heads, &rows);
    if pagination.total > rows.len() as u64 {
        let _ = writeln!(text, "{} of {}; `-n` shows more", rows.len(), pagination.total);
    }
    Ok(text)
}

impl IncidentJson {
    fn state(&self) -> String {
        match (&self.held, self.resolved) {
            (Some(held), None) => format!("{}, held ({})", self.stage, held.rule),
            // From its first opening it would be the time between two troubles as well.
            (_, Some(_)) if self.reopened > 0 => self.stage.clone(),
            (_, Some(resolved)) => format!("{} in {}", self.stage, lasting(since(self.opened.0, resolved.0))),
            _ => self.stage.clone(),
        }
    }
}

/// `heald why`: what was found, decided, permitted, intended, done, proved, and what came of it.
pub(super) fn story(answer: &Value, now: Timestamp) -> anyhow::Result<String> {
    let incident: IncidentJson = read(answer)?;
    let mut text = format!(
        "{}: {} ({}), {}\n",
        plain(&incident.service),
        plain(&incident.condition),
        incident.level,
        incident.state()
    );
    let mut facts = vec![
        format!("incident {}", incident.id),
        format!(
            "opened {} UTC, {} ago",
            incident.opened.0.strftime("%Y-%m-%d %H:%M:%S"),
            lasting(since(incident.opened.0, now))
        ),
        many(incident.attempts.len(), "attempt"),
    ];
    if incident.reopened > 0 {
        facts.push(format!("came back {}", times(incident.reopened)));
    }
    let _ = writeln!(text, "{}\n", facts.join("; "));
    let start = incident.timeline.first().map_or(incident.opened.0, |event| event.at.0);
    let stamps: Vec<String> = incident.timeline.iter().map(|event| offset(since(start, event.at.0))).collect();
    let margin = stamps.iter().map(String::len).max().unwrap_or_default();
    for (event, stamp) in incident.timeline.iter().zip(&stamps) {
        let _ = writeln!(text, "{stamp:>margin$}  {:<9} {}{}", event.kind, plain(&event.text), by(event));
    }
    if let Some(held) = &incident.held {
        let until = match held.until.map(|until| since(now, until.0)) {
            Some(left) if !left.is_zero() => format!(", for another {}", lasting(left)),
            _ => String::new(),
        };
        let _ = writeln!(text, "\nheld now ({}): {}{until}", held.rule, plain(&held.why));
    }
    Ok(text)
}

/// Who said it, where that is not plain from what it is.
fn by(event: &EventJson) -> String {
    let plainly = matches!(
        (event.kind.as_str(), event.source.as_str()),
        (_, "heald") | ("permit" | "withheld", "guard") | ("proof" | "cleared", "probes")
    );
    if plainly { String::new() } else { format!("  [{}]", plain(&event.source)) }
}

/// `heald trigger`.
pub(super) fn checks(answer: &Value) -> anyhow::Result<String> {
    let services: BTreeMap<String, ChecksJson> = read(&answer["services"])?;
    let row = |(name, checks): (&String, &ChecksJson)| {
        vec![
            name.clone(),
            checks.health.clone(),
            checks.circuit_breaker_state.clone(),
            checks.response_time_ms.map_or_else(|| "-".into(), |took| format!("{took:.1} ms")),
            if checks.total_checks == 0 { "-".into() } else { format!("{:.2} %", checks.uptime_percentage) },
            checks.error_message.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = services.iter().map(row).collect();
    let heads = ["SERVICE", "HEALTH", "CIRCUIT", "RESPONSE", "UPTIME", "ERROR"];
    let overall = answer["overall_health"].as_str().map(|word| format!("overall: {word}\n")).unwrap_or_default();
    Ok(if rows.is_empty() { "no services are configured\n".into() } else { table(&heads, &rows) + &overall })
}

/// What became of an order.
pub(super) fn done(answer: &Value) -> String {
    let word = |key: &str| answer[key].as_str().unwrap_or_default();
    let outcome = answer["outcome"].as_str().map(|outcome| format!(" ({outcome})")).unwrap_or_default();
    plain(&format!("{} {}: {}{outcome}", word("action"), word("service"), word("summary"))).into_owned()
}

/// Columns as wide as what is in them, two spaces apart; the last is not padded.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let clean = |cell: &String| {
        let cell = plain(cell);
        if cell.chars().count() > WIDEST {
            cell.chars().take(WIDEST - 1).chain(['…']).collect()
        } else {
            cell.into_owned()
        }
    };
    let head = (!heads.is_empty()).then(|| heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>());
    let rows: Vec<Vec<String>> =
        head.into_iter().chain(rows.iter().map(|row| row.iter().map(clean).collect())).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

pub(super) fn since(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// A length of time in its largest unit and, above a minute, the next smaller one: `12 ms`, `1.2 s`, `3 min 4 s`, `2 h`.
pub(super) fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    let two = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {smaller}"),
    };
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", (time.as_secs_f64() * 10.0).floor() / 10.0),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// How long after the beginning: in milliseconds as long as that says more.
fn offset(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("+{:.1} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("+{}", lasting(time))
    }
}

pub(super) fn many(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn times(number: u32) -> String {
    match number {
        1 => "once".into(),
        2 => "twice".into(),
        many => format!("{many} times"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn incident() -> Value {
        let event = |ms: u32, kind: &str, source: &str, text: &str| json!({"at": format!("2026-11-22T10:00:00.{ms:03}000+00:00"), "kind": kind, "source": source, "text": text});
        json!({
            "id": "0198c0de-0000-7000-8000-000000000001", "service": "web", "condition": "service-down", "level": "critical",
            "stage": "resolved", "open": false, "opened": "2026-11-22T10:00:00.000000+00:00",
            "updated": "2026-11-22T11:00:00.000000+00:00",
            "resolved": "2026-11-22T10:00:00.012000+00:00", "reopened": 1, "message": "Connection refused on port 9000",
            "attempts": [{"action": "restart"}], "held": null,
            "timeline": [
                event(0, "finding", "availability@0123456789ab", "critical service-down: it was killed by signal 9"),
                event(1, "decision", "rules@ba9876543210", "restart (90 % sure): service-down: restart, attempt 1 of 3"),
                event(1, "permit", "guard", "restart: the first restart is immediate"),
                event(1, "intent", "heald", "restart web (restore)"),
                event(4, "receipt", "heald", "started pid 4711"),
                event(12, "proof", "probes", "2 of 2 fresh samples passed"),
                event(12, "outcome", "heald", "healed"),
            ],
        })
    }

    #[test]
    fn an_incident_is_told_as_a_story() {
        let text = story(&incident(), at("2026-11-22T10:03:04Z")).unwrap();
        let expected = "\
web: service-down (critical), resolved
incident 0198c0de-0000-7000-8000-000000000001; opened 2026-11-22 10:00:00 UTC, 3 min 4 s ago; 1 attempt; came back once

 +0.0 ms  finding   critical service-down: it was killed by signal 9  [availability@0123456789ab]
 +1.0 ms  decision  restart (90 % sure): service-down: restart, attempt 1 of 3  [rules@ba9876543210]
 +1.0 ms  permit    restart: the first restart is immediate
 +1.0 ms  intent    restart web (restore)
 +4.0 ms  receipt   started pid 4711
+12.0 ms  proof     2 of 2 fresh samples passed
+12.0 ms  outcome   healed
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_held_says_for_how_long() {
        let mut held = incident();
        held["stage"] = "opened".into();
        held["resolved"] = Value::Null;
        held["held"] = json!({"rule": "back-off", "why": "3 restarts in a row", "until": "2026-11-22T10:00:05+00:00"});
        let text = story(&held, at("2026-11-22T10:00:01Z")).unwrap();
        assert!(text.starts_with("web: service-down (critical), opened, held (back-off)\n"), "{text}");
        assert!(text.ends_with("\nheld now (back-off): 3 restarts in a row, for another 4.0 s\n"), "{text}");
    }

    #[test]
    fn incidents_are_a_table() {
        let answer = json!({"incidents": [incident()], "pagination": {"total": 9}});
        let text = incidents(&answer, at("2026-11-22T12:00:00Z")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(
            "INCIDENT                              ACTIVE   OPENED   SERVICE  CONDITION     SEVERITY  STAGE "
        ));
        assert!(lines[1].starts_with(
            "0198c0de-0000-7000-8000-000000000001  1 h ago  2 h ago  web      service-down  critical  resolved, came back once  1"
        ));
        let mut once = incident();
        once["reopened"] = 0.into();
        let text = incidents(&json!({"incidents": [once], "pagination": {"total": 1}}), at("2026-11-22T12:00:00Z"));
        assert!(text.unwrap().contains("  resolved in 12 ms  1"));
        assert_eq!(lines[2], "1 of 9; `-n` shows more");
        let none = json!({"incidents": [], "pagination": {"total": 0}});
        assert_eq!(incidents(&none, at("2026-11-22T12:00:00Z")).unwrap(), "no incidents\n");
    }

    fn service(name: &str, health: &str, desired: &str, error: Value) -> Value {
        json!({
            "name": name, "up": true, "health": health, "breaker": "closed", "desired": desired, "mode": "auto",
            "incidents": if health == "healthy" { json!([]) } else { json!(["x"]) }, "depends_on": [], "tags": [],
            "processes": [{"replica": "0", "incarnation": 1, "pid": 42, "started": "x", "ended": null}],
            "metrics": {"cpu": 12.4, "memory": 7.0}, "last_check": null, "error": error,
        })
    }

    #[test]
    fn a_status_is_read_at_a_glance() {
        let health = json!({"health": "healthy", "version": "0.1.0", "uptime": 3_720.0, "database": "connected"});
        let fine = service("web", "healthy", "running", Value::Null);
        let sick = service("api", "unhealthy", "running", "HTTP 503".into());
        let resting = service("batch", "healthy", "stopped", Value::Null);
        let services = json!({"services": [fine, sick, resting]});
        let text = status(&health, &services, &json!({"halted": false}), &json!([]), "http://h:1").unwrap();
        let expected = "\
heald is healthy (http://h:1, version 0.1.0, up 1 h 2 min)
3 services: 1 healthy, 1 stopped, 1 unhealthy
1 open incident; `heald incidents --open` lists them

api    unhealthy  HTTP 503
batch  stopped
";
        assert_eq!(text, expected);
        let mut faulty = incident();
        faulty["service"] = "plugin:rules".into();
        faulty["stage"] = "opened".into();
        faulty["resolved"] = Value::Null;
        let open = of_plugins(&json!({"incidents": [incident(), faulty]}));
        let text = status(&health, &services, &json!({"halted": false}), &open, "http://h:1").unwrap();
        assert!(text.contains("2 open incidents, 1 about plug-ins; `heald incidents --open` lists them\n"), "{text}");
        assert!(text.ends_with("\nplugin:rules  opened     Connection refused on port 9000\n"), "{text}");
        let none = json!({"services": []});
        let halted = status(&health, &none, &json!({"halted": true}), &json!([]), "http://h:1").unwrap();
        assert!(halted.contains("ALL HEALING IS STOPPED") && halted.contains("no services"), "{halted}");
        let deaf = json!({"health": "degraded", "keeper": "silent for 4 s: no process can be started or stopped"});
        let deaf = status(&deaf, &none, &json!({"halted": false}), &json!([]), "http://h:1").unwrap();
        assert!(deaf.contains("THE KEEPER is silent for 4 s: no process"), "{deaf}");
        let safe = json!({"health": "degraded", "safe_mode": {"why": "it died 3 times", "until": "10 o'clock"}});
        let safe = status(&safe, &none, &json!({"halted": false}), &json!([]), "http://h:1").unwrap();
        let line = "SAFE MODE until 10 o'clock: no plug-in is used, native rules heal; it died 3 times\n";
        assert!(safe.starts_with("heald is degraded") && safe.contains(line), "{safe}");
    }

    #[test]
    fn services_are_a_table() {
        let text =
            services(&json!({"services": [service("web", "unhealthy", "running", "evil \u{1b}[2J".into())]})).unwrap();
        let expected = "\
SERVICE  HEALTH     CIRCUIT  MODE  PIDS  CPU   MEMORY  INCIDENTS  ERROR
web      unhealthy  closed   auto  42    12 %  7 %     1          evil \u{fffd}[2J
";
        assert_eq!(text, expected);
    }

    #[test]
    fn checks_are_a_table() {
        let answer = json!({"overall_health": "degraded", "services": {"web": {
            "health": "healthy", "last_check": null, "response_time_ms": 1.25, "error_message": null,
            "consecutive_failures": 0, "total_checks": 3, "successful_checks": 3, "uptime_percentage": 100.0,
            "circuit_breaker_state": "half_open"}}});
        let expected = "\
SERVICE  HEALTH   CIRCUIT    RESPONSE  UPTIME    ERROR
web      healthy  half_open  1.2 ms    100.00 %
overall: degraded
";
        assert_eq!(checks(&answer).unwrap(), expected);
    }

    #[test]
    fn long_cells_are_cut() {
        let text = table(&[], &[vec!["x".repeat(100), "y".into()]]);
        assert_eq!(text, format!("{}…  y\n", "x".repeat(59)));
    }

    #[test]
    fn times_are_written_as_people_say_them() {
        for (ms, expected) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_990, "1.9 s"),
            (59_999, "59.9 s"),
            (60_000, "1 min"),
            (184_000, "3 min 4 s"),
            (7_200_000, "2 h"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(lasting(Duration::from_millis(ms)), expected);
        }
    }
}
