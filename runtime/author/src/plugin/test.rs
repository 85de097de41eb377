//! `heald plugin test`: runs scenarios against a plug-in and compares its answers with what they expect.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use heald_host::PluginRole;
use serde::Serialize;

use super::scenario::{self, CheckedScenario, Judged, ScenarioCall};
use super::subject::{Subject, SubjectArgs};

/// `heald plugin test`.
#[derive(Clone, Debug, Default, Args)]
pub struct TestArgs {
    /// The plug-in.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Scenario files, or folders of them; ./scenarios if none is named
    #[arg(value_name = "SCENARIO.toml")]
    pub files: Vec<PathBuf>,
    /// A scenario that heald brings: crash-loop, dependency-down, flap or slow-burn; may be given several times
    #[arg(long = "scenario", value_name = "NAME")]
    pub names: Vec<String>,
    /// Name every expectation, also those that are met
    #[arg(long, short)]
    pub verbose: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// One scenario, played by a plug-in in one role.
#[derive(Debug, Serialize)]
pub struct ScenarioResult {
    scenario: String,
    role: &'static str,
    passed: bool,
    calls: usize,
    expectations: Vec<Judged>,
}

/// Carries out `heald plugin test`.
///
/// # Errors
/// When the plug-in cannot be loaded or configured, or a scenario makes no sense.
pub fn test(args: &TestArgs) -> anyhow::Result<ExitCode> {
    // A plug-in's project has its scenarios in a folder of that name.
    let unsaid = args.files.is_empty() && args.names.is_empty();
    let own = Path::new("scenarios");
    let files = if unsaid && own.is_dir() { vec![own.to_owned()] } else { args.files.clone() };
    let scenarios = scenarios(&files, &args.names)?;
    if scenarios.is_empty() {
        let shipped = "crash-loop, dependency-down, flap or slow-burn";
        bail!(
            "no scenario is named, and ./scenarios has none; name files, or one that heald brings with --scenario: {shipped}"
        );
    }
    let subject = args.subject.recall()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let played = runtime.block_on(Box::pin(play_all(&subject, &scenarios)))?;
    let told = if args.json { serde_json::to_string_pretty(&played)? + "\n" } else { tell(&played, args.verbose) };
    io::stdout().lock().write_all(told.as_bytes())?;
    Ok(if played.iter().all(|one| one.passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Files first, in the order in which they were named; of a folder, every scenario in it, by name.
pub(super) fn scenarios(files: &[PathBuf], names: &[String]) -> anyhow::Result<Vec<CheckedScenario>> {
    let mut all = Vec::new();
    for path in files {
        if path.is_dir() {
            for file in within(path)? {
                all.push(CheckedScenario::open(&file)?);
            }
        } else {
            all.push(CheckedScenario::open(path)?);
        }
    }
    for name in names {
        all.push(CheckedScenario::shipped(name)?);
    }
    Ok(all)
}

/// The TOML files in a folder.
fn within(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    Ok(files)
}

/// Every part of every scenario that is for a role of the plug-in.
pub async fn play_all(subject: &Subject, scenarios: &[CheckedScenario]) -> anyhow::Result<Vec<ScenarioResult>> {
    let mut all = Vec::new();
    for scenario in scenarios {
        let roles = subject.plugin.roles();
        let parts: Vec<PluginRole> = scenario.roles().into_iter().filter(|role| roles.contains(role)).collect();
        if parts.is_empty() {
            let named =
                |roles: &[PluginRole]| roles.iter().map(|role| article(*role)).collect::<Vec<_>>().join(" and ");
            bail!("{} is for {}; this plug-in is {}", scenario.name, named(&scenario.roles()), named(roles));
        }
        for role in parts {
            let turns = Box::pin(play(subject, scenario, role)).await?;
            let expectations = scenario.judge(role, &turns);
            all.push(ScenarioResult {
                scenario: scenario.name.clone(),
                role: role.as_str(),
                passed: expectations.iter().all(|each| each.met),
                calls: turns.len(),
                expectations,
            });
        }
    }
    Ok(all)
}

fn article(role: PluginRole) -> String {
    format!("{} {role}", if role == PluginRole::Action { "an" } else { "a" })
}

/// One part.
pub(super) async fn play(
    subject: &Subject,
    scenario: &CheckedScenario,
    role: PluginRole,
) -> anyhow::Result<Vec<ScenarioCall>> {
    let config = subject.config(&scenario.form.config);
    Ok(match role {
        PluginRole::Detector => scenario::play_samples(scenario, &*subject.plugin.detector(&config).await?).await,
        PluginRole::Policy => scenario::play_questions(scenario, &*subject.plugin.policy(&config).await?).await,
        PluginRole::Action => scenario::play_tasks(scenario, &*subject.plugin.actions(&config).await?).await,
    })
}

/// For a person: a line for each part, and under it what was not met.
fn tell(played: &[ScenarioResult], verbose: bool) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for one in played {
        let word = if one.passed { "passed" } else { "FAILED" };
        let met = one.expectations.iter().filter(|each| each.met).count();
        let (calls, all) = (many(one.calls, "call"), many(one.expectations.len(), "expectation"));
        let _ = writeln!(text, "{word}  {} ({}): {calls}, {met} of {all} met", one.scenario, one.role);
        for each in one.expectations.iter().filter(|each| verbose || !each.met) {
            let when = each.at.map(|at| format!(", at {at}")).unwrap_or_default();
            match &each.said {
                Some(said) => {
                    let _ = writeln!(
                        text,
                        "  line {}{when}\n    expected  {}\n    said      {said}",
                        each.line, each.expected
                    );
                }
                None => {
                    let _ = writeln!(text, "  line {}: {}", each.line, each.expected);
                }
            }
        }
    }
    text
}

fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(component: &str) -> Subject {
        SubjectArgs { component: component.into(), ..SubjectArgs::default() }.load().unwrap()
    }

    async fn play_shipped(component: &str, name: &str) -> Vec<ScenarioResult> {
        play_all(&subject(component), &[CheckedScenario::shipped(name).unwrap()]).await.unwrap()
    }

    #[tokio::test]
    async fn the_builtins_pass_what_heald_brings() {
        for (component, name) in [
            ("builtin:detect-availability", "flap"),
            ("builtin:detect-availability", "crash-loop"),
            ("builtin:detect-availability", "dependency-down"),
            ("builtin:detect-threshold", "slow-burn"),
            ("builtin:decide-rules", "flap"),
            ("builtin:decide-rules", "crash-loop"),
            ("builtin:decide-rules", "dependency-down"),
            ("builtin:decide-rules", "slow-burn"),
        ] {
            let played = Box::pin(play_shipped(component, name)).await;
            assert_eq!(played.len(), 1);
            assert!(played[0].passed, "{component}\n{}", tell(&played, true));
            assert!(!played[0].expectations.is_empty(), "{component} {name} expects something");
        }
    }

    #[tokio::test]
    async fn what_is_not_said_is_told_with_line_time_and_words() {
        // Limits are no business of a detector that looks at verdicts.
        let played = Box::pin(play_shipped("builtin:detect-availability", "slow-burn")).await;
        assert!(!played[0].passed);
        let told = tell(&played, false);
        assert!(told.starts_with("FAILED  slow-burn (detector): 660 calls, "), "{told}");
        assert!(told.contains("expected  memory-pressure") && told.contains("said      nothing found"), "{told}");
    }

    #[test]
    fn a_folder_is_all_its_scenarios() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", "README.md"] {
            std::fs::write(folder.path().join(name), "[[sample]]\n").unwrap();
        }
        let found = scenarios(&[folder.path().to_owned()], &["flap".to_owned()]).unwrap();
        let names: Vec<&str> = found.iter().map(|scenario| scenario.name.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["a.toml", "b.toml", "flap"]);
    }

    #[tokio::test]
    async fn a_scenario_for_another_role_is_refused() {
        let text = "[[task]]\naction = \"x\"\n";
        let scenario = CheckedScenario::read("t.toml", text).unwrap();
        let error = play_all(&subject("builtin:decide-rules"), &[scenario]).await.unwrap_err();
        assert_eq!(error.to_string(), "t.toml is for an action; this plug-in is a policy");
    }

    #[tokio::test]
    async fn an_action_does_what_it_is_granted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("old"), "12345").unwrap();
        let args = SubjectArgs {
            component: "builtin:act-clear-cache".into(),
            grant: Some(serde_json::json!({ "files": [folder.path()] }).to_string()),
            ..SubjectArgs::default()
        };
        let text = r#"
[[task]]
action = "clear-cache"
do = "check"
[[task.expect]]
done = true

[[task]]
action = "clear-cache"
[[task.expect]]
done = true
changed = true
undoable = false

[[task]]
action = "clear-cache"
parameters = { path = "../etc" }
[[task.expect]]
done = false

[[task]]
action = "dance"
[[task.expect]]
done = false
says = "unknown action `dance`"
"#;
        let scenario = CheckedScenario::read("t.toml", text).unwrap();
        let played = Box::pin(play_all(&args.load().unwrap(), &[scenario])).await.unwrap();
        assert!(played[0].passed, "{}", tell(&played, true));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
