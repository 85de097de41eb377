//! A detector of a contract older than the first: cpu above 90 is a finding, and its state counts the calls.

wit_bindgen::generate!({ path: "../plugin.wit", world: "detector" });

use exports::heald::plugin::detect::{Error, Finding, Guest, Observation, Verdict};
use heald::plugin::log::{self, Level};
use heald::plugin::types::Severity;

struct Antique;

impl Guest for Antique {
    fn configure(config: String) -> Result<(), Error> {
        if config.contains("cellar") { Err(Error::BadConfig("nothing goes to the cellar".into())) } else { Ok(()) }
    }

    fn describe() -> Vec<String> {
        vec!["high-cpu".into()]
    }

    fn evaluate(input: Observation) -> Result<Verdict, Error> {
        let calls = match input.state.as_deref() {
            None => 1,
            Some([calls]) => calls.wrapping_add(1),
            Some(_) => return Err(Error::BadState),
        };
        log::write(Level::Info, &format!("call {calls} at {}", input.now));
        if input.service == "bad" {
            log::write(Level::Error, "no service is as bad as this one");
            panic!("too bad");
        }
        let mut findings = Vec::new();
        for series in &input.series {
            let Some(cpu) = series.samples.last().and_then(|sample| sample.cpu).filter(|cpu| *cpu > 90.0) else {
                continue;
            };
            let severity = if cpu > 95.0 { Severity::Critical } else { Severity::Warning };
            let message = format!("{}: cpu is {cpu} %, call {calls}", series.probe);
            findings.push(Finding { condition: "high-cpu".into(), severity, score: cpu / 100.0, message });
        }
        Ok(Verdict { findings, state: Some(vec![calls]) })
    }
}

export!(Antique);
