//! The figures over a real socket, in both formats.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::Method;
use heald_api::Phase;
use heald_control::PluginState;
use support::*;

/// As Prometheus asks.
const OPEN: (&str, &str) = (
    "accept",
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
);

/// The value of one sample.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn every_figure_of_a_plugin_is_there() {
    let face = face().await;
    let text = face.get("/metrics").await.text;
    for (series, expected) in [
        (r#"heald_plugin_calls_total{plugin="threshold"}"#, 120.0),
        (r#"heald_plugin_calls_total{plugin="broken"}"#, 0.0),
        (r#"heald_plugin_faults_total{plugin="threshold",cause="trap"}"#, 2.0),
        (r#"heald_plugin_faults_total{plugin="threshold",cause="made-up"}"#, 1.0),
        (r#"heald_plugin_faults_total{plugin="broken",cause="cpu-budget"}"#, 0.0),
        (r#"heald_plugin_guest_seconds_total{plugin="threshold"}"#, 0.25),
        (r#"heald_plugin_wall_seconds_total{plugin="threshold"}"#, 1.5),
        (r#"heald_plugin_peak_memory_bytes{plugin="threshold"}"#, 1_114_112.0),
        (r#"heald_plugin_bytes_out_total{plugin="threshold"}"#, 4096.0),
        (r#"heald_plugin_host_calls_total{plugin="threshold"}"#, 7.0),
        (r#"heald_plugin_dropped_log_lines_total{plugin="threshold"}"#, 5.0),
        (r#"heald_plugin_instances_total{plugin="threshold"}"#, 3.0),
        (r#"heald_plugin_quarantined_services{plugin="threshold"}"#, 1.0),
        (r#"heald_plugin_state{plugin="threshold",state="running"}"#, 1.0),
        (r#"heald_plugin_state{plugin="threshold",state="failed"}"#, 0.0),
        (r#"heald_plugin_state{plugin="broken",state="failed"}"#, 1.0),
        (r#"heald_plugin_divergence_ratio{plugin="rules"}"#, 0.25),
        (r#"heald_plugin_compared_total{plugin="rules"}"#, 8.0),
        (r#"heald_plugin_disagreed_total{plugin="rules"}"#, 2.0),
        (r#"heald_plugin_would_have_acted_total{plugin="rules"}"#, 2.0),
    ] {
        assert!((value(&text, series) - expected).abs() < 1e-9, "{series} {}", value(&text, series));
    }
    assert!(!text.contains(r#"heald_plugin_divergence_ratio{plugin="threshold"}"#), "it is compared with nothing");
    let digest = "ab".repeat(32);
    let info = format!(r#"heald_plugin_info{{plugin="rules",version="0.1.0",digest="{digest}",mode="shadow"}}"#);
    assert!((value(&text, &info) - 1.0).abs() < 1e-9);

    // Read at the scrape, not before.
    face.shelf.plugins.lock().unwrap().get_mut("threshold").unwrap().state = PluginState::RolledBack;
    face.shelf.plugins.lock().unwrap().get_mut("threshold").unwrap().counters.calls = 121;
    let text = face.get("/metrics").await.text;
    assert!(text.contains("heald_plugin_state{plugin=\"threshold\",state=\"rolled-back\"} 1\n"), "{text}");
    assert!(text.contains("heald_plugin_calls_total{plugin=\"threshold\"} 121\n"), "{text}");
}

#[tokio::test]
async fn every_figure_of_heald_and_its_services_is_there() {
    let face = face().await;
    face.heald.pulse("writer", |pulse| {
        (pulse.total_checks, pulse.successful_checks) = (12, 10);
        pulse.response_time = Some(Duration::from_micros(1500));
    });
    let text = face.get("/metrics").await.text;
    for (series, expected) in [
        (r#"heald_build_info{version="0.1.0"}"#, 1.0),
        ("heald_ready", 1.0),
        ("heald_halted", 0.0),
        ("heald_journal_writable", 1.0),
        ("heald_safe_mode", 0.0),
        (r#"heald_service_up{service="writer"}"#, 1.0),
        (r#"heald_service_open_incidents{service="writer"}"#, 0.0),
        (r#"heald_service_running_processes{service="backend"}"#, 1.0),
        (r#"heald_breaker_state{service="writer",state="half_open"}"#, 1.0),
        (r#"heald_breaker_state{service="writer",state="open"}"#, 0.0),
        (r#"heald_service_checks_total{service="writer"}"#, 12.0),
        (r#"heald_service_failed_checks_total{service="writer"}"#, 2.0),
        (r#"heald_service_response_seconds{service="writer"}"#, 0.0015),
    ] {
        assert!((value(&text, series) - expected).abs() < 1e-9, "{series} {}", value(&text, series));
    }
    assert!(!text.contains(r#"heald_service_response_seconds{service="backend"}"#), "never checked");
    face.heald.halted.store(true, Ordering::SeqCst);
    face.database.store(false, Ordering::SeqCst);
    face.phase.send(Phase::Draining).unwrap();
    let until = heald_model::Moment::NEVER;
    face.safe_mode.send_replace(Some(heald_api::SafeMode { why: String::new(), until, times: 1, ending: false }));
    let text = face.get("/metrics").await.text;
    for (series, expected) in
        [("heald_ready", 0.0), ("heald_halted", 1.0), ("heald_journal_writable", 0.0), ("heald_safe_mode", 1.0)]
    {
        assert!((value(&text, series) - expected).abs() < 1e-9, "{series}");
    }
}

/// What a strict reader checks: each family is declared once, before its samples, which stand together and repeat nothing.
fn check(text: &str, open: bool) -> BTreeMap<String, String> {
    let (mut types, mut helped, mut series) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let mut current = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, help] => {
                assert!(helped.insert((*name).to_owned()) && !help.is_empty(), "{line}");
            }
            ["#", "TYPE", name, kind] => {
                assert!(helped.contains(*name), "{line}");
                assert!(types.insert((*name).to_owned(), (*kind).to_owned()).is_none(), "twice: {line}");
                current = (*name).to_owned();
            }
            ["#", "UNIT", name, unit] => {
                assert!(open && **name == current && name.ends_with(&format!("_{unit}")), "{line}");
            }
            _ => {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
                assert!(series.insert(sample.to_owned()), "twice: {line}");
                let name = sample.split('{').next().unwrap();
                let suffix = match types[&current].as_str() {
                    "counter" if open => "_total",
                    "info" => "_info",
                    _ => "",
                };
                assert_eq!(name, format!("{current}{suffix}"), "{line}");
                assert!(
                    name.starts_with("heald_") && (types[&current] == "counter") == name.ends_with("_total"),
                    "{line}"
                );
            }
        }
    }
    types
}

#[tokio::test]
async fn scrapers_get_the_format_they_ask_for() {
    let face = face().await;
    let open = face.ask(Method::GET, "/metrics", "", &[OPEN]).await;
    assert_eq!(open.status, 200);
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.header("vary").is_some() && open.text.ends_with("\n# EOF\n"), "{}", open.text);
    let types = check(&open.text, true);
    assert_eq!(types["heald_plugin_calls"], "counter");
    assert_eq!((types["heald_build"].as_str(), types["heald_service_up"].as_str()), ("info", "gauge"));

    for accept in [&[][..], &[("accept", "*/*")], &[("accept", "text/plain;version=0.0.4")]] {
        let classic = face.ask(Method::GET, "/metrics", "", accept).await;
        assert_eq!(classic.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert!(!classic.text.contains("# EOF") && !classic.text.contains("# UNIT"), "{}", classic.text);
        let older = check(&classic.text, false);
        assert_eq!(
            (older["heald_plugin_calls_total"].as_str(), older["heald_build_info"].as_str()),
            ("counter", "gauge")
        );
        assert_eq!(older.len(), types.len(), "the same families");
    }
}

#[tokio::test]
async fn odd_names_cannot_forge_samples() {
    let face = face().await;
    let odd = "a\"} 1\nheald_halted 1\n\\";
    {
        let mut plugins = face.shelf.plugins.lock().unwrap();
        let mut forged = plugins["threshold"].clone();
        forged.name = odd.into();
        plugins.insert(odd.into(), forged);
    }
    for accept in [&[][..], &[OPEN]] {
        let text = face.ask(Method::GET, "/metrics", "", accept).await.text;
        check(&text.replace(r#"a\"} 1\nheald_halted 1\n\\"#, "odd"), !accept.is_empty());
        assert!(text.contains("heald_plugin_calls_total{plugin=\"a\\\"} 1\\nheald_halted 1\\n\\\\\"} 120\n"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("heald_halted")).count(), 1);
    }
}
