//! What a rule may ask for, by name.
//!
//! Of the finding: `condition`, `subject`, `severity`, `source`, `score`, and every fact of its evidence. Of the incident:
//! `stage`, `attempts` (its own, that did not help), `age_seconds`, and its facts. Of the service: `service`, `breaker`,
//! `tag`, and its facts. Else a metric, from the newest sample that measured it: `cpu`, `memory`, `error_rate`,
//! `latency_ms`, a custom one; `status` is the code where a number is asked for and the service's own word where text is,
//! `reported` always that word.

use heald_plugin::{Concern, Fact, Question, Sample, Scalar, Series};

use crate::test::Test;

/// A question, seen from one of its findings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    question: &'a Question,
    concern: Option<&'a Concern>,
}

impl<'a> Known<'a> {
    /// From each finding that holds, the leading one first; without any, from none.
    pub(crate) fn all_of(question: &'a Question) -> impl Iterator<Item = Self> {
        let concerns = &question.incident.concerns;
        let from_none = concerns.is_empty().then_some(Self { question, concern: None });
        concerns.iter().map(move |concern| Self { question, concern: Some(concern) }).chain(from_none)
    }

    /// The value of that name, of the kind that the test asks for.
    pub(crate) fn value(&self, name: &str, test: &Test) -> Option<Scalar> {
        let incident = &self.question.incident;
        let service = &self.question.service;
        match name {
            "condition" => self.concern.map(|concern| concern.finding.condition.as_str().into()),
            "subject" => self.concern.and_then(|concern| concern.finding.subject.as_deref()).map(Scalar::from),
            "severity" => self.concern.map(|concern| concern.finding.severity.name().into()),
            "source" => self.concern.map(|concern| concern.source.as_str().into()),
            "score" => self.concern.map(|concern| concern.finding.score.into()),
            "stage" => Some(incident.stage.as_str().into()),
            "attempts" => Some((incident.own_attempts().filter(|each| each.ending.is_spent()).count() as f64).into()),
            "age_seconds" => Some((self.question.now.saturating_sub(incident.opened) as f64 / 1e9).into()),
            "service" => Some(service.name.as_str().into()),
            "breaker" => Some(service.breaker.as_str().into()),
            "tag" => self.tag(test),
            other => self.fact(other, test).or_else(|| self.metric(other, test)),
        }
    }

    /// A service has many tags: the one that is asked for, if it has it.
    fn tag(&self, test: &Test) -> Option<Scalar> {
        let asked = |tag: &&String| test.mentions(tag);
        let tags = &self.question.service.tags;
        tags.iter().find(asked).or_else(|| tags.first()).map(|tag| tag.as_str().into())
    }

    fn fact(&self, name: &str, test: &Test) -> Option<Scalar> {
        let evidence = self.concern.map(|concern| concern.finding.evidence.as_slice()).unwrap_or_default();
        let facts = evidence.iter().chain(&self.question.incident.facts).chain(&self.question.service.facts);
        let fits = |fact: &&Fact| {
            // A status code is not the word that a test of text asks for, nor the other way round.
            fact.name == name && (name != "status" || matches!(fact.value, Scalar::Text(_)) == test.is_about_text())
        };
        let mut facts = facts.filter(fits);
        facts.next().map(|fact| fact.value.clone())
    }

    fn metric(&self, name: &str, test: &Test) -> Option<Scalar> {
        if name == "reported" || (name == "status" && test.is_about_text()) {
            return self.newest(|_, sample| sample.reported.clone().map(Scalar::Text));
        }
        self.newest(|series, sample| series.value(sample, name).map(Scalar::Number))
    }

    /// From the newest of the newest samples that can tell.
    fn newest(&self, read: impl Fn(&Series, &Sample) -> Option<Scalar>) -> Option<Scalar> {
        let samples = self.question.series.iter().filter_map(|series| Some((series, series.newest()?)));
        let told = samples.filter_map(|(series, sample)| Some((sample.at, read(series, sample)?)));
        told.max_by_key(|(at, _)| *at).map(|(_, value)| value)
    }
}

/// How likely the catalog thinks that this action helps: what it knows of this service before what it knows of all.
pub(crate) fn chance(question: &Question, action: &str) -> Option<f64> {
    let of_action = || question.experience.iter().filter(|each| each.action == action && each.tries > 0);
    let best = of_action().find(|each| each.service.is_some()).or_else(|| of_action().next())?;
    let sum = best.alpha + best.beta;
    (sum > 0.0).then(|| (best.alpha / sum).clamp(0.0, 1.0))
}
