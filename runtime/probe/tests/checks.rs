//! What each kind of check says about what it meets.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::time::{Duration, Instant};

use heald_control::ProbeBoard;
use heald_model::{Health, Sample};
use heald_probe::{ProbeConfig, StatusSet};
use rig::{Act, Stub, TestRig, eventually, exec, http, service, tcp};

/// One check of one probe.
async fn look(probe: ProbeConfig) -> (Sample, TestRig) {
    let mut rig = TestRig::start(vec![service("s", vec![probe])]);
    let sample = rig.sample(|sample| sample.ok.is_some()).await;
    rig.until("s", "judged", |pulse| pulse.total_checks > 0).await;
    (sample, rig)
}

fn codes(text: &str) -> StatusSet {
    #[derive(serde::Deserialize)]
    struct Table {
        codes: StatusSet,
    }
    toml::from_str::<Table>(&format!("codes = {text}")).unwrap().codes
}

#[tokio::test]
async fn an_answer_is_judged_by_its_code() {
    for (code, expect, message) in [
        (200, "[\"200-399\"]", None),
        (204, "[\"200-399\"]", None),
        (302, "[\"200-399\"]", None),
        (404, "[\"200-399\"]", Some("HTTP 404")),
        (503, "[\"200-399\"]", Some("HTTP 503")),
        (204, "[200]", Some("HTTP 204")),
        (503, "[200, \"500-503\"]", None),
        (401, "401", None),
    ] {
        let stub = Stub::serving(Act::Code(code));
        let (sample, rig) = look(ProbeConfig { expect_status: codes(expect), ..http(stub.url()) }).await;
        let case = format!("{code} of {expect}");
        assert_eq!(sample.ok, Some(message.is_none()), "{case}");
        assert_eq!(sample.message.as_deref(), message, "{case}");
        assert_eq!(sample.fault.as_deref(), message.map(|_| "status"), "{case}");
        assert_eq!(sample.status, Some(i32::from(code)), "{case}");
        assert!(sample.latency.is_some(), "{case}");
        let pulse = rig.pulse("s");
        let health = if message.is_none() { Health::Healthy } else { Health::Unhealthy };
        assert_eq!((pulse.health, pulse.error.as_deref()), (health, message), "{case}");
    }
}

#[tokio::test]
async fn what_is_no_answer_fails_and_says_why() {
    let huge_head = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 200_000], b"\r\n\r\n"].concat();
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    for (act, fault, message) in [
        (Act::Hang, "timeout", "Timeout after 0.3s"),
        (Act::Drip, "timeout", "Timeout after 0.3s"),
        (Act::Raw(b"\0\x01 what?\r\n\r\n".to_vec()), "body", "Not an HTTP answer on port PORT"),
        (Act::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), "body", "Not an HTTP answer on port PORT"),
        (Act::Raw(huge_head), "body", "Not an HTTP answer on port PORT"),
        (Act::Raw(Vec::new()), "unreachable", "Connection closed on port PORT before an answer"),
        (Act::Raw(half), "unreachable", "Connection closed on port PORT before an answer"),
    ] {
        let stub = Stub::serving(act.clone());
        let (sample, _) = look(ProbeConfig { timeout: Duration::from_millis(300), ..http(stub.url()) }).await;
        let act = format!("{act:?}").chars().take(60).collect::<String>();
        let message = message.replace("PORT", &stub.port.to_string());
        assert_eq!(sample.message.as_deref(), Some(message.as_str()), "{act}");
        assert_eq!((sample.ok, sample.fault.as_deref()), (Some(false), Some(fault)), "{act}");
        // No answer is not a slow answer: a hung service is down, and does not first cross a limit on latency.
        assert!(fault != "timeout" || sample.latency.is_none(), "{act}");
    }
}

#[tokio::test]
async fn a_refused_connection_names_the_port() {
    let stub = Stub::silent();
    for probe in [http(stub.url()), http(format!("http://localhost:{}/", stub.port)), tcp(stub.port)] {
        let (sample, rig) = look(probe).await;
        let message = format!("Connection refused on port {}", stub.port);
        assert_eq!((sample.fault.as_deref(), sample.message.as_ref()), (Some("refused"), Some(&message)));
        assert_eq!(rig.pulse("s").error, Some(message));
    }
}

#[tokio::test]
async fn localhost_is_the_loopback_of_either_kind() {
    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else { return }; // A machine without IPv6.
    let port = listener.local_addr().unwrap().port();
    let (sample, _) = look(ProbeConfig { address: Some(format!("localhost:{port}")), ..tcp(1) }).await;
    assert_eq!((sample.ok, sample.message), (Some(true), None));
}

#[tokio::test]
async fn a_name_that_does_not_exist_says_so() {
    let (sample, _) = look(ProbeConfig { address: Some("no-such-host.invalid:80".into()), ..tcp(1) }).await;
    assert_eq!(sample.ok, Some(false));
    // Without any name server the resolver may take longer than the check.
    if sample.fault.as_deref() != Some("timeout") {
        assert_eq!(sample.fault.as_deref(), Some("dns"));
        assert!(sample.message.unwrap().starts_with("Cannot resolve host no-such-host.invalid: "));
    }
}

#[tokio::test]
async fn down_with_200_is_down() {
    let stub = Stub::serving(Act::Body(r#"{"status":"DOWN"}"#.into()));
    let (sample, _) = look(http(stub.url())).await;
    assert_eq!((sample.ok, sample.fault.as_deref()), (Some(false), Some("body")));
    assert_eq!((sample.message.as_deref(), sample.reported.as_deref()), (Some("status DOWN"), Some("DOWN")));
    let (sample, _) = look(ProbeConfig { body_status: false, ..http(stub.url()) }).await;
    assert_eq!((sample.ok, sample.reported.as_deref()), (Some(true), Some("DOWN")));
}

#[tokio::test]
async fn the_body_brings_metrics_and_they_stay_on_the_board() {
    let body = r#"{"status":"UP","details":{"cpu_usage":12.5,"memory_usage":40,"error_rate":0.1,"custom_metrics":{"queue":7}}}"#;
    let stub = Stub::serving(Act::Body(body.into()));
    let (sample, rig) = look(http(stub.url())).await;
    assert_eq!((sample.cpu, sample.memory, sample.error_rate), (Some(12.5), Some(40.0), Some(0.1)));
    let metrics = rig.pulse("s").metrics;
    assert_eq!(metrics.get("queue"), Some(&7.0));
    assert_eq!(metrics.get("error_rate"), Some(&0.1));
}

#[tokio::test]
async fn of_a_huge_body_only_the_code_is_judged() {
    let mut body = r#"{"status":"DOWN","pad":""#.to_owned();
    body.push_str(&"x".repeat(3_000_000));
    body.push_str("\"}");
    let stub = Stub::serving(Act::Body(body));
    let (sample, _) = look(http(stub.url())).await;
    assert_eq!((sample.ok, sample.reported), (Some(true), None));
}

#[tokio::test]
async fn the_request_is_as_configured() {
    let stub = Stub::serving(Act::Code(200));
    let headers = [("X-Token".to_owned(), "t".to_owned()), ("Host".to_owned(), "web.example".to_owned())];
    look(ProbeConfig { method: Some("HEAD".into()), headers: headers.into(), ..http(stub.url()) }).await;
    let asked = stub.asked().to_ascii_lowercase();
    assert!(asked.starts_with("head /health?deep=1 http/1.1\r\n"), "{asked}");
    for line in ["x-token: t", "host: web.example", "connection: close", "user-agent: heald/"] {
        assert_eq!(asked.matches(line).count(), 1, "{line} in {asked}");
    }
    look(http(stub.url())).await;
    assert!(stub.asked().to_ascii_lowercase().contains(&format!("host: 127.0.0.1:{}", stub.port)));
}

#[tokio::test]
async fn an_address_that_is_none_fails_alone() {
    let stub = Stub::serving(Act::Code(200));
    let rig = TestRig::start(vec![
        service("writer", vec![http("not-a-url")]),
        service("secure", vec![http("https://127.0.0.1/")]),
        service("research", vec![http(stub.url())]),
    ]);
    rig.prober.check_now(None).await;
    let writer = rig.pulse("writer");
    assert_eq!(writer.health, Health::Unhealthy);
    assert!(writer.error.as_deref().unwrap().contains("`not-a-url` is no URL"), "{writer:?}");
    assert!(rig.pulse("secure").error.unwrap().contains("https"), "says that it is https");
    assert_eq!(rig.pulse("research").health, Health::Healthy);
}

#[tokio::test]
async fn a_port_that_accepts_passes() {
    let stub = Stub::serving(Act::Hang);
    let (sample, _) = look(tcp(stub.port)).await;
    assert_eq!((sample.ok, sample.status), (Some(true), None));
}

#[tokio::test]
async fn hanging_services_take_one_timeout_together() {
    let stubs: Vec<_> = (0..8).map(|_| Stub::serving(Act::Hang)).collect();
    let probe = |stub: &Stub| ProbeConfig { timeout: Duration::from_millis(400), ..http(stub.url()) };
    let services =
        stubs.iter().enumerate().map(|(n, stub)| service(&format!("s{n}"), vec![probe(stub), tcp(stub.port)]));
    let rig = TestRig::start(services.collect());
    let begun = Instant::now();
    rig.prober.check_now(None).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(1_200), "{took:?}");
    assert!(rig.prober.pulses().iter().all(|(_, pulse)| pulse.error.as_deref() == Some("Timeout after 0.4s")));
}

#[tokio::test]
async fn the_response_time_is_the_services_own() {
    let stub = Stub::serving(Act::Code(200));
    let (_, rig) = look(http(stub.url())).await;
    for _ in 0..5 {
        rig.check("s").await;
    }
    let time = rig.pulse("s").response_time.unwrap();
    assert!(time < Duration::from_millis(25), "{time:?}");
}

#[tokio::test]
async fn a_command_says_by_its_exit_how_it_is() {
    for (script, ok, fault, message, status) in [
        ("exit 0", true, None, None, 0),
        ("echo; echo '  queue full '; echo more; exit 3", false, Some("check"), Some("Exit code 3: queue full"), 3),
        ("echo bad >&2; exit 1", false, Some("check"), Some("Exit code 1: bad"), 1),
        ("kill -9 $$", false, Some("check"), Some("Killed by signal 9 (SIGKILL)"), -9),
    ] {
        let (sample, _) = look(exec(script)).await;
        assert_eq!((sample.ok, sample.fault.as_deref()), (Some(ok), fault), "{script}");
        assert_eq!((sample.message.as_deref(), sample.status), (message, Some(status)), "{script}");
    }
    let missing = ProbeConfig { command: Some(vec!["/no/such/program".into()]), ..exec("") };
    let mut rig = TestRig::start(vec![service("s", vec![missing])]);
    let sample = rig.sample(|_| true).await;
    assert_eq!((sample.ok, sample.fault.as_deref()), (None, Some("prober")), "that says nothing about the service");
}

#[tokio::test]
async fn a_command_that_floods_is_read_and_not_kept() {
    let (sample, _) = look(exec("yes a long line of nothing | head -c 20000000; exit 2")).await;
    assert_eq!(sample.message.as_deref(), Some("Exit code 2: a long line of nothing"));
    let (sample, _) = look(exec("head -c 1000000 /dev/zero | tr '\\0' x; exit 2")).await;
    assert!(sample.message.unwrap().len() < 300);
}

#[tokio::test]
async fn a_command_sees_nothing_of_healds_environment() {
    let probe = exec("test \"$(env | cut -d= -f1 | grep -vE '^(PATH|HOME|PWD|SHLVL|_|OLDPWD)$')\" = TOKEN");
    let (sample, _) = look(ProbeConfig { environment: [("TOKEN".into(), "x".into())].into(), ..probe }).await;
    assert_eq!((sample.ok, sample.message), (Some(true), None));
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn pids(file: &std::path::Path) -> Vec<u32> {
    std::fs::read_to_string(file).unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_all_it_started_and_reaped() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let script = format!("sleep 61 & echo $$ $! > {}; trap '' TERM; wait", file.display());
    let probe = ProbeConfig { timeout: Duration::from_millis(500), ..exec(&script) };
    let (sample, _rig) = look(probe).await;
    assert_eq!((sample.fault.as_deref(), sample.message.as_deref()), (Some("timeout"), Some("Timeout after 0.5s")));
    let [shell, sleeper] = pids(&file)[..] else { panic!("the command did not start") };
    eventually("the shell is dead and reaped", || !exists(shell)).await;
    eventually("its child is dead", || !alive(sleeper)).await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_killed_and_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let begun = Instant::now();
    let (sample, _rig) = look(exec(&format!("sleep 61 & echo $! > {}; exit 0", file.display()))).await;
    assert_eq!(sample.ok, Some(true));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let [left] = pids(&file)[..] else { panic!("nothing was started") };
    eventually("what it left is dead", || !alive(left)).await;
}

#[tokio::test]
async fn what_escapes_the_group_with_the_output_open_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let begun = Instant::now();
    let (sample, _rig) =
        look(exec(&format!("setsid sleep 30 & echo $! > {}; sleep 0.2; exit 0", file.display()))).await;
    assert_eq!(sample.ok, Some(true));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for pid in pids(&file) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[tokio::test]
async fn the_machine_is_measured() {
    let rig = TestRig::start(vec![]);
    eventually("host metrics", || rig.prober.host().len() == 3).await;
    let host = rig.prober.host();
    assert!(host.values().all(|value| (0.0..=100.0).contains(value)) && host["memory"] > 0.0, "{host:?}");
}

#[tokio::test]
async fn a_service_that_invents_names_of_metrics_keeps_the_newest_and_is_told_once() {
    let mut stub = Stub::serving(Act::Code(200));
    let mut rig = TestRig::start(vec![service("s", vec![http(stub.url())])]);
    for check in 0..20 {
        let names: Vec<String> = (0..64).map(|n| format!("\"m{check}_{n}\":1")).collect();
        stub.serve(Act::Body(format!(
            "{{\"details\":{{\"cpu_usage\":5,\"custom_metrics\":{{{}}}}}}}",
            names.join(",")
        )));
        rig.check("s").await;
    }
    let metrics = rig.pulse("s").metrics;
    assert_eq!(metrics.len(), 256);
    assert!(metrics.contains_key("cpu") && metrics.contains_key("m19_0") && !metrics.contains_key("m0_0"));
    let told = |sample: &Sample| sample.message.as_deref().is_some_and(|message| message.contains("ever new names"));
    assert_eq!(rig.seen().iter().filter(|sample| told(sample)).count(), 1);
    assert_eq!(rig.pulse("s").health, Health::Healthy);
}
