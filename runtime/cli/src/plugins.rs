//! `heald plugin list, show, reload, enable, disable, promote, revoke, divergence`: the plug-ins of a running heald.

use std::fmt::Write as _;
use std::io::Write;

use heald_control::{Divergence, PluginMode, PluginState, PluginStatus};
use heald_model::Agreement;
use heald_model::Moment;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Session;
use super::http::escaped;
use super::line::plain;
use super::show::{lasting, many, read, since, table};

#[derive(Debug, Deserialize)]
struct List {
    plugins: Vec<PluginStatus>,
}

impl Session {
    pub(super) async fn plugins(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let answer = self.client.get("/api/plugins").await?;
        self.put(out, &answer, || list(&answer))
    }

    pub(super) async fn plugin(&self, name: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        let answer = self.client.get(&format!("/api/plugins/{}", escaped(name))).await?;
        self.put(out, &answer, || whole(&answer, Timestamp::now()))
    }

    pub(super) async fn divergence(&self, name: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        let answer = self.client.get(&format!("/api/plugins/{}/divergence", escaped(name))).await?;
        self.put(out, &answer, || compared(&answer, Timestamp::now()))
    }

    /// An order about a plug-in. heald answers with the plug-in as it is then.
    pub(super) async fn order_plugin(&self, name: &str, verb: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        let path = format!("/api/plugins/{}/{verb}", escaped(name));
        let answer = self.client.post(&path, &json!({ "by": self.who })).await?;
        self.put(out, &answer, || told(&answer, verb))
    }

    pub(super) async fn revoke(&self, name: &str, capability: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        let path = format!("/api/plugins/{}/revoke", escaped(name));
        let order = json!({ "by": self.who, "capability": capability });
        let answer = self.client.post(&path, &order).await?;
        self.put(out, &answer, || {
            let status: PluginStatus = read(&answer)?;
            Ok(format!("{capability} is revoked from {}; it still has: {}\n", status.name, words(&status.granted)))
        })
    }
}

fn told(answer: &Value, verb: &str) -> anyhow::Result<String> {
    let status: PluginStatus = read(answer)?;
    let (name, loaded) = (&status.name, identity(&status));
    Ok(match verb {
        "reload" => format!("{name} is reloaded: {loaded}\n"),
        "enable" => format!("{name} is enabled: {loaded}\n"),
        "disable" => {
            format!("{name} is disabled, also after a restart; `heald plugin enable {name}` enables it again\n")
        }
        "promote" => format!("{name} is {}: its answers count from now on\n", mode(status.mode)),
        other => format!("{name}: {other}\n"),
    })
}

fn mode(mode: PluginMode) -> &'static str {
    match mode {
        PluginMode::Active => "active",
        PluginMode::Shadow => "shadow",
        PluginMode::Canary => "canary",
    }
}

fn state(state: PluginState) -> &'static str {
    match state {
        PluginState::Running => "running",
        PluginState::Loading => "loading",
        PluginState::Failed => "failed",
        PluginState::Disabled => "disabled",
        PluginState::RolledBack => "rolled-back",
    }
}

/// Version and digest of what runs.
fn identity(status: &PluginStatus) -> String {
    let Some(loaded) = &status.loaded else { return "not loaded".to_owned() };
    let version = if loaded.version.is_empty() { "?" } else { loaded.version.as_str() };
    format!("{version}@{}", loaded.digest.get(..12).unwrap_or(&loaded.digest))
}

fn words(words: &[String]) -> String {
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// `heald plugin list`.
fn list(answer: &Value) -> anyhow::Result<String> {
    let List { plugins } = read(answer)?;
    if plugins.is_empty() {
        return Ok("no plug-ins are loaded; the native rules decide\n".to_owned());
    }
    let row = |status: &PluginStatus| {
        let faults: u64 = status.counters.faults.values().sum();
        vec![
            status.name.to_string(),
            state(status.state).to_owned(),
            mode(status.mode).to_owned(),
            identity(status),
            status.roles.join(" "),
            status.services.len().to_string(),
            status.counters.calls.to_string(),
            faults.to_string(),
            quarantined(status).to_string(),
            status.why.clone().unwrap_or_default(),
        ]
    };
    let heads =
        ["PLUG-IN", "STATE", "MODE", "VERSION@DIGEST", "ROLES", "SERVICES", "CALLS", "FAULTS", "QUARANTINE", "WHY"];
    Ok(table(&heads, &plugins.iter().map(row).collect::<Vec<_>>()))
}

/// Services about which it is not asked now.
fn quarantined(status: &PluginStatus) -> usize {
    status.quarantine.iter().filter(|service| service.until.is_some()).count()
}

/// `heald plugin show`.
fn whole(answer: &Value, now: Timestamp) -> anyhow::Result<String> {
    let status: PluginStatus = read(answer)?;
    let mut text = format!("{}: {}, {}\n", status.name, state(status.state), mode(status.mode));
    if let Some(why) = &status.why {
        let _ = writeln!(text, "why         {}", plain(why));
    }
    let mut line = |name: &str, what: String| {
        let _ = writeln!(text, "{name:<11} {}", plain(&what));
    };
    line("does", status.summary.clone());
    line("is", format!("{} {} ({})", status.component, identity(&status), status.origin));
    line("signed by", status.signed_by.clone().unwrap_or_else(|| "nobody who is trusted".to_owned()));
    if let Some(loaded) = status.since {
        line("since", format!("{} ago", ago(loaded, now)));
    }
    line("roles", words(&status.roles));
    if !status.actions.is_empty() {
        line("actions", words(&status.actions));
    }
    line("asks for", words(&status.requested));
    line("is granted", words(&status.granted));
    if !status.revoked.is_empty() {
        line("revoked", words(&status.revoked));
    }
    if let Some(other) = &status.instead_of {
        line("instead of", other.to_string());
    }
    let services: Vec<String> = status.services.iter().map(ToString::to_string).collect();
    line("services", words(&services));
    let counters = &status.counters;
    let faults: Vec<String> = counters.faults.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
    line("calls", format!("{}, in {} of processor time", counters.calls, seconds(counters.guest_seconds)));
    line("memory", format!("{:.1} MiB at most", mebibytes(counters.peak_memory_bytes)));
    line("faults", words(&faults));
    if let Some(fault) = &status.last_fault {
        line("last fault", fault.to_string());
    }
    for one in &status.quarantine {
        let rest = match one.until.map(|until| since(now, instant(until))) {
            Some(left) if !left.is_zero() => format!("quarantined for another {}", lasting(left)),
            Some(_) => "tried again at the next sample".to_owned(),
            None => "not quarantined yet".to_owned(),
        };
        line("quarantine", format!("{}: {} in a row, {rest}", one.service, many(one.strikes as usize, "failure")));
    }
    if let Some(agreement) = &status.agreement {
        line("agreement", agreed(agreement));
    }
    Ok(text)
}

/// `heald plugin divergence`.
fn compared(answer: &Value, now: Timestamp) -> anyhow::Result<String> {
    let Divergence { plugin, mode: its, instead_of, since: begin, agreement, differences, services } = read(answer)?;
    let with = instead_of.map_or_else(|| "with whatever was done".to_owned(), |other| format!("with {other}"));
    let mut text = format!("{plugin} ({}) compared {with}, for {}\n", mode(its), ago(begin, now));
    let _ = writeln!(text, "{}", agreed(&agreement));
    if agreement.disagreed > 0 {
        let _ = writeln!(
            text,
            "it would have acted {}, and would have withheld {}",
            times(agreement.would_have_acted),
            times(agreement.would_have_withheld)
        );
    }
    if services.len() > 1 {
        let row = |(name, one): (&heald_model::ServiceName, &Agreement)| {
            vec![name.to_string(), one.compared.to_string(), one.disagreed.to_string(), one.faulted.to_string()]
        };
        let rows: Vec<_> = services.iter().map(row).collect();
        let _ = write!(text, "\n{}", table(&["SERVICE", "COMPARED", "DISAGREED", "FAULTED"], &rows));
    }
    if !differences.is_empty() {
        let row = |one: &heald_model::Difference| {
            let when = format!("{} ago", ago(one.at, now));
            vec![when, one.service.to_string(), one.would.clone(), one.did.clone(), one.by.clone()]
        };
        let rows: Vec<_> = differences.iter().map(row).collect();
        let _ = write!(text, "\n{}", table(&["WHEN", "SERVICE", "WOULD", "DID", "BY"], &rows));
    }
    Ok(text)
}

fn agreed(agreement: &Agreement) -> String {
    let Agreement { compared, agreed, disagreed, abstained, faulted, .. } = agreement;
    let share = agreement.disagreement() * 100.0;
    format!(
        "{} compared: {agreed} the same, {disagreed} different ({share:.1} %); it passed {}, it failed {}",
        many(usize::try_from(*compared).unwrap_or(usize::MAX), "answer"),
        times(*abstained),
        times(*faulted)
    )
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

fn mebibytes(bytes: u64) -> f64 {
    // Memories are far below 2^53 bytes.
    #[allow(clippy::cast_precision_loss)]
    let exact = bytes as f64;
    exact / f64::from(1 << 20)
}

fn instant(moment: Moment) -> Timestamp {
    i64::try_from(moment.millis())
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::MAX)
}

fn ago(moment: Moment, now: Timestamp) -> String {
    lasting(since(instant(moment), now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn now() -> Timestamp {
        Timestamp::from_millisecond(NOW).unwrap()
    }

    fn before(seconds: u64) -> u64 {
        (NOW as u64 - seconds * 1_000) * 1_000_000
    }

    fn status() -> Value {
        json!({
            "name": "queue", "state": "running", "mode": "shadow", "component": "/p/queue.wasm", "origin": "configuration",
            "loaded": {"name": "queue", "version": "1.2.0", "digest": "0123456789abcdef0123"}, "since": before(90),
            "summary": "watches a queue\u{1b}[2J", "roles": ["detector"], "actions": [], "requested": ["kv", "http"],
            "granted": ["kv"], "revoked": ["http"], "instead_of": "old", "services": ["api", "web"],
            "counters": {"calls": 1200, "faults": {"trap": 2, "deadline": 1}, "guest_seconds": 0.0125, "wall_seconds": 0.02,
                "instances": 3, "peak_memory_bytes": 1_572_864, "bytes_out": 9, "host_calls": 0, "dropped_log_lines": 0},
            "quarantine": [
                {"service": "api", "strikes": 3, "until": (NOW as u64 + 30_000) * 1_000_000},
                {"service": "web", "strikes": 1, "until": null}],
            "last_fault": {"cause": "trap", "detail": "index out of bounds"},
            "agreement": {"compared": 40, "agreed": 39, "disagreed": 1, "abstained": 2, "faulted": 3,
                "would_have_acted": 1, "would_have_withheld": 0},
            "schema": {}
        })
    }

    #[test]
    fn plugins_are_a_table() {
        let mut failed = status();
        failed["state"] = "failed".into();
        failed["why"] = "it is not signed".into();
        failed["loaded"] = Value::Null;
        failed["quarantine"] = json!([]);
        failed["counters"]["faults"] = json!({});
        let text = list(&json!({"count": 2, "plugins": [status(), failed]})).unwrap();
        let expected = "\
PLUG-IN  STATE    MODE    VERSION@DIGEST      ROLES     SERVICES  CALLS  FAULTS  QUARANTINE  WHY
queue    running  shadow  1.2.0@0123456789ab  detector  2         1200   3       1
queue    failed   shadow  not loaded          detector  2         1200   0       0           it is not signed
";
        let trimmed: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(trimmed.join("\n") + "\n", expected);
        assert!(list(&json!({"count": 0, "plugins": []})).unwrap().contains("no plug-ins"));
    }

    #[test]
    fn one_is_told_whole() {
        let text = whole(&status(), now()).unwrap();
        let expected = "\
queue: running, shadow
does        watches a queue\u{fffd}[2J
is          /p/queue.wasm 1.2.0@0123456789ab (configuration)
signed by   nobody who is trusted
since       1 min 30 s ago
roles       detector
asks for    kv, http
is granted  kv
revoked     http
instead of  old
services    api, web
calls       1200, in 12.5 ms of processor time
memory      1.5 MiB at most
faults      deadline 1, trap 2
last fault  trap: index out of bounds
quarantine  api: 3 failures in a row, quarantined for another 30.0 s
quarantine  web: 1 failure in a row, not quarantined yet
agreement   40 answers compared: 39 the same, 1 different (2.5 %); it passed 2 times, it failed 3 times
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_divergence_tells_each_difference() {
        let answer = json!({
            "plugin": {"name": "queue", "version": "1.2.0", "digest": "0123456789abcdef0123"}, "mode": "canary",
            "instead_of": "old", "since": before(3_600), "disagreement": 0.025, "agreement": status()["agreement"],
            "differences": [{"at": before(5), "service": "api", "would": "restart", "did": "no-action", "by": "old"}],
            "services": {"api": status()["agreement"]}
        });
        let text = compared(&answer, now()).unwrap();
        let expected = "\
queue@0123456789ab (canary) compared with old, for 1 h
40 answers compared: 39 the same, 1 different (2.5 %); it passed 2 times, it failed 3 times
it would have acted once, and would have withheld 0 times

WHEN       SERVICE  WOULD    DID        BY
5.0 s ago  api      restart  no-action  old
";
        assert_eq!(text, expected);
    }

    #[test]
    fn orders_are_confirmed_in_a_sentence() {
        let mut answer = status();
        assert_eq!(told(&answer, "reload").unwrap(), "queue is reloaded: 1.2.0@0123456789ab\n");
        answer["mode"] = "active".into();
        assert_eq!(told(&answer, "promote").unwrap(), "queue is active: its answers count from now on\n");
        assert!(told(&answer, "disable").unwrap().contains("heald plugin enable queue"));
    }
}
