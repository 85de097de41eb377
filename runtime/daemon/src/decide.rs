//! `heald decide`: what would be decided about these metrics? It asks the plug-ins in this process, needs no running heald,
//! and does nothing about the answer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use heald_control::{Consult, Consultation, Metrics};
use heald_model::{Fact, Finding, PluginName, ServiceName};
use serde_json::{Map, Value, json};

use heald_platform::builtins;

use crate::assemble;
use heald_config::{self as config, Config, ConsultConfig};

/// `error_rate` is a ratio inside.
const PERCENT: f64 = 100.0;

/// `heald decide`.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The metrics as a JSON object, such as {"status": "UP", "cpu": 90, "memory": 40}
    #[arg(long, value_name = "JSON")]
    pub metrics: String,
    /// The profile of [consult] that answers
    #[arg(long, value_name = "NAME", default_value = "orchestrate")]
    pub policy: String,
    /// The service whose detectors and policies answer instead, as they are configured for it; error_rate is a ratio then
    #[arg(long, value_name = "NAME", conflicts_with = "policy")]
    pub service: Option<ServiceName>,
    /// The configuration file; heald.toml if it is there
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show the metrics, the findings, the rules that held and the rule that won
    #[arg(long)]
    pub explain: bool,
}

/// Carries the command out, in this process's directory and environment.
///
/// # Errors
/// When the configuration or the metrics cannot be read, or there is no such profile.
pub fn decide(args: DecideArgs) -> anyhow::Result<ExitCode> {
    let directory = std::env::current_dir().context("there is no working directory")?;
    let real = std::env::vars().collect();
    let config = config::load(args.config.as_deref(), &directory, &real, &builtins::names())?.config;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Box::pin(async {
        let consultants = assemble::consultants(&config, args.service.as_ref()).await?;
        ask(&args, &config, &consultants, &mut stdout(), &mut stderr()).await
    }))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks, and prints the action in the profile's spelling; with `--json` or `--explain` more. What was found goes to `err` as
/// well, so that the answer alone is on `out`.
async fn ask(
    args: &DecideArgs,
    config: &Config,
    consult: &dyn Consult,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<()> {
    let plain = ConsultConfig::default();
    let (name, profile) = match &args.service {
        Some(service) => (service.as_str(), &plain),
        None => (args.policy.as_str(), config.consult.get(&args.policy).unwrap_or(&plain)),
    };
    let seen = read(&args.metrics)?;
    let strange = strange(&seen, &asked_plugins(config, args.service.as_ref(), profile));
    let mut asked = seen.clone();
    if let Some(rate) = asked.values.get_mut("error_rate").filter(|_| profile.error_rate_percent) {
        *rate /= PERCENT;
    }
    let answer = consult.consult(name, asked).await?;
    for metric in &strange {
        let known = MEASURED.join(", ");
        writeln!(
            err,
            "`{metric}` is no metric that heald measures ({known}), and none of the plug-ins asked is configured for it"
        )?;
    }
    let action = spelled(profile, answer.decision.verb());
    if args.json {
        let mut whole = brief(&action, &answer);
        if !strange.is_empty() {
            whole.insert("unknown_metrics".to_owned(), json!(strange));
        }
        if args.explain {
            whole.extend(details(profile, &seen, &answer));
        }
        writeln!(out, "{}", Value::Object(whole))?;
    } else if args.explain {
        out.write_all(explanation(profile, &seen, &answer, &action).as_bytes())?;
    } else {
        for finding in &answer.findings {
            writeln!(err, "failure detected: {}", finding.message)?;
        }
        writeln!(out, "{action}")?;
    }
    Ok(())
}

/// What heald measures by itself, or that every probe may bring.
const MEASURED: [&str; 6] = ["cpu", "memory", "memory_bytes", "disk", "error_rate", "latency_ms"];

/// The configurations of the plug-ins that answer.
fn asked_plugins(config: &Config, service: Option<&ServiceName>, profile: &ConsultConfig) -> Vec<Map<String, Value>> {
    let service = service.and_then(|name| config.service.iter().find(|service| service.name == *name));
    let (detectors, policies): (&[PluginName], &[PluginName]) = match service {
        Some(service) => (config.detectors(service), config.policies(service)),
        None => (&profile.detectors, &profile.policies),
    };
    let plugins = detectors.iter().chain(policies).filter_map(|name| config.plugin(name.as_str()));
    plugins
        .map(|plugin| service.map_or_else(|| plugin.config.clone(), |service| config.plugin_for(plugin, service)))
        .collect()
}

/// The metrics that nobody who is asked knows. A plug-in knows what its configuration names.
fn strange(seen: &Metrics, plugins: &[Map<String, Value>]) -> Vec<String> {
    fn names(value: &Value, metric: &str) -> bool {
        match value {
            Value::Object(members) => {
                members.contains_key(metric) || members.values().any(|value| names(value, metric))
            }
            Value::Array(list) => list.iter().any(|value| names(value, metric)),
            Value::String(text) => text == metric,
            _ => false,
        }
    }
    let known = |metric: &str| {
        MEASURED.contains(&metric)
            || plugins
                .iter()
                .any(|config| config.contains_key(metric) || config.values().any(|value| names(value, metric)))
    };
    seen.values.keys().filter(|metric| !known(metric)).cloned().collect()
}

/// Numbers by name; `status` (or `reported`) is the service's own word.
fn read(text: &str) -> anyhow::Result<Metrics> {
    let form = "--metrics must be a JSON object such as {\"status\": \"UP\", \"cpu\": 90, \"memory\": 40}";
    let object: Map<String, Value> = serde_json::from_str(text).context(form)?;
    let mut metrics = Metrics::default();
    for (name, value) in object {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("status" | "reported", Value::String(word)) => metrics.reported = Some(word),
            (_, Value::Number(number)) => match number.as_f64() {
                Some(number) if number >= 0.0 && number.is_finite() => {
                    metrics.values.insert(name, number);
                }
                _ => bail!("--metrics: `{name}` is {number}; a metric is a number from 0 up"),
            },
            (_, value) => bail!("--metrics: `{name}` is {value}; a metric is a number, `status` a word"),
        }
    }
    Ok(metrics)
}

/// The action as the profile's users know it.
fn spelled(profile: &ConsultConfig, action: &str) -> String {
    profile.words.get(action).cloned().unwrap_or_else(|| action.to_owned())
}

fn brief(action: &str, answer: &Consultation) -> Map<String, Value> {
    let decision = &answer.decision;
    let whole = json!({
        "action": action,
        "reason": decision.reason,
        "confidence": decision.confidence,
        "failure_detected": !answer.findings.is_empty(),
        "decided_by": decision.source.to_string(),
    });
    match whole {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn details(profile: &ConsultConfig, seen: &Metrics, answer: &Consultation) -> Map<String, Value> {
    let decision = &answer.decision;
    let facts: BTreeMap<&str, &heald_model::Scalar> =
        decision.facts.iter().map(|f| (f.name.as_str(), &f.value)).collect();
    let considered = decision.considered.iter().map(
        |other| json!({ "action": spelled(profile, &other.action), "reason": other.reason, "score": other.score }),
    );
    let considered: Vec<Value> = considered.collect();
    let whole = json!({
        "snapshot": { "status": seen.reported, "metrics": seen.values },
        "findings": answer.findings,
        "rule": Fact::find_text(&decision.facts, "rule"),
        "facts": facts,
        "considered": considered,
    });
    match whole {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn explanation(profile: &ConsultConfig, seen: &Metrics, answer: &Consultation, action: &str) -> String {
    let decision = &answer.decision;
    let mut text = String::new();
    let shown = |name: &str| seen.values.get(name).map_or_else(|| "unknown".to_owned(), f64::to_string);
    let status = seen.reported.as_deref().unwrap_or("unknown");
    let _ = write!(text, "seen      status {status}, cpu {}, memory {}", shown("cpu"), shown("memory"));
    for (name, value) in seen.values.iter().filter(|(name, _)| !matches!(name.as_str(), "cpu" | "memory")) {
        let _ = write!(text, ", {name} {value}");
    }
    text.push('\n');
    if answer.findings.is_empty() {
        text.push_str("found     nothing\n");
    }
    for Finding { condition, severity, message, .. } in &answer.findings {
        let _ = writeln!(text, "found     {condition} ({severity}): {message}");
    }
    match Fact::find_text(&decision.facts, "rule") {
        Some("otherwise") => text.push_str("held      no rule\n"),
        Some(rule) => {
            let _ = writeln!(text, "held      {rule}: {action} (it comes first and wins)");
        }
        None => {}
    }
    for other in &decision.considered {
        let _ = writeln!(text, "held      {}: {}", spelled(profile, &other.action), other.reason);
    }
    let sure = decision.confidence * PERCENT;
    let _ = writeln!(text, "decided   {action}: {} ({sure:.0} % sure, by {})", decision.reason, decision.source);
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use clap::Parser;
    use heald_control::ConsultError;
    use heald_model::{Alternative, Choice, Decision, Proposal, Severity, Source};

    use super::*;
    use heald_config::{Environment, parse};

    /// Plug-ins that answer so, and remember what they were asked.
    struct Told(Decision, Vec<Finding>, Mutex<Option<(String, Metrics)>>);

    #[async_trait]
    impl Consult for Told {
        async fn consult(&self, profile: &str, metrics: Metrics) -> Result<Consultation, ConsultError> {
            *self.2.lock().unwrap() = Some((profile.to_owned(), metrics));
            Ok(Consultation { findings: self.1.clone(), decision: self.0.clone() })
        }
    }

    fn told(choice: Choice, reason: &str) -> Told {
        let decision = Decision {
            choice,
            confidence: 0.9,
            reason: reason.into(),
            considered: vec![Alternative {
                action: "throttle-requests".into(),
                score: 0.9,
                reason: "cpu holds too, but later".into(),
            }],
            facts: vec![Fact::text("rule", "memory"), Fact::number("memory", 91.0)],
            again_in: None,
            source: Source::Native,
        };
        let finding = Finding {
            condition: "memory-pressure".into(),
            subject: None,
            severity: Severity::Error,
            score: 1.0,
            predicted: None,
            message: "memory is 91, more than 80".into(),
            evidence: Vec::new(),
        };
        Told(decision, vec![finding], Mutex::default())
    }

    fn act(action: &str) -> Choice {
        Choice::Act(Proposal { action: action.into(), parameters: json!({}), verify_within: None })
    }

    #[derive(Debug, Parser)]
    struct DecideLine {
        #[command(flatten)]
        args: DecideArgs,
    }

    async fn say(told: &Told, words: &[&str]) -> Result<(String, String), String> {
        let args = DecideLine::try_parse_from(["decide"].iter().chain(words)).unwrap().args;
        let builtin = ["act-clear-cache", "decide-rules", "detect-availability", "detect-threshold"];
        let config = parse(None, &Environment::new(), &builtin).unwrap().config;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        super::ask(&args, &config, told, &mut out, &mut err).await.map_err(|error| format!("{error:#}"))?;
        Ok((String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap()))
    }

    #[tokio::test]
    async fn the_answer_is_one_word_in_the_profiles_spelling() {
        for (policy, choice, expected) in [
            ("orchestrate", act("restart"), "RESTART\n"),
            ("orchestrate", Choice::NoAction, "NO_ACTION\n"),
            ("llm-style", act("restart"), "restart_service\n"),
            ("llm-style", act("clear-cache"), "clear_cache\n"),
            ("llm-style", act("throttle-requests"), "throttle_requests\n"),
            ("llm-style", Choice::NoAction, "no_action\n"),
        ] {
            let (out, err) = say(&told(choice, "r"), &["--policy", policy, "--metrics", "{}"]).await.unwrap();
            assert_eq!(out, expected);
            assert_eq!(err, "failure detected: memory is 91, more than 80\n");
        }
    }

    #[tokio::test]
    async fn metrics_are_read_and_percent_is_made_a_ratio_where_the_profile_says_so() {
        let told = told(Choice::NoAction, "r");
        let metrics = r#"{"status":"UP","cpu":10,"error_rate":6,"queue":7.5,"disk":null}"#;
        say(&told, &["--metrics", metrics]).await.unwrap();
        let (profile, asked) = told.2.lock().unwrap().take().unwrap();
        assert_eq!((profile.as_str(), asked.reported.as_deref()), ("orchestrate", Some("UP")));
        let expected = [("cpu", 10.0), ("error_rate", 0.06), ("queue", 7.5)];
        assert_eq!(asked.values, expected.map(|(name, value)| (name.to_owned(), value)).into_iter().collect());
        say(&told, &["--policy", "llm-style", "--metrics", metrics]).await.unwrap();
        let (_, asked) = told.2.lock().unwrap().take().unwrap();
        assert_eq!(asked.values["error_rate"], 6.0);
    }

    #[tokio::test]
    async fn json_has_action_and_reason() {
        let told = told(act("clear-cache"), "Memory usage is critically high");
        let words = ["--policy", "llm-style", "--json", "--metrics", r#"{"status":"UP","cpu":20,"memory":91}"#];
        let answer: Value = serde_json::from_str(&say(&told, &words).await.unwrap().0).unwrap();
        assert_eq!(answer["action"], "clear_cache");
        assert_eq!(answer["reason"], "Memory usage is critically high");
        assert_eq!(answer["failure_detected"], true);
        let more = [&words[..], &["--explain"]].concat();
        let answer: Value = serde_json::from_str(&say(&told, &more).await.unwrap().0).unwrap();
        assert_eq!((&answer["rule"], &answer["snapshot"]["status"]), (&"memory".into(), &"UP".into()));
        assert_eq!(answer["considered"][0]["action"], "throttle_requests");
    }

    #[tokio::test]
    async fn an_explanation_lists_what_was_seen_every_rule_that_held_and_the_one_that_won() {
        let told = told(act("clear-cache"), "Memory usage is critically high");
        let metrics = r#"{"status":"UP","cpu":90,"memory":91,"disk":5}"#;
        let (out, _) = say(&told, &["--policy", "llm-style", "--explain", "--metrics", metrics]).await.unwrap();
        let expected = "\
seen      status UP, cpu 90, memory 91, disk 5
found     memory-pressure (error): memory is 91, more than 80
held      memory: clear_cache (it comes first and wins)
held      throttle_requests: cpu holds too, but later
decided   clear_cache: Memory usage is critically high (90 % sure, by native)
";
        assert_eq!(out, expected);
    }

    #[tokio::test]
    async fn metrics_that_make_no_sense_are_named() {
        let told = told(Choice::NoAction, "r");
        for (metrics, word) in [
            ("{", "must be a JSON object"),
            ("[1]", "must be a JSON object"),
            (r#"{"cpu":"x"}"#, "`cpu` is \"x\"; a metric is a number"),
            (r#"{"cpu":-1}"#, "from 0 up"),
        ] {
            let error = say(&told, &["--metrics", metrics]).await.unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
