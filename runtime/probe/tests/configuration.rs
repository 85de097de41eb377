//! The `[[service.probe]]` table.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use heald_model::Role;
use heald_probe::{ProbeConfig, ProbeKind, ProbeProblem, validate};

fn read(text: &str) -> ProbeConfig {
    toml::from_str(text).unwrap()
}

#[test]
fn a_short_table_gets_the_defaults() {
    let probe = read("kind = \"http\"\nurl = \"http://127.0.0.1:9000/health\"");
    assert_eq!(validate(&probe), Vec::<ProbeProblem>::new());
    let spec = probe.spec();
    assert_eq!((spec.id.as_str(), spec.role), ("http", Role::Liveness));
    assert_eq!((spec.period, spec.timeout), (Duration::from_secs(1), Duration::from_millis(500)));
    assert_eq!((spec.failure_threshold, spec.success_threshold), (3, 1));
    assert!(probe.body_status && probe.expect_status.contains(302) && !probe.expect_status.contains(404));
}

#[test]
fn a_whole_table_survives_the_round_trip() {
    let probe = read(
        "id = \"page\"\nkind = \"http\"\nrole = \"readiness\"\nurl = \"http://[::1]:9000/\"\nmethod = \"HEAD\"\n\
         headers = { X-A = \"b\" }\nexpect_status = [200, \"204-299\"]\nbody_status = false\nperiod = \"30s\"\n\
         timeout = 5\ninitial_delay = \"2s\"\nfailure_threshold = 1\nsuccess_threshold = 2",
    );
    assert_eq!(validate(&probe), Vec::<ProbeProblem>::new());
    assert_eq!(probe.timeout, Duration::from_secs(5));
    assert_eq!(read(&toml::to_string(&probe).unwrap()), probe);
}

#[test]
fn unknown_fields_and_words_are_errors_that_name_what_is_allowed() {
    for (text, expected) in [
        ("kind = \"http\"\nurll = \"x\"", "`url`"),
        ("kind = \"smtp\"", "`exec`"),
        ("kind = \"http\"\nrole = \"alive\"", "`readiness`"),
        ("kind = \"http\"\nexpect_status = [99]", "100 to 599"),
        ("kind = \"http\"\nexpect_status = [\"399-200\"]", "200-399"),
        ("kind = \"http\"\nperiod = \"soon\"", "500ms"),
    ] {
        let error = toml::from_str::<ProbeConfig>(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_cannot_be_is_named_by_field() {
    for (text, field, fatal) in [
        ("kind = \"http\"", "url", true),
        ("kind = \"tcp\"", "address", true),
        ("kind = \"exec\"", "command", true),
        ("kind = \"exec\"\ncommand = []", "command", true),
        ("kind = \"http\"\nurl = \"not-a-url\"", "url", false),
        ("kind = \"http\"\nurl = \"https://x/\"", "url", false),
        ("kind = \"http\"\nurl = \"http://u:p@x/\"", "url", false),
        ("kind = \"http\"\nurl = \"http://x:0/\"", "url", false),
        ("kind = \"http\"\nurl = \"http://x:70000/\"", "url", false),
        ("kind = \"http\"\nurl = \"/health\"", "url", false),
        ("kind = \"http\"\nurl = \"http:///health\"", "url", false),
        ("kind = \"tcp\"\naddress = \"5432\"", "address", false),
        ("kind = \"tcp\"\naddress = \"x:1\"\nperiod = \"0s\"", "period", true),
        ("kind = \"tcp\"\naddress = \"x:1\"\ntimeout = \"0s\"", "timeout", true),
        ("kind = \"tcp\"\naddress = \"x:1\"\nfailure_threshold = 0", "failure_threshold", true),
        ("kind = \"tcp\"\naddress = \"x:1\"\nsuccess_threshold = 0", "success_threshold", true),
        ("kind = \"tcp\"\naddress = \"x:1\"\nurl = \"http://x/\"", "url", true),
        ("kind = \"tcp\"\naddress = \"x:1\"\nbody_status = false", "body_status", true),
        ("kind = \"tcp\"\naddress = \"x:1\"\nid = \"process\"", "id", true),
        ("kind = \"tcp\"\naddress = \"x:1\"\nid = \"\"", "id", true),
        ("kind = \"http\"\nurl = \"http://x/\"\nmethod = \"G T\"", "method", true),
        ("kind = \"http\"\nurl = \"http://x/\"\nheaders = { \"a b\" = \"c\" }", "headers", true),
        ("kind = \"http\"\nurl = \"http://x/\"\nexpect_status = []", "expect_status", true),
    ] {
        let problems = validate(&read(text));
        let [problem] = &problems[..] else { panic!("{text}: {problems:?}") };
        assert_eq!((problem.field, problem.fatal), (field, fatal), "{text}: {problem}");
    }
    assert_eq!(ProbeKind::Exec.as_str(), "exec");
}
