//! One journal row as one line for a person: when, which service, which step of the loop, what.

use std::borrow::Cow;

use heald_model::{Choice, Moment, Record, Row, Ruling, Severity, Stage};
use jiff::Timestamp;

/// How a step of the loop is set off from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    Bad,
    Watch,
    Good,
    Quiet,
}

impl Tone {
    const fn colour(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bad => "\x1b[31m",
            Self::Watch => "\x1b[33m",
            Self::Good => "\x1b[32m",
            Self::Quiet => "\x1b[2m",
        }
    }
}

/// The row's line, without a newline. What services and plug-ins say may hold anything, so no control character is let through.
pub(super) fn line(row: &Row, colour: bool) -> String {
    let (step, tone, text) = told(&row.entry.record);
    let service = row.entry.service.as_ref().map_or("heald", |service| service.as_str());
    let (on, off) = if colour && tone != Tone::Plain { (tone.colour(), "\x1b[0m") } else { ("", "") };
    format!("{}  {:<16} {on}{step:<9}{off} {}", clock(row.entry.at), plain(service), plain(&text))
}

/// The time of day, UTC.
fn clock(at: Moment) -> String {
    let stamp = Timestamp::from_nanosecond(i128::from(at.nanos())).unwrap_or(Timestamp::MAX);
    stamp.strftime("%H:%M:%S%.3f").to_string()
}

pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn told(record: &Record) -> (&'static str, Tone, String) {
    match record {
        Record::Started { version, notes } => {
            let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
            ("started", Tone::Plain, format!("heald {version}{notes}"))
        }
        Record::Stopped => ("stopped", Tone::Plain, "heald ended in order".into()),
        Record::Opened { concern, reopened, .. } => {
            let again = if *reopened > 0 { format!(" (back for the {} time)", nth(*reopened)) } else { String::new() };
            let (tone, text) = found(concern);
            ("detect", tone, text + &again)
        }
        Record::Concerned { concern } => {
            let (tone, text) = found(concern);
            ("detect", tone, text)
        }
        Record::Relapsed { signature, .. } => {
            ("relapsed", Tone::Bad, format!("{signature} came back although it had been healed"))
        }
        Record::DependencyReturned { dependency } => {
            ("dependency", Tone::Good, format!("{dependency} serves again; it is looked at now"))
        }
        Record::Cleared { condition, subject } => {
            let subject = subject.as_ref().map(|subject| format!("/{subject}")).unwrap_or_default();
            ("cleared", Tone::Good, format!("{condition}{subject} no longer holds"))
        }
        Record::Decided { decision } => {
            let asked = match &decision.choice {
                Choice::Act(proposal) if proposal.parameters.as_object().is_some_and(|o| !o.is_empty()) => {
                    format!("{} {}", proposal.action, proposal.parameters)
                }
                _ => decision.verb().to_owned(),
            };
            ("decide", Tone::Plain, format!("{asked}: {} ({})", decision.reason, decision.source))
        }
        Record::Ruled { action, ruling } => match ruling {
            Ruling::Admit { why } => ("guard", Tone::Quiet, format!("{action} permitted: {why}")),
            Ruling::Wait { rule, why, .. } => ("guard", Tone::Watch, format!("{action} waits ({rule}): {why}")),
            Ruling::Refuse { rule, why } => ("guard", Tone::Watch, format!("{action} refused ({rule}): {why}")),
        },
        Record::Intended { intent } => ("act", Tone::Plain, format!("{} {}", intent.action, intent.class)),
        Record::Performed { receipt, .. } => ("act", Tone::Plain, receipt.summary.clone()),
        Record::Proved { proof, .. } => ("verify", Tone::Quiet, proof.summary.clone()),
        Record::Undone { summary, .. } => ("undo", Tone::Watch, summary.clone()),
        Record::Settled { ending, .. } => {
            let word = ending.to_string();
            ("outcome", if word == "healed" { Tone::Good } else { Tone::Watch }, word)
        }
        Record::Staged { stage, why } => {
            let tone = match stage {
                Stage::Resolved => Tone::Good,
                Stage::Escalated => Tone::Bad,
                Stage::Opened | Stage::Healing => Tone::Quiet,
            };
            ("incident", tone, format!("{stage}: {why}"))
        }
        Record::PluginFaulted { plugin, about, fault, rested_until, .. } => {
            let about = about.as_ref().map(|about| format!(" about {about}")).unwrap_or_default();
            let rest = if rested_until.is_some() { "; it is quarantined" } else { "" };
            ("plug-in", Tone::Bad, format!("{plugin}{about}: {fault}{rest}"))
        }
        Record::PluginRecovered { plugin, .. } => ("plug-in", Tone::Good, format!("{plugin} answers again")),
        Record::Shadowed { plugin, would, did, agrees, .. } => {
            let tone = if *agrees { Tone::Quiet } else { Tone::Watch };
            ("plug-in", tone, format!("{plugin} would have: {would}; it was: {did}"))
        }
        Record::PluginMoved { plugin, to, by, why } => {
            ("plug-in", Tone::Quiet, format!("{plugin} {to} by {by}: {why}"))
        }
        Record::HealthChanged { from, to, why } => {
            let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let tone = if to.as_str() == "healthy" { Tone::Good } else { Tone::Watch };
            ("health", tone, format!("{from} -> {to}{why}"))
        }
        Record::BreakerMoved { from, to, why } => ("circuit", Tone::Watch, format!("{from} -> {to}: {why}")),
        Record::ProcessStarted { replica, incarnation, pid } => {
            ("process", Tone::Quiet, format!("pid {pid} started (copy {replica}, life {incarnation})"))
        }
        Record::ProcessExited { pid, status, wanted, .. } => {
            let (tone, wanted) = if *wanted { (Tone::Quiet, ", as wanted") } else { (Tone::Bad, "") };
            ("process", tone, format!("pid {pid} ended {}{wanted}", ended(*status)))
        }
        Record::DesiredChanged { desired, by } => ("wish", Tone::Plain, format!("{by} wants it {desired}")),
        Record::Reset { by } => ("wish", Tone::Plain, format!("{by} reset back-off and attempts")),
        Record::Note { text } => ("note", Tone::Plain, text.clone()),
    }
}

fn found(concern: &heald_model::Concern) -> (Tone, String) {
    let finding = &concern.finding;
    let tone = match finding.severity {
        Severity::Critical | Severity::Error => Tone::Bad,
        Severity::Warning => Tone::Watch,
        Severity::Info => Tone::Quiet,
    };
    (tone, format!("{} {}: {} ({})", finding.severity, finding.signature(), finding.message, concern.source))
}

fn ended(status: Option<i32>) -> String {
    match status {
        None => "in an unknown way".into(),
        Some(signal) if signal < 0 => format!("by signal {}", signal.unsigned_abs()),
        Some(code) => format!("with code {code}"),
    }
}

/// 1st, 2nd, 3rd, 4th, 11th ...
fn nth(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}
