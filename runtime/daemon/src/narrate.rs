//! Prints what happens in the demo on the terminal, one line for each event.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use heald_control::History;
use heald_model::{Ending, Outcome, Record, Row, Ruling, Stage};
use tokio::sync::broadcast::error::RecvError;

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BLUE: &str = "34";
const MAGENTA: &str = "35";
const CYAN: &str = "36";
const DIM: &str = "2";

/// One line: the word of its column, its colour, and its text.
struct NarrationLine {
    stage: &'static str,
    colour: &'static str,
    text: String,
}

/// Prints every row of the journal that a person would want to see, until the journal ends.
pub async fn narrate(history: Arc<dyn History>) {
    let colours = std::io::stdout().is_terminal();
    let mut rows = history.subscribe();
    loop {
        match rows.recv().await {
            Ok(row) => {
                if let Some(line) = line(&row) {
                    tell(&row, &line, colours);
                }
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!("{missed} lines were too fast to be told"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn tell(row: &Row, line: &NarrationLine, colours: bool) {
    let service = row.entry.service.as_ref().map_or("heald", |service| service.as_str());
    let time = jiff::Timestamp::from_nanosecond(i128::from(row.entry.at.nanos()))
        .map(|at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string())
        .unwrap_or_default();
    let (on, off) = if colours { (format!("\x1b[{}m", line.colour), "\x1b[0m") } else { (String::new(), "") };
    let out = std::io::stdout();
    // A terminal that has gone away must not end the healing.
    let _ = writeln!(out.lock(), "{time}  {service:<10} {on}{:<8}{off} {}", line.stage, line.text);
}

fn line(row: &Row) -> Option<NarrationLine> {
    let line = |stage, colour, text| Some(NarrationLine { stage, colour, text });
    match &row.entry.record {
        Record::Opened { concern, .. } => {
            line("detect", RED, format!("{} ({})", concern.finding.message, concern.source))
        }
        Record::Decided { decision } => {
            line("decide", MAGENTA, format!("{}: {} ({})", decision.verb(), decision.reason, decision.source))
        }
        Record::Ruled { action, ruling: Ruling::Wait { why, .. } | Ruling::Refuse { why, .. } } => {
            line("guard", YELLOW, format!("{action} held back: {why}"))
        }
        Record::Ruled { action, ruling: Ruling::Admit { why } } => {
            line("guard", DIM, format!("{action} permitted: {why}"))
        }
        Record::Performed { receipt, .. } => line("act", BLUE, receipt.summary.clone()),
        Record::Proved { proof, .. } => line("verify", CYAN, proof.summary.clone()),
        Record::Settled { ending, .. } => {
            let colour = if *ending == Ending::Verified(Outcome::Healed) { GREEN } else { YELLOW };
            line("outcome", colour, ending.to_string())
        }
        Record::Staged { stage: Stage::Escalated, why } => line("escalate", RED, why.clone()),
        Record::Staged { stage: Stage::Resolved, why } => line("resolved", GREEN, why.clone()),
        Record::PluginFaulted { fault, .. } => line("plug-in", YELLOW, fault.to_string()),
        _ => None,
    }
}

/// Prints what a person sees first.
pub fn welcome(addresses: &[String]) {
    let out = std::io::stdout();
    let address = addresses.first().map(String::as_str).unwrap_or_default();
    let _ = writeln!(
        out.lock(),
        "heald heals five services that fail in turn: shop crashes, search hangs, images leaks, reports turns slow, payments \
         says it is down.\n\
         API        {address}  (try: heald status --url {address}, heald incidents --url {address})\n\
         End it with Ctrl-C.\n"
    );
}
