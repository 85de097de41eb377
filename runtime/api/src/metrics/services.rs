//! Metrics of the services: their checks and what the healing loop knows about them.

use std::fmt::Result;

use heald_control::ProbeStatus;
use heald_model::ServiceStatus;
use heald_model::{Breaker, ServiceName};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::families::{family, one};
use crate::Api;

/// Every state of a circuit has a series, so that a change is visible and a missing series means that heald is not
/// running.
const BREAKERS: [Breaker; 5] =
    [Breaker::Closed, Breaker::Open, Breaker::HalfOpen, Breaker::ForcedOpen, Breaker::Disabled];

/// All services at this moment.
#[derive(Debug)]
pub(super) struct ServiceMetrics {
    services: Vec<ServiceStatus>,
    pulses: Vec<(ServiceName, ProbeStatus)>,
}

impl ServiceMetrics {
    pub(super) fn read(api: &Api) -> Self {
        Self { services: api.control.services(), pulses: api.board.pulses() }
    }
}

impl Collector for ServiceMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result {
        let out = &mut encoder;
        let own = |service: &'_ ServiceStatus| [("service", service.name.to_string())];
        let services = || self.services.iter();
        let up = services().filter_map(|service| Some((own(service), one(service.up?))));
        family("service_up", "1 if it serves, 0 if not; absent while that is not known or not wanted.")
            .levels(out, up)?;
        let open = services().map(|service| (own(service), service.incidents.len()));
        family("service_open_incidents", "Incidents that are not resolved.").levels(out, open)?;
        let running =
            |service: &ServiceStatus| service.processes.iter().filter(|process| process.ended.is_none()).count();
        let supervised = services().filter(|service| !service.processes.is_empty());
        family("service_running_processes", "Processes of it that run, where heald supervises it.")
            .levels(out, supervised.map(|service| (own(service), running(service))))?;
        let states = services().flat_map(|service| BREAKERS.map(|state| (service, state)));
        let states = states.map(|(service, state)| {
            let labels = [("service", service.name.as_str()), ("state", state.as_str())];
            (labels, one(service.breaker == state))
        });
        family("breaker_state", "1 for the state that its circuit is in.").levels(out, states)?;

        let own = |name: &ServiceName| [("service", name.to_string())];
        let pulses = || self.pulses.iter().map(|(name, pulse)| (own(name), pulse));
        family("service_checks", "Checks made; skipped ones do not count.")
            .counts(out, pulses().map(|(labels, pulse)| (labels, pulse.total_checks)))?;
        let failed = |pulse: &ProbeStatus| pulse.total_checks.saturating_sub(pulse.successful_checks);
        family("service_failed_checks", "Those that did not pass.")
            .counts(out, pulses().map(|(labels, pulse)| (labels, failed(pulse))))?;
        let response = pulses().filter_map(|(labels, pulse)| Some((labels, pulse.response_time?.as_secs_f64())));
        family("service_response", "How long the last successful check took.").of(&Unit::Seconds).levels(out, response)
    }
}
