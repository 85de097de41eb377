//! `GET /metrics`: heald's metrics for Prometheus, in OpenMetrics or in the older text format, as the scraper asks.
//!
//! It counts and keeps nothing: every scrape reads what heald, the services and the plug-ins know anyway. Labels are
//! configured names and heald's own words, so their number is bounded. It refuses to store samples: a service exports
//! its own metrics itself.

mod families;
mod heald;
mod plugins;
mod services;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::Api;
use crate::failure::Failure;

/// The OpenMetrics format.
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The older format, which every scraper reads.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`.
pub(crate) async fn scrape(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Failure> {
    let mut registry = Registry::with_prefix("heald");
    registry.register_collector(Box::new(heald::HealdMetrics::read(&api)));
    registry.register_collector(Box::new(services::ServiceMetrics::read(&api)));
    registry.register_collector(Box::new(plugins::PluginMetrics::read(&api)));
    let mut text = String::new();
    let failed = |_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the figures could not be written");
    encode(&mut text, &registry).map_err(failed)?;
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let open = accepts.into_iter().any(|accept| accept.contains("application/openmetrics-text"));
    let (kind, text) = if open { (OPEN, text) } else { (CLASSIC, classic(&text)) };
    Ok(([(CONTENT_TYPE, kind), (VARY, "accept")], text).into_response())
}

/// Converts OpenMetrics to the older format: families are named like their samples, an `info` becomes a gauge, units are
/// part of the name alone, and no line marks the end. The samples are the same.
fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = "";
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => {}
            // The suffix depends on the type, which follows.
            (Some("#"), Some("HELP"), _, said) => help = said.unwrap_or_default(),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    other => ("", other),
                };
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_families_as_their_samples() {
        let open = "# HELP a_seconds Some words.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total{x=\"# y\"} 1\n\
                    # HELP b What it is.\n# TYPE b info\nb_info{v=\"1\"} 1\n# HELP c A level.\n# TYPE c gauge\nc 1\n# EOF\n";
        let expected = "# HELP a_seconds_total Some words.\n# TYPE a_seconds_total counter\na_seconds_total{x=\"# y\"} 1\n\
                        # HELP b_info What it is.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n# HELP c A level.\n# TYPE c gauge\nc 1\n";
        assert_eq!(classic(open), expected);
    }
}
