//! `heald replay --plugin NAME=FILE`: asks the component in FILE what the plug-in NAME was asked, and shows where the answers differ.
//! Policies are asked with their recorded calls, detectors with the recorded samples.
//!
//! A component that is not the recorded one does not get the recorded state: it has the state that it returned itself.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::bail;
use heald_engine::compare::replay::{RecordedAnswer, RecordedFindings, ReplayReview, ReplayTarget, TapePlayer};
use heald_engine::ports::Detector as _;
use heald_host::{Plugin, PluginConfig, PluginDetector, PluginRole};
use heald_model::Blob;
use heald_model::{Agreement, Difference};
use heald_model::{CallInput, CallQuery, CallResult, Checkpoint, PluginCall};
use heald_model::{Moment, ServiceName};
use heald_store::{Archive, TapeChunk};
use serde_json::{Map, Value, json};

use super::recorded_plugins::{RecordedPlugins, heard, said_by_detector, said_by_policy, table};
use super::{Candidate, DIFFERS, ReplayArgs, Span, TROUBLE, object, stamp};
use heald_config::Config;

/// Calls read at once.
const PAGE: u32 = 512;

/// Compares a candidate with the record of a plug-in.
pub(super) struct CandidateComparison<'a> {
    config: &'a Config,
    archive: &'a Archive,
    table: PluginConfig,
    plugin: Plugin,
    /// The configuration that the command line gives.
    settings: Option<Map<String, Value>>,
    outcome: ComparisonResult,
}

/// The result of a comparison.
#[derive(Debug, Default)]
struct ComparisonResult {
    review: ReplayReview,
    shown: Vec<Difference>,
    limit: usize,
    /// The number of calls.
    asked: u64,
    /// The parts of the record that could not be used.
    lost: Vec<String>,
    /// The first call at which the candidate failed.
    fault: Option<String>,
}

impl<'a> CandidateComparison<'a> {
    /// Loads the component.
    ///
    /// # Errors
    /// When it cannot be loaded, is neither detector nor policy, or its configuration is no object.
    pub(super) fn new(
        args: &ReplayArgs,
        candidate: &Candidate,
        config: &'a Config,
        archive: &'a Archive,
        plugins: &RecordedPlugins,
    ) -> anyhow::Result<Self> {
        let table = table(&config.plugin, &candidate.name);
        let table = PluginConfig { component: candidate.component.clone(), ..table };
        let plugin = plugins.host().load(&table)?;
        if !plugin.roles().iter().any(|role| matches!(role, PluginRole::Detector | PluginRole::Policy)) {
            bail!(
                "{} is neither a detector nor a policy; what an action did cannot be tried again",
                candidate.component
            );
        }
        let settings = args.settings.as_deref().map(|text| object("--settings", text)).transpose()?;
        let outcome = ComparisonResult { limit: args.limit_differences, ..ComparisonResult::default() };
        Ok(Self { config, archive, table, plugin, settings, outcome })
    }

    /// Asks the candidate and prints the comparison.
    ///
    /// # Errors
    /// When it refuses its configuration, or the journal cannot be read.
    pub(super) async fn run(mut self, args: &ReplayArgs, span: &Span) -> anyhow::Result<u8> {
        if self.plugin.roles().contains(&PluginRole::Policy) {
            self.policies(span).await?;
        }
        if self.plugin.roles().contains(&PluginRole::Detector) {
            let services = self.archive.taped()?.into_iter();
            for service in services.filter(|name| span.service.as_ref().is_none_or(|only| only == name)) {
                self.detectors(&service, span.since).await?;
            }
        }
        let told = match args.json {
            true => serde_json::to_string_pretty(&self.whole())? + "\n",
            false => self.report(),
        };
        std::io::stdout().lock().write_all(told.as_bytes())?;
        Ok(match () {
            () if self.outcome.review.agreement.disagreed > 0 => DIFFERS,
            () if self.outcome.asked == 0 || !self.outcome.lost.is_empty() => TROUBLE,
            () => 0,
        })
    }

    async fn policies(&mut self, span: &Span) -> anyhow::Result<()> {
        let mut memories: HashMap<ServiceName, Option<Blob>> = HashMap::new();
        let mut query = self.query(span.service.clone());
        query.since = Some(span.since);
        while let Some(calls) = self.page(&mut query)? {
            for call in calls {
                let CallInput::Policy(question) = &call.asked else { continue };
                let mut question = (**question).clone();
                if !self.is_of_record(&call) {
                    question.state = memories.get(&call.service).cloned().flatten();
                }
                let settings = self.settings_of(&call)?;
                let policy = self.plugin.policy(&settings).await?;
                let said = said_by_policy(&policy, &question, heard(&call.said)).await;
                if let CallResult::Answer(answer) = &said
                    && let Some(state) = &answer.state
                {
                    memories.insert(call.service.clone(), Some(state.clone()));
                }
                self.outcome.note(&said);
                let difference = self.outcome.review.decision(occasion(&call), &said, &call.said);
                self.outcome.show(difference);
            }
        }
        Ok(())
    }

    async fn detectors(&mut self, service: &ServiceName, since: Moment) -> anyhow::Result<()> {
        let mut findings = self.findings(service)?;
        let mut seat: Option<Seat> = None;
        let mut deck = TapePlayer::default();
        for strip in self.archive.looks(service.clone(), since)? {
            let TapeChunk { looks, gap } = strip?;
            if let Some(gap) = gap {
                self.outcome.lost.push(format!("{service}: {gap}"));
                deck = TapePlayer::default();
            }
            for look in &looks {
                if let Some(checkpoint) = &look.checkpoint {
                    findings.heed(look.at, checkpoint, &self.table.name);
                    seat = Some(self.seat(service, checkpoint, seat).await?);
                }
                let Some(seat) = &seat else { continue };
                let Some(input) = deck.play(look, &seat.listener) else { continue };
                let said = said_by_detector(&seat.detector, &input, &[]).await;
                if let CallResult::Verdict(verdict) = &said {
                    deck.remember(verdict.state.clone());
                }
                if look.at < since {
                    continue;
                }
                self.outcome.note(&said);
                let occasion = RecordedAnswer {
                    at: look.at,
                    service: service.clone(),
                    incident: None,
                    by: self.table.name.to_string(),
                };
                let difference = self.outcome.review.verdict(occasion, &said, &findings.at(look.at));
                self.outcome.show(difference);
            }
        }
        Ok(())
    }

    /// The recorded findings about a service, with their times.
    fn findings(&mut self, service: &ServiceName) -> anyhow::Result<RecordedFindings> {
        let mut findings = RecordedFindings::default();
        let mut query = self.query(Some(service.clone()));
        while let Some(calls) = self.page(&mut query)? {
            calls
                .iter()
                .filter(|call| matches!(call.asked, CallInput::Detector(_)))
                .for_each(|call| findings.learn(call));
        }
        Ok(findings)
    }

    /// The detector with the configuration of a checkpoint.
    async fn seat(&self, service: &ServiceName, checkpoint: &Checkpoint, before: Option<Seat>) -> anyhow::Result<Seat> {
        let its = checkpoint.detectors.iter().find(|(plugin, ..)| plugin.name == self.table.name);
        let digest = its.map(|(_, settings, _)| settings.clone()).unwrap_or_default();
        if let Some(before) = before.filter(|before| before.settings == digest) {
            return Ok(before);
        }
        let recorded = self.archive.settings(&digest)?;
        let settings = match (&self.settings, recorded) {
            (Some(said), _) => said.clone(),
            (None, Some(recorded)) => object("a configuration on record", &recorded.text)?,
            (None, None) => self.configured(service),
        };
        let detector = self.plugin.detector(&settings).await?;
        let same = its.is_some_and(|(plugin, settings, _)| {
            plugin.digest == self.plugin.reference().digest && **settings == *detector.settings().digest
        });
        let listener = ReplayTarget { plugin: self.table.name.clone(), window: detector.window(), same };
        Ok(Seat { detector, listener, settings: digest })
    }

    /// Its configuration as it is today.
    fn configured(&self, service: &ServiceName) -> Map<String, Value> {
        let service = self.config.service.iter().find(|known| known.name == *service);
        service.map_or_else(|| self.table.config.clone(), |service| self.config.plugin_for(&self.table, service))
    }

    fn settings_of(&self, call: &PluginCall) -> anyhow::Result<Map<String, Value>> {
        match &self.settings {
            Some(said) => Ok(said.clone()),
            None if call.settings.text.is_empty() => Ok(self.configured(&call.service)),
            None => object("a configuration on record", &call.settings.text),
        }
    }

    fn is_of_record(&self, call: &PluginCall) -> bool {
        call.plugin.digest == self.plugin.reference().digest && self.settings.is_none()
    }

    fn query(&self, service: Option<ServiceName>) -> CallQuery {
        CallQuery { plugin: Some(self.table.name.clone()), service, limit: PAGE, ..CallQuery::default() }
    }

    /// The next calls; None: there are no more.
    fn page(&mut self, query: &mut CallQuery) -> anyhow::Result<Option<Vec<PluginCall>>> {
        let page = self.archive.calls(query)?;
        let Some(next) = page.next() else { return Ok(None) };
        query.after = next;
        let unreadable =
            page.unreadable.iter().map(|call| format!("call {} of {}: {}", call.seq, call.plugin, call.why));
        self.outcome.lost.extend(unreadable);
        Ok(Some(page.calls.into_iter().map(|numbered| numbered.call).collect()))
    }

    fn report(&self) -> String {
        let mut text = String::new();
        let ComparisonResult { review, shown, asked, lost, fault, .. } = &self.outcome;
        for difference in shown {
            let Difference { at, service, incident, would, did, .. } = difference;
            let incident = incident.map(|id| format!("  incident {id}")).unwrap_or_default();
            let _ = writeln!(text, "{}  {service}{incident}\n  was       {did}\n  would be  {would}", stamp(*at));
        }
        let Agreement { compared, agreed, disagreed, abstained, faulted, would_have_acted, would_have_withheld } =
            review.agreement;
        if disagreed > shown.len() as u64 {
            let _ = writeln!(text, "... and {} more", disagreed - shown.len() as u64);
        }
        for lost in lost {
            let _ = writeln!(text, "not replayed: {lost}");
        }
        if let Some(fault) = fault {
            let _ = writeln!(text, "its first failure: {fault}");
        }
        let (name, plugin) = (&self.table.name, self.plugin.reference());
        if *asked == 0 {
            let _ = writeln!(text, "nothing that {name} was asked is on record here");
            return text;
        }
        let _ = writeln!(
            text,
            "{plugin} in the place of {name}, asked {asked} times: {compared} compared, {agreed} agree, {disagreed} differ"
        );
        let _ = writeln!(
            text,
            "it would have acted where nothing was done or found: {would_have_acted}; it would have done nothing where something was: \
             {would_have_withheld}; both passed: {abstained}; it failed: {faulted}"
        );
        text
    }

    fn whole(&self) -> Value {
        let ComparisonResult { review, shown, asked, lost, fault, .. } = &self.outcome;
        json!({
            "plugin": self.plugin.reference(),
            "asked": asked,
            "agreement": review.agreement,
            "differences": shown,
            "not_replayed": lost,
            "first_failure": fault,
        })
    }
}

/// The candidate as a detector with one configuration.
struct Seat {
    detector: Arc<PluginDetector>,
    listener: ReplayTarget,
    /// The digest on record.
    settings: String,
}

impl ComparisonResult {
    fn note(&mut self, said: &CallResult) {
        self.asked += 1;
        if let (CallResult::Fault(fault), None) = (said, &self.fault) {
            self.fault = Some(fault.to_string());
        }
    }

    fn show(&mut self, difference: Option<Difference>) {
        if self.shown.len() < self.limit {
            self.shown.extend(difference);
        }
    }
}

fn occasion(call: &PluginCall) -> RecordedAnswer {
    RecordedAnswer { at: call.at, service: call.service.clone(), incident: call.incident, by: call.plugin.to_string() }
}
