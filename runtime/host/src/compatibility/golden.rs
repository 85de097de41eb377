//! Tests the golden components: components of released versions, kept by digest with what they answered when they were new. Each
//! must load and give the same answers for ever (`tests/golden/README.md`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use heald_engine::ports::{Detector, Policy};
use heald_model::{ActionInfo, IntentId, Moment, Receipt, ServiceView};
use heald_model::{Answer, Observation, Question, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{component, host, observation, service, table};
use crate::code::contract::PluginRole;
use crate::guest::adapter::Spoken;
use crate::guest::task::Task;
use crate::load::Host;
use crate::plugin::Plugin;
use crate::versions::{BOTH, SPOKEN};

/// A component that is kept. Its file is `<sha256>.wasm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    /// The version of the contract that it speaks.
    version: String,
    role: String,
    /// What it was built from.
    name: String,
    sha256: String,
    config: Map<String, Value>,
    /// In this order, each with the state that its input has.
    calls: Vec<GoldenCall>,
}

/// What it was asked, and what it answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "lowercase")]
enum GoldenCall {
    Evaluate { input: Box<Observation>, answer: Verdict },
    Decide { input: Box<Question>, answer: Box<Answer> },
    Perform { input: Box<GoldenTask>, offers: Vec<ActionInfo>, plan: String, answer: Receipt },
}

/// What an action is told to do, owned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenTask {
    now: Moment,
    seed: u64,
    attempt: IntentId,
    service: ServiceView,
    action: String,
    parameters: Value,
}

/// What is to be asked of a new golden component.
enum GoldenInput {
    Evaluate(Observation),
    Decide(Box<Question>),
    Perform(GoldenTask),
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn index(directory: &Path) -> Result<Vec<Golden>, String> {
    let path = directory.join("index.json");
    let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes every call of every golden component again; what is not as it was, one line each.
async fn walk(directory: &Path, host: &Host) -> Vec<String> {
    let goldens = match index(directory) {
        Ok(goldens) => goldens,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    for golden in &goldens {
        if let Err(problem) = again(directory, host, golden).await {
            problems.push(format!("{} ({} of {}): {problem}", golden.name, golden.role, golden.version));
        }
    }
    let known: BTreeSet<_> = goldens.iter().map(|golden| format!("{}.wasm", golden.sha256)).collect();
    for entry in directory.read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".wasm") && !known.contains(&name) {
            problems.push(format!("{name} is not in the index"));
        }
    }
    problems
}

async fn again(directory: &Path, host: &Host, golden: &Golden) -> Result<(), String> {
    let path = directory.join(format!("{}.wasm", golden.sha256));
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if digest(&bytes) != golden.sha256 {
        return Err(format!("{} has the digest {}", path.display(), digest(&bytes)));
    }
    let plugin = host.load_bytes(&table(&golden.name), &bytes).map_err(|error| error.to_string())?;
    if plugin.contract() != golden.version {
        return Err(format!("it speaks {}", plugin.contract()));
    }
    for (number, was) in golden.calls.iter().enumerate() {
        let ask = match was {
            GoldenCall::Evaluate { input, .. } => GoldenInput::Evaluate(input.as_ref().clone()),
            GoldenCall::Decide { input, .. } => GoldenInput::Decide(input.clone()),
            GoldenCall::Perform { input, .. } => GoldenInput::Perform(input.as_ref().clone()),
        };
        let is = asked(&plugin, &golden.config, ask).await?;
        if is != *was {
            let text = |exchange| serde_json::to_string(exchange).unwrap();
            return Err(format!("call {number} was\n{}\nand is\n{}", text(was), text(&is)));
        }
    }
    Ok(())
}

async fn asked(plugin: &Plugin, config: &Map<String, Value>, ask: GoldenInput) -> Result<GoldenCall, String> {
    Ok(match ask {
        GoldenInput::Evaluate(input) => {
            let detector = plugin.detector(config).await.map_err(|error| error.to_string())?;
            let answer = detector.evaluate(&input).await.map_err(|fault| fault.to_string())?;
            GoldenCall::Evaluate { input: Box::new(input), answer }
        }
        GoldenInput::Decide(input) => {
            let policy = plugin.policy(config).await.map_err(|error| error.to_string())?;
            let answer = policy.decide(&input).await.map_err(|fault| fault.to_string())?;
            GoldenCall::Decide { input, answer: Box::new(answer) }
        }
        GoldenInput::Perform(deed) => {
            let actions = plugin.actions(config).await.map_err(|error| error.to_string())?;
            let GoldenTask { now, seed, attempt, ref service, ref action, ref parameters } = deed;
            let task = Task { now, seed, attempt, service, incident: None, action, parameters };
            let plan = actions.check(&task).await.map_err(|failure| failure.to_string())?.summary;
            let answer = actions.perform(&task).await.map_err(|failure| failure.to_string())?;
            // When it was done depends on how long it took.
            let answer = Receipt { at: now, ..answer };
            GoldenCall::Perform { offers: actions.infos().to_vec(), plan, answer, input: Box::new(deed) }
        }
    })
}

/// Asks a component, and keeps it with its answers. What is there already of this version, role and name is left as it is: a golden
/// component is never replaced.
async fn keep(
    directory: &Path,
    host: &Host,
    name: &str,
    bytes: &[u8],
    config: Value,
    asks: Vec<GoldenInput>,
) -> Golden {
    let plugin = host.load_bytes(&table(name), bytes).unwrap();
    let config = config.as_object().cloned().unwrap();
    let mut calls = Vec::new();
    for ask in asks {
        calls.push(asked(&plugin, &config, ask).await.unwrap());
    }
    let golden = Golden {
        version: plugin.contract().to_owned(),
        role: plugin.roles()[0].to_string(),
        name: name.to_owned(),
        sha256: digest(bytes),
        config,
        calls,
    };
    let same =
        |known: &Golden| (&known.version, &known.role, &known.name) == (&golden.version, &golden.role, &golden.name);
    let mut goldens = index(directory).unwrap_or_default();
    if let Some(known) = goldens.iter().find(|known| same(known)) {
        return known.clone();
    }
    std::fs::write(directory.join(format!("{}.wasm", golden.sha256)), bytes).unwrap();
    goldens.push(golden.clone());
    let text = serde_json::to_string_pretty(&goldens).unwrap();
    std::fs::write(directory.join("index.json"), format!("{text}\n")).unwrap();
    golden
}

/// The roles of released versions that no golden component has, and released versions that are no longer spoken.
fn lacking(released: &[String], goldens: &[Golden], spoken: Spoken) -> Vec<String> {
    let mut lacking = Vec::new();
    for version in released {
        let Some(adapter) = spoken.iter().find(|adapter| adapter.contract().version == version) else {
            lacking.push(format!("heald:plugin@{version} is released, and no adapter speaks it"));
            continue;
        };
        for (role, _) in adapter.contract().exports {
            let has = |golden: &Golden| golden.version == *version && golden.role == role.as_str();
            if !goldens.iter().any(has) {
                lacking.push(format!("heald:plugin@{version} is released, and no {role} of it is kept"));
            }
        }
    }
    lacking
}

fn deed(action: &str) -> GoldenTask {
    GoldenTask {
        now: Moment::from_millis(1_001),
        seed: 7,
        attempt: IntentId(Uuid::from_u128(5)),
        service: service("web"),
        action: action.into(),
        parameters: json!({}),
    }
}

fn question() -> Question {
    let Observation { now, seed, service, series, .. } = observation("web", 97.0);
    let incident = json!({
        "id": "00000000-0000-0000-0000-000000000001", "service": "web", "condition": "high-cpu", "signature": "high-cpu",
        "severity": "error", "stage": "opened", "opened": now, "updated": now, "resolved": null, "reopened": 0,
        "parent": null, "concerns": [], "attempts": [], "timeline": [],
    });
    Question {
        now,
        seed,
        service,
        series,
        incident: serde_json::from_value(incident).unwrap(),
        earlier: Vec::new(),
        related: Vec::new(),
        offers: Vec::new(),
        experience: Vec::new(),
        state: None,
    }
}

#[tokio::test]
async fn every_golden_component_loads_and_answers_as_it_did() {
    assert_eq!(walk(&kept(), &host(BOTH)).await, Vec::<String>::new());
    assert!(!index(&kept()).unwrap().is_empty());
}

#[test]
fn every_released_version_is_spoken_and_kept() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/released");
    let entries = place.read_dir().unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir());
    let released: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let goldens = index(&kept()).unwrap();
    assert_eq!(lacking(&released, &goldens, SPOKEN), Vec::<String>::new());

    let never = ["0.0.9", "0.1.0", "0.0.1"].map(str::to_owned);
    let missed = lacking(&never, &goldens, BOTH).join("\n");
    assert!(!missed.contains("0.0.9") && missed.contains("0.0.1 is released, and no adapter speaks it"), "{missed}");
    assert!(missed.contains("0.1.0 is released, and no policy of it is kept"), "{missed}");
}

#[tokio::test]
async fn what_is_kept_of_any_role_is_compared_whole() {
    let place = tempfile::tempdir().unwrap();
    let (place, host) = (place.path(), host(BOTH));
    let detector =
        vec![GoldenInput::Evaluate(observation("web", 97.0)), GoldenInput::Evaluate(observation("web", 1.0))];
    keep(place, &host, "good", component("detector-good"), json!({"bytes": 1}), detector).await;
    let policy = vec![GoldenInput::Decide(Box::new(question()))];
    keep(place, &host, "zealot", component("policy-zealot"), json!({"action": "escalate"}), policy).await;
    let action = vec![GoldenInput::Perform(deed("note"))];
    let note = keep(place, &host, "note", component("action-note"), json!({}), action).await;
    assert_eq!(walk(place, &host).await, Vec::<String>::new());

    let kept = std::fs::read_to_string(place.join("index.json")).unwrap();
    for (was, is) in [
        ("cpu is 97 %", "cpu is 98 %"),
        ("\"escalate\"", "\"no-action\""),
        ("\"noted\"", "\"not noted\""),
        ("something is noted", "nothing is noted"),
        ("\"version\": \"0.1.0\"", "\"version\": \"0.0.9\""),
    ] {
        assert!(kept.contains(was), "{was} in {kept}");
        std::fs::write(place.join("index.json"), kept.replacen(was, is, 1)).unwrap();
        assert!(!walk(place, &host).await.is_empty(), "{was}");
    }
    std::fs::write(place.join("index.json"), &kept).unwrap();
    let file = place.join(format!("{}.wasm", note.sha256));
    std::fs::write(&file, component("detector-good")).unwrap();
    let changed = walk(place, &host).await;
    assert!(changed.len() == 1 && changed[0].contains("has the digest"), "{changed:?}");
    std::fs::remove_file(&file).unwrap();
    let missing = walk(place, &host).await;
    assert!(missing.len() == 1 && missing[0].contains("note (action of 0.1.0)"), "{missing:?}");
    std::fs::write(&file, component("action-note")).unwrap();
    std::fs::write(place.join("stray.wasm"), "").unwrap();
    assert_eq!(walk(place, &host).await, ["stray.wasm is not in the index"]);
    // What is there is not replaced.
    let other = keep(place, &host, "note", component("action-note"), json!({}), Vec::new()).await;
    assert_eq!(other, note);
}

/// Adds what is missing in `tests/golden`: for whoever releases a version.
#[tokio::test]
#[ignore = "writes into tests/golden"]
async fn keep_golden_components() {
    let mut again = observation("web", 97.5);
    again.state = Some(heald_model::Blob(vec![41]));
    let asks = vec![
        GoldenInput::Evaluate(observation("web", 97.0)),
        GoldenInput::Evaluate(again),
        GoldenInput::Evaluate(observation("web", 12.0)),
    ];
    let (host, antique) = (host(BOTH), component("detect-antique"));
    let golden = keep(&kept(), &host, "detect-antique", antique, json!({}), asks).await;
    assert_eq!((golden.version.as_str(), golden.role.as_str()), ("0.0.9", PluginRole::Detector.as_str()));
}
