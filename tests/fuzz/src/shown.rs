//! What a plug-in is shown: one service with one probe, and one incident. Only its memory differs from call to call.

use std::time::Duration;

use heald_model::{Blob, Observation, Question};
use heald_model::{
    Breaker, Concern, Finding, Incident, IncidentId, Moment, Role, Sample, Series, ServiceView, Severity, Source, Stage,
};
use serde_json::Value;
use uuid::Uuid;

const NOW: Moment = Moment::from_millis(1_001);

fn service() -> ServiceView {
    ServiceView {
        name: "web".into(),
        tags: Vec::new(),
        depends_on: Vec::new(),
        wanted: 1,
        running: 1,
        ready: 1,
        breaker: Breaker::Closed,
        metadata: Value::Null,
        facts: Vec::new(),
    }
}

fn series() -> Series {
    let mut sample = Sample::new("web".into(), "http".into(), Moment::from_millis(1_000));
    sample.ok = Some(true);
    sample.cpu = Some(97.0);
    Series {
        probe: "http".into(),
        role: Role::Liveness,
        replica: None,
        period: Duration::from_secs(1),
        failure_threshold: 3,
        success_threshold: 1,
        samples: [sample].into(),
        fresh: 1,
    }
}

/// To a detector with this memory.
pub fn observation(state: Option<&[u8]>) -> Observation {
    let state = state.map(|bytes| Blob(bytes.to_vec()));
    Observation { now: NOW, seed: 7, service: service(), series: vec![series()], state }
}

/// To a policy with this memory.
pub fn question(state: Option<&[u8]>) -> Question {
    let finding = Finding {
        condition: "high-cpu".into(),
        subject: Some("http".into()),
        severity: Severity::Error,
        score: 1.0,
        predicted: None,
        message: "cpu is 97 %".into(),
        evidence: Vec::new(),
    };
    let incident = Incident {
        id: IncidentId(Uuid::from_u128(1)),
        service: "web".into(),
        condition: finding.condition.clone(),
        signature: finding.signature(),
        severity: finding.severity,
        stage: Stage::Opened,
        opened: NOW,
        updated: NOW,
        resolved: None,
        reopened: 0,
        parent: None,
        concerns: vec![Concern { finding, source: Source::Native, since: NOW }],
        attempts: Vec::new(),
        last_concern: None,
        reset: None,
        helped: None,
        held: None,
        timeline: Vec::new(),
    };
    Question {
        now: NOW,
        seed: 7,
        service: service(),
        series: vec![series()],
        incident,
        earlier: Vec::new(),
        related: Vec::new(),
        offers: Vec::new(),
        experience: Vec::new(),
        state: state.map(|bytes| Blob(bytes.to_vec())),
    }
}
