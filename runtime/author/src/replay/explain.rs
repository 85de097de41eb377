//! `heald explain`: shows every decision of an incident with its input, and repeats it.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context, bail};
use heald_engine::compare::{essence, outline, tell};
use heald_model::{CallInput, CallQuery, CallResult, NumberedCall, PluginCall, SlotMode};
use heald_model::{Incident, IncidentId};
use heald_store::{Archive, UnreadableCall};
use serde_json::{Value, json};

use super::recorded_plugins::{Again, RecordedPlugins, heard};
use super::{DIFFERS, ExplainArgs, TROUBLE, short, stamp};

/// The shortest text that counts as the beginning of an id: the first digits of a UUIDv7 are the time and much alike.
const SHORTEST: usize = 4;
/// Decisions read at once.
const PAGE: u32 = 256;

pub(super) async fn explain(
    args: &ExplainArgs,
    archive: &Archive,
    plugins: &mut RecordedPlugins,
) -> anyhow::Result<u8> {
    let incident = find(archive, &args.incident)?;
    let mut decisions = Vec::new();
    let mut unreadable = Vec::new();
    let mut query = CallQuery { incident: Some(incident.id), limit: PAGE, ..CallQuery::default() };
    loop {
        let page = archive.calls(&query)?;
        let Some(next) = page.next() else { break };
        query.after = next;
        unreadable.extend(page.unreadable);
        for decision in page.calls {
            let again = plugins.again(&decision.call).await;
            decisions.push((decision, again));
        }
    }
    let told = match args.json {
        true => serde_json::to_string_pretty(&whole(&incident, &decisions, &unreadable))? + "\n",
        false => story(&incident, &decisions, &unreadable),
    };
    std::io::stdout().lock().write_all(told.as_bytes())?;
    let any = |is: fn(&Again) -> bool| decisions.iter().any(|(_, again)| is(again));
    Ok(match () {
        () if any(|again| matches!(again, Again::Differs(_))) => DIFFERS,
        () if decisions.is_empty() || !unreadable.is_empty() || any(|again| *again != Again::Same) => TROUBLE,
        () => 0,
    })
}

fn find(archive: &Archive, beginning: &str) -> anyhow::Result<Incident> {
    if beginning.len() < SHORTEST || !beginning.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        bail!("`{beginning}` is not the id of an incident, nor the beginning of one; `heald incidents` lists them");
    }
    let meant: Vec<IncidentId> = archive.incidents(beginning, 2)?;
    match meant.as_slice() {
        [id] => archive.incident(*id)?.context("the incident was deleted just now"),
        [] => bail!("no incident in {} begins with `{beginning}`", archive.path().display()),
        _ => bail!("several incidents begin with `{beginning}`; write more of the id"),
    }
}

/// For a person.
fn story(incident: &Incident, decisions: &[(NumberedCall, Again)], unreadable: &[UnreadableCall]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "incident {}: {} of {}, {}",
        incident.id,
        incident.condition,
        incident.service,
        incident.stage.as_str()
    );
    for (NumberedCall { seq, call }, again) in decisions {
        let part = if call.part == SlotMode::Shadow { ", in the shadow" } else { "" };
        let plugin = &call.plugin;
        let _ = writeln!(text, "\ndecision {seq}, {}, by {plugin} (version {}){part}", stamp(call.at), plugin.version);
        let _ = writeln!(text, "  settings  {}  {}", short(&call.settings.digest), call.settings.text);
        let _ = writeln!(text, "  asked     {}", asked(call));
        for heard in heard(&call.said) {
            let _ = writeln!(text, "  heard     {} {} -> {}", heard.call, heard.asked, heard.answer);
        }
        let _ = writeln!(text, "  said      {}", said(&call.said));
        let _ = match again {
            Again::Same => writeln!(text, "  again     the same, bit for bit"),
            Again::Differs(other) => writeln!(text, "  again     DIFFERS: {}", said(other)),
            Again::Untold(why) | Again::Gone(why) => writeln!(text, "  again     cannot be asked: {why}"),
        };
    }
    for call in unreadable {
        let _ = writeln!(
            text,
            "\ndecision {}, {}, by {}: cannot be read: {}",
            call.seq,
            stamp(call.at),
            call.plugin,
            call.why
        );
    }
    if decisions.is_empty() && unreadable.is_empty() {
        text.push_str("\nthe journal has no decision of a plug-in about it: no plug-in was asked, the native rules decided, or the decision is older than store.calls\n");
    }
    text
}

/// The input of a call in one line.
fn asked(call: &PluginCall) -> String {
    match &call.asked {
        CallInput::Detector(input) => {
            let samples: usize = input.series.iter().map(|series| series.samples.len()).sum();
            format!(
                "what holds of {}: {} series, {samples} samples, seed {}",
                call.service,
                input.series.len(),
                input.seed
            )
        }
        CallInput::Policy(question) => {
            let incident = &question.incident;
            let concerns = incident.concerns.iter().map(|concern| concern.finding.message.as_str());
            let offers: Vec<&str> = question.offers.iter().map(|offer| offer.action.name.as_str()).collect();
            let bytes = question.state.as_ref().map_or(0, |state| state.0.len());
            format!(
                "{} of {} ({}: {}); attempts before: {}; on offer: {}; {} lines of experience; {bytes} bytes of memory; seed {}",
                incident.condition,
                call.service,
                incident.severity,
                concerns.collect::<Vec<_>>().join("; "),
                incident.attempts.len(),
                offers.join(", "),
                question.experience.len(),
                question.seed,
            )
        }
    }
}

/// An answer in one line.
pub(super) fn said(said: &CallResult) -> String {
    match said {
        CallResult::Verdict(verdict) => tell(&outline(&verdict.findings)),
        CallResult::Answer(answer) => {
            let decision = &answer.decision;
            format!("{} (confidence {:.2}): {}", essence(decision), decision.confidence, decision.reason)
        }
        CallResult::Fault(fault) => format!("nothing, it failed: {fault}"),
    }
}

fn whole(incident: &Incident, decisions: &[(NumberedCall, Again)], unreadable: &[UnreadableCall]) -> Value {
    let each = decisions.iter().map(|(NumberedCall { seq, call }, again)| {
        json!({
            "seq": seq,
            "at": stamp(call.at),
            "service": call.service,
            "plugin": call.plugin,
            "part": call.part,
            "settings": { "digest": &*call.settings.digest, "text": &*call.settings.text },
            "asked": call.asked,
            "said": call.said,
            "again": outcome(again),
        })
    });
    json!({
        "incident": incident.id,
        "service": incident.service,
        "condition": incident.condition,
        "stage": incident.stage,
        "decisions": each.collect::<Vec<_>>(),
        "unreadable": unreadable.iter().map(unread).collect::<Vec<_>>(),
    })
}

/// What became of it, for programs.
pub(super) fn outcome(again: &Again) -> Value {
    match again {
        Again::Same => json!({ "result": "same" }),
        Again::Differs(said) => json!({ "result": "differs", "said": said }),
        Again::Untold(why) => json!({ "result": "untold", "why": why }),
        Again::Gone(why) => json!({ "result": "gone", "why": why }),
    }
}

pub(super) fn unread(call: &UnreadableCall) -> Value {
    json!({ "seq": call.seq, "at": stamp(call.at), "plugin": call.plugin, "why": call.why })
}
