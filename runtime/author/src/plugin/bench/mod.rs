//! `heald plugin bench`: what a plug-in costs, measured through the host that `heald run` has, and held against a budget.
//!
//! It makes the calls of a scenario over and over, first on a warm instance, then each on a fresh one. An action is only ever
//! checked, never performed. The figures are of this machine as it is now: a busy one makes a plug-in look slow, and a
//! budget in a build wants room for that.

mod budget;
mod measure;
mod weight;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use heald_host::PluginRole;
use serde::Serialize;

use super::scenario::CheckedScenario;
use super::subject::SubjectArgs;
use budget::BenchBudget;
use measure::Measured;

/// What is called when no scenario is named: a healthy service with a rich sample, and an incident in the middle of its story.
const SYNTHETIC: &str = include_str!("synthetic.toml");

/// `heald plugin bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// The plug-in.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Calls on a warm instance
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub calls: u32,
    /// The calls of this scenario, a file or one that heald brings, instead of synthetic ones
    #[arg(long, value_name = "NAME|FILE")]
    pub scenario: Option<String>,
    /// What must not be exceeded: p50, p99, max, instantiate_p99, fresh_p99, guest, load, memory, in, out
    #[arg(long, value_name = "p99=50us,memory=8MiB,...", value_parser = BenchBudget::parse)]
    pub budget: Option<BenchBudget>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    plugin: String,
    digest: String,
    called_with: String,
    roles: Vec<Measured>,
    over_budget: Vec<String>,
}

/// Has it measured.
///
/// # Errors
/// When the plug-in cannot be loaded or configured, or the scenario is not for it.
pub fn bench(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let report = measure(args)?;
    let told = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { tell(&report) };
    io::stdout().lock().write_all(told.as_bytes())?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Report {
    /// A call that failed was not measured, it was only short.
    fn is_good(&self) -> bool {
        self.over_budget.is_empty() && self.roles.iter().all(|measured| measured.faults == 0)
    }
}

fn measure(args: &BenchArgs) -> anyhow::Result<Report> {
    let scenario = match &args.scenario {
        None => CheckedScenario::read("synthetic calls", SYNTHETIC)?,
        Some(path) if Path::new(path).extension().is_some() => CheckedScenario::open(Path::new(path))?,
        Some(name) => CheckedScenario::shipped(name)?,
    };
    let subject = args.subject.load()?;
    let roles: Vec<PluginRole> = match args.scenario {
        None => subject.plugin.roles().to_vec(),
        Some(_) => {
            let asked = scenario.roles();
            subject.plugin.roles().iter().copied().filter(|role| asked.contains(role)).collect()
        }
    };
    if roles.is_empty() {
        bail!("nothing in {} is for this plug-in's role", scenario.name);
    }
    // One thread, as one call has; the host's ticker has its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut measured = Vec::new();
    for role in roles {
        measured.push(runtime.block_on(Box::pin(measure::measure(&subject, &scenario, role, args.calls)))?);
    }
    let over_budget =
        args.budget.iter().flat_map(|budget| measured.iter().flat_map(|role| budget.exceeded(role))).collect();
    let reference = subject.plugin.reference();
    Ok(Report {
        plugin: reference.name.to_string(),
        digest: reference.digest.clone(),
        called_with: scenario.name,
        roles: measured,
        over_budget,
    })
}

fn tell(report: &Report) -> String {
    let digest = report.digest.get(..12).unwrap_or(&report.digest);
    let mut text = format!("{}@{digest}, called with {}\n", report.plugin, report.called_with);
    for one in &report.roles {
        let _ = writeln!(text, "\n{} ({}, {} different ones)", one.role, one.what, one.inputs);
        let rows = [
            ("warm", spread(&one.warm), format!("{} calls", one.calls)),
            ("instantiate", spread(&one.instantiate), "instance, configure, describe".to_owned()),
            ("fresh", spread(&one.fresh), format!("the same and one call, {} times", one.fresh_calls)),
            ("guest", format!("mean {}", time(one.guest)), "on a thread, for each warm call".to_owned()),
            ("load", time(one.load), "read, verify, compile, link".to_owned()),
            ("memory", size(one.memory), "the most that an instance had".to_owned()),
            ("in", size(one.bytes_in), "texts, blobs and numbers handed over, mean of a call".to_owned()),
            ("out", size(one.bytes_out), "texts and blobs taken back, mean of a call".to_owned()),
        ];
        for (name, figure, what) in rows {
            let _ = writeln!(text, "  {name:<11}  {figure:<42}  {what}");
        }
        if one.faults > 0 {
            let fault = one.fault.as_deref().unwrap_or_default();
            let _ = writeln!(text, "  FAULTS       {} of the calls failed: {fault}", one.faults);
        }
    }
    for over in &report.over_budget {
        let _ = writeln!(text, "\nOVER BUDGET  {over}");
    }
    text
}

fn spread(spread: &measure::Spread) -> String {
    format!("p50 {}  p99 {}  max {}", time(spread.p50), time(spread.p99), time(spread.max))
}

/// Three digits that count, in the unit that needs none before.
fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        micros if micros < 1_000.0 => format!("{} µs", rounded(micros)),
        micros if micros < 1e6 => format!("{} ms", rounded(micros / 1e3)),
        micros => format!("{} s", rounded(micros / 1e6)),
    }
}

fn size(bytes: u64) -> String {
    // Sizes here are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let exact = bytes as f64;
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", rounded(exact / 1_024.0)),
        _ => format!("{} MiB", rounded(exact / 1_048_576.0)),
    }
}

fn rounded(number: f64) -> String {
    match number {
        number if number < 10.0 => format!("{number:.2}"),
        number if number < 100.0 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(component: &str, calls: u32, budget: Option<&str>) -> BenchArgs {
        BenchArgs {
            subject: SubjectArgs { component: component.into(), ..SubjectArgs::default() },
            calls,
            scenario: None,
            budget: budget.map(|text| BenchBudget::parse(text).unwrap()),
            json: false,
        }
    }

    #[test]
    fn a_builtin_is_measured_in_its_role() {
        let folder = tempfile::tempdir().unwrap();
        for (component, role) in [
            ("builtin:detect-threshold", "detector"),
            ("builtin:decide-rules", "policy"),
            ("builtin:act-clear-cache", "action"),
        ] {
            let mut args = args(component, 20, None);
            if role == "action" {
                args.subject.grant = Some(serde_json::json!({ "files": [folder.path()] }).to_string());
            }
            let report = measure(&args).unwrap();
            let [one] = &report.roles[..] else { panic!("{report:?}") };
            assert_eq!((one.role.as_str(), one.calls, one.faults), (role, 20, 0), "{report:?}");
            assert!(one.warm.p50 <= one.warm.p99 && one.warm.p99 <= one.warm.max && !one.warm.p50.is_zero());
            assert!(one.memory >= 65_536 && one.bytes_in > 0 && one.fresh_calls > 0, "{report:?}");
            assert!(report.is_good());
            let told = tell(&report);
            assert!(told.contains("called with synthetic calls") && told.contains("20 calls"), "{told}");
        }
    }

    #[test]
    fn past_a_budget_is_said_and_counts() {
        let report = measure(&args("builtin:detect-threshold", 5, Some("p99=1ns,memory=1GiB,in=1B"))).unwrap();
        assert!(!report.is_good());
        assert_eq!(report.over_budget.len(), 2, "{report:?}");
        assert!(report.over_budget[0].starts_with("p99 is ") && report.over_budget[0].ends_with(" (detector)"));
        assert!(tell(&report).contains("OVER BUDGET  p99 is "));
        assert!(measure(&args("builtin:detect-threshold", 5, Some("memory=1GiB"))).unwrap().is_good());
    }

    #[test]
    fn the_calls_of_a_scenario_are_measured_as_well() {
        let mut args = args("builtin:detect-availability", 5, None);
        args.scenario = Some("flap".into());
        let report = measure(&args).unwrap();
        assert_eq!((report.called_with.as_str(), report.roles[0].inputs), ("flap", 150));
    }

    #[test]
    fn figures_have_three_digits() {
        let times = [120, 12_340, 999_400, 12_345_678, 2_000_000_000].map(|nanos| time(Duration::from_nanos(nanos)));
        assert_eq!(times, ["0.12 µs", "12.3 µs", "999 µs", "12.3 ms", "2.00 s"]);
        assert_eq!([10, 2_048, 200_000, 3 << 20].map(size), ["10 B", "2.00 KiB", "195 KiB", "3.00 MiB"]);
    }
}
