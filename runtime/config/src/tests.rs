use std::time::Duration;

use heald_breaker::BreakerConfig;
use heald_engine::HealingConfig;
use heald_model::Mode;
use heald_store::StoreConfig;

use super::*;

const BUILTIN: [&str; 4] = ["act-clear-cache", "decide-rules", "detect-availability", "detect-threshold"];

fn env(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn own(text: &str) -> Option<File> {
    Some(File { name: "heald.toml".into(), text: text.into() })
}

fn good(text: &str, pairs: &[(&str, &str)]) -> Config {
    parse(own(text), &env(pairs), &BUILTIN).unwrap_or_else(|problems| panic!("{problems}")).config
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse(own(text), &env(&[]), &BUILTIN).unwrap_err();
    problems.0.iter().map(ConfigProblem::headline).collect()
}

/// One problem, at this line, with these words.
#[track_caller]
fn one(text: &str, line: usize, words: &[&str]) {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("heald.toml:{line}: ")), "{}", found[0]);
    for word in words {
        assert!(found[0].contains(word), "no {word:?} in {}", found[0]);
    }
}

#[test]
fn the_defaults_stand_alone() {
    let loaded = parse(None, &env(&[]), &BUILTIN).unwrap();
    let config = loaded.config;
    assert_eq!(config.server.listen, ["127.0.0.1:8003"]);
    assert_eq!(config.breaker, BreakerConfig::default());
    assert_eq!(config.keeper, KeeperConfig::default());
    assert_eq!(config.log, LogConfig::default());
    assert_eq!(config.store, StoreConfig::default());
    assert_eq!(config.healing.detectors, ["availability", "threshold"].map(PluginName::from));
    let lists = HealingConfig { detectors: Vec::new(), policies: Vec::new(), ..config.healing.clone() };
    assert_eq!(lists, HealingConfig::default(), "the file says what the code says");
    assert_eq!(loaded.warnings, []);
    let names: Vec<_> = config.plugin.iter().map(|plugin| plugin.name.as_str()).collect();
    assert!(!names.contains(&"clear-cache"), "nobody granted it anything: {names:?}");
    assert_eq!(names.len(), 7);
}

#[test]
fn variables_get_their_meaning_from_the_default_file() {
    let config = good(
        "[[service]]\nname = \"a\"\n[[service.probe]]\nkind = \"tcp\"\naddress = \"127.0.0.1:1\"\n",
        &[
            ("HOST", "localhost"),
            ("PORT", "9001"),
            ("LOG_LEVEL", "debug"),
            ("LOG_FILE", "x.log"),
            ("CIRCUIT_BREAKER_THRESHOLD", "7"),
            ("CIRCUIT_BREAKER_TIMEOUT", "3"),
            ("CIRCUIT_BREAKER_SUCCESS_THRESHOLD", "1"),
            ("HEALTH_CHECK_INTERVAL", "2"),
            ("HEALTH_CHECK_TIMEOUT", "1.5"),
            ("CPU_THRESHOLD", "50"),
            ("ERROR_RATE_THRESHOLD", "0.2"),
        ],
    );
    assert_eq!(config.server.listen, ["localhost:9001"]);
    assert_eq!((config.log.level, config.log.file.to_str()), (LogLevel::Debug, Some("x.log")));
    let seconds = Duration::from_secs;
    let BreakerConfig { failure_threshold, success_threshold, open, open_max, .. } = config.breaker;
    assert_eq!((failure_threshold, success_threshold, open, open_max), (7, 1, seconds(3), Some(seconds(3))));
    let probe = &config.service[0].probe[0];
    assert_eq!((probe.period, probe.timeout), (seconds(2), Duration::from_millis(1_500)));
    assert_eq!(config.plugin("threshold").unwrap().config["cpu"], 50);
    assert_eq!(config.plugin("orchestrate-thresholds").unwrap().config["error_rate"], 0.2);
    assert_eq!(config.plugin("llm-style").unwrap().config["rules"][2]["when"]["cpu"], "> 50");
}

#[test]
fn a_plug_in_is_changed_by_name_and_loaded_when_it_is_named() {
    let config = good(
        "[[plugin]]\nname = \"clear-cache\"\ngrant = { files = [\"/tmp\"] }\n[[plugin]]\nname = \"threshold\"\nconfig = { cpu = 70 }\n",
        &[],
    );
    assert_eq!(config.plugin("clear-cache").unwrap().component, "builtin:act-clear-cache");
    let threshold = &config.plugin("threshold").unwrap().config;
    assert_eq!((&threshold["cpu"], &threshold["memory"]), (&70.into(), &90.into()));
}

#[test]
fn a_service_inherits_and_overrides() {
    let config = good(
        r#"
        [healing]
        detectors = ["availability"]
        [breaker]
        failure_threshold = 9
        [probe]
        period = "5s"
        [[service]]
        name = "a"
        mode = "observe"
        detectors = ["threshold"]
        actions = ["clear-cache"]
        config.threshold = { cpu = 10 }
        startup = "3s"
        [service.breaker]
        success_threshold = 4
        [service.process]
        command = ["sleep", "1"]
        [[service.probe]]
        kind = "tcp"
        address = "127.0.0.1:1"
        timeout = "100ms"
        [[service]]
        name = "b"
        depends_on = ["a"]
        process = { command = ["true"], startup = "4s" }
        "#,
        &[],
    );
    let [a, b] = config.service.as_slice() else { panic!() };
    assert_eq!((config.mode(a), config.mode(b)), (Mode::Observe, Mode::Auto));
    assert_eq!(config.detectors(a), [PluginName::from("threshold")]);
    assert_eq!(config.detectors(b), [PluginName::from("availability")]);
    assert_eq!(config.policies(a), [PluginName::from("rules")]);
    assert_eq!((config.breaker(a).failure_threshold, config.breaker(a).success_threshold), (9, 4));
    assert_eq!((a.probe[0].period, a.probe[0].timeout), (Duration::from_secs(5), Duration::from_millis(100)));
    assert_eq!((a.startup, a.process.as_ref().unwrap().startup), (Duration::from_secs(3), Duration::from_secs(3)));
    assert_eq!((b.startup, b.process.as_ref().unwrap().startup), (Duration::from_secs(4), Duration::from_secs(4)));
    let threshold = config.plugin("threshold").unwrap();
    assert_eq!(config.plugin_for(threshold, a)["cpu"], 10);
    assert_eq!(config.plugin_for(threshold, a)["memory"], 90);
    assert_eq!(config.plugin_for(threshold, b)["cpu"], 90);
    assert_eq!((config.actions(a), config.actions(b)), (&[PluginName::from("clear-cache")][..], &[][..]));
    assert!(config.plugin("clear-cache").is_some(), "something refers to it");
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let config =
        good("[[service]]\nname = \"a\"\nprocess = { command = [\"x\"] }\nmetadata = { a = [1, { b = 2 }] }\n", &[]);
    let printed = toml::to_string_pretty(&config).unwrap();
    assert_eq!(good(&printed, &[]), config, "{printed}");
}

#[test]
fn the_health_monitor_example_is_the_older_systems_defaults() {
    let text = include_str!("../../../deploy/examples/health-monitor.toml");
    let config = good(text, &[("WRITER_URL", "http://127.0.0.1:9100/health"), ("HEALTH_CHECK_INTERVAL", "2")]);
    let names: Vec<_> = config.service.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["writer", "research", "backend"]);
    let writer = &config.service[0].probe[0];
    assert_eq!(writer.url.as_deref(), Some("http://127.0.0.1:9100/health"));
    assert_eq!((writer.period, writer.timeout), (Duration::from_secs(2), Duration::from_secs(5)));
    let BreakerConfig { failure_threshold, success_threshold, open, open_max, .. } = config.breaker;
    let minute = Duration::from_secs(60);
    assert_eq!((failure_threshold, success_threshold, open, open_max), (5, 2, minute, Some(minute)));
    assert_eq!(config.mode(&config.service[0]), Mode::Observe);
    assert!(config.service.iter().all(|service| service.process.is_none()));
}

#[test]
fn an_address_that_makes_no_sense_is_that_checks_failure_alone() {
    let text = include_str!("../../../deploy/examples/health-monitor.toml");
    let loaded = parse(own(text), &env(&[("WRITER_URL", "not-a-url")]), &BUILTIN).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].headline().contains("writer"), "{}", loaded.warnings[0]);
}

#[test]
fn every_kind_of_problem_is_named_with_its_line() {
    let service = |rest: &str| format!("[[service]]\nname = \"a\"\n{rest}\n");
    let probe = |rest: &str| service(&format!("[[service.probe]]\n{rest}"));
    one("[server]\nlisten = [\"nowhere\"]\n", 2, &["server.listen", "HOST:PORT"]);
    one("[server]\nlisten = [\"0.0.0.0:1\"]\n", 2, &["asks for no key", "insecure_bind"]);
    one("[server]\nlisten = []\n", 2, &["names no address"]);
    one("[server]\nlisten = [\"localhost:1\", \"localhost:1\"]\n", 2, &["twice"]);
    one("[store]\nretention = \"1h\"\n", 2, &["store.retention", "24h"]);
    one("[healing]\nattempts = 0\n", 2, &["healing.attempts", "at least 1"]);
    one("[healing]\nmode = \"bold\"\n", 2, &["`bold`", "observe, approve, auto"]);
    one("[healing]\ndetectors = [\"treshold\"]\n", 2, &["no plug-in is named `treshold`", "did you mean `threshold`?"]);
    one("[breaker]\njitter = 2\n", 2, &["breaker.jitter", "0 to 1"]);
    one("[log]\nlevel = \"LOUD\"\n", 2, &["log.level", "INFO", "CRITICAL"]);
    one("[keeper]\nheartbeat = \"9s\"\n", 2, &["keeper.heartbeat"]);
    one("[keeper]\nheartbeat = \"soon\"\n", 2, &["`soon` is not a duration", "500ms"]);
    one("[consult.x]\npolicies = [\"nobody\"]\n", 2, &["consult.x.policies", "nobody"]);
    one(
        "[[plugin]]\nname = \"x\"\ncomponent = \"builtin:detect-treshold\"\n",
        3,
        &["did you mean `detect-threshold`?"],
    );
    one("[[plugin]]\nname = \"x\"\ncomponent = \"/no/such.wasm\"\n", 3, &["there is no file"]);
    one("[[plugin]]\nname = \"x\"\n", 1, &["`component` is missing"]);
    one("[[plugin]]\nname = \"x:y\"\ncomponent = \"builtin:decide-rules\"\n", 2, &["cannot be a name"]);
    one("[[plugin]]\nname = \"rules\"\n[[plugin]]\nname = \"rules\"\n", 4, &["second [[plugin]]", "unique"]);
    one("[[service]]\nname = \"a:b\"\n", 2, &["cannot be a name"]);
    one("[[service]]\nname = \"a\"\n[[service]]\nname = \"a\"\n", 4, &["second [[service]]"]);
    one(&service("depends_on = [\"ab\"]"), 3, &["no service is named `ab`", "did you mean `a`?"]);
    one(&service("depends_on = [\"a\"]"), 3, &["a → a is a cycle"]);
    one(&service("config.nobody = { x = 1 }"), 3, &["no plug-in is named `nobody`"]);
    one(&service("policies = [\"rulez\"]"), 3, &["did you mean `rules`?"]);
    one(&service("process = { command = [] }"), 3, &["command is empty"]);
    one(&service("process = { command = [\"x\"], stop_signal = \"X\" }"), 3, &["stop_signal `X` is none of"]);
    one(&service("process = { command = [\"x\"], startup = \"1s\" }\nstartup = \"2s\""), 4, &["say it once"]);
    one(
        &service("breaker = { open = \"2m\", open_max = \"1m\" }"),
        3,
        &["service.a.breaker.open_max", "at least as long as open"],
    );
    one(&probe("kind = \"htpp\""), 4, &["did you mean `http`?", "allowed: http, tcp, exec"]);
    one(&probe("kind = \"http\""), 3, &["url", "is missing"]);
    one(&probe("kind = \"exec\"\ncommand = []"), 5, &["command"]);
    one(&probe("kind = \"tcp\"\naddress = \"h:1\"\nurl = \"http://h/\""), 6, &["is for kind = \"http\""]);
    one(&probe("kind = \"tcp\"\naddress = \"h:1\"\nperiod = \"0s\""), 6, &["period", "longer than 0s"]);
    one(&probe("kind = \"tcp\"\naddress = \"h:1\"\nperoid = \"1s\""), 6, &["did you mean `period`?"]);
    let twice = "kind = \"tcp\"\naddress = \"h:1\"\n";
    one(&probe(&format!("{twice}[[service.probe]]\n{twice}")), 6, &["second probe of `a`", "give it an `id`"]);
}

#[test]
fn what_would_overflow_or_means_nothing_is_refused_with_what_is_allowed() {
    let service = |rest: &str| format!("[[service]]\nname = \"a\"\n{rest}\n");
    let probe = |rest: &str| service(&format!("[[service.probe]]\nkind = \"tcp\"\naddress = \"h:1\"\n{rest}"));
    let process = |rest: &str| service(&format!("[service.process]\ncommand = [\"x\"]\n{rest}"));
    one(&process("replicas = 0"), 5, &["replicas", "is 0", "at least 1"]);
    one(&process("stop_grace = \"2d\""), 5, &["stop_grace", "at most 1d"]);
    one(&process("log = { keep = 4294967295 }"), 5, &["at most 10000"]);
    one(&probe("period = \"213503d\""), 6, &["service.a.probe.0.period", "is 213503d", "at most 1d"]);
    one(&probe("timeout = \"2h\""), 6, &["at most 1h"]);
    one(&probe("initial_delay = \"584y\"".replace("584y", "213503d").as_str()), 6, &["at most 1d"]);
    one(&probe("success_threshold = 4294967295"), 6, &["is 4294967295", "at most 1000"]);
    one(&probe("failure_threshold = 4294967295"), 6, &["at most 1000"]);
    one("[probe]\nperiod = \"213503d\"\n", 2, &["probe.period", "at most 1d"]);
    one("[probe]\nsuccess_threshold = 4294967295\n", 2, &["probe.success_threshold", "at most 1000"]);
    one(&format!("{}[probe]\nperiod = \"2d\"\n", probe("")), 8, &["probe.period", "at most 1d"]);
    one(&service("startup = \"213503d\""), 3, &["at most 1d"]);
    one(&service("breaker = { success_threshold = 4294967295 }"), 3, &["at most 1000"]);
    one("[breaker]\nfailure_threshold = 4294967295\n", 2, &["at most 1000"]);
    one("[breaker]\nopen_max = \"213503d\"\n", 2, &["at most 1d"]);
    one("[breaker]\ngrowth = 1e300\n", 2, &["at most 100"]);
    one("[keeper]\nheartbeat = \"2h\"\nsilence = \"5h\"\n", 2, &["keeper.heartbeat", "at most 1h"]);
    // Twice the heartbeat is more than a duration can be.
    assert_eq!(problems("[keeper]\nheartbeat = \"213503d\"\nsilence = \"213503d\"\n").len(), 3);
    one("[keeper]\nbackoff_max = \"213503d\"\n", 2, &["at most 1d"]);
    one("[store]\nretention = \"213503d\"\n", 2, &["store.retention", "at most 3650d"]);
    for field in ["cooldown", "dependency_hold", "reopen_within", "verify_max"] {
        one(&format!("[healing]\n{field} = \"213503d\"\n"), 2, &[field, "is 213503d", "is allowed"]);
    }
    one("[healing]\nattempts = 4294967295\n", 2, &["at most 1000"]);
    one("[healing.backoff]\nmax = \"213503d\"\n", 2, &["at most 1d"]);
    one("[healing.backoff]\nsteps = 4294967295\n", 2, &["at most 1000"]);
    one("[healing.start_limit]\nwithin = \"2d\"\n", 2, &["at most 1d"]);
    one("[healing.start_limit]\ncount = 4294967295\n", 2, &["at most 1000000"]);
    one("[[plugin]]\nname = \"rules\"\nlimits = { memory_mib = 4096 }\n", 3, &["at most 256"]);
    one("[[plugin]]\nname = \"rules\"\nlimits = { cpu = \"2d\" }\n", 3, &["at most 1d"]);
}

#[test]
fn an_action_that_does_not_exist_is_named_with_those_that_do() {
    let rules = |rest: &str| format!("[[plugin]]\nname = \"rules\"\n[plugin.config]\n{rest}\n");
    one(
        &rules("rules = [{ do = \"restrat\" }]"),
        4,
        &["there is no action `restrat`", "did you mean `restart`?", "clear-cache, no-action"],
    );
    one(&rules("rules = [{ do = \"restart\", then = [\"escalat\"] }]"), 4, &["`escalat`", "did you mean `escalate`?"]);
    one(
        &rules("rules = [{ do = \"restart\", then = [{ do = \"scale\" }] }]"),
        4,
        &["`scale`", "allowed: restart, start, stop"],
    );
    one(&rules("otherwise = { do = \"nothing\" }"), 4, &["`nothing`"]);
    let service = "[[service]]\nname = \"a\"\nconfig.rules = { rules = [{ do = \"webhok\" }] }\n";
    one(service, 3, &["service.a.config.rules.rules.0.do", "`webhok`"]);
    // A plug-in of the folder may offer it.
    let folder = tempfile::tempdir().unwrap();
    let text =
        format!("[plugins]\nfolder = \"{}\"\n{}", folder.path().display(), rules("rules = [{ do = \"linger\" }]"));
    let loaded = parse(own(&text), &env(&[]), &BUILTIN).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].headline().contains("a plug-in must offer it"), "{}", loaded.warnings[0]);
}

#[test]
fn a_percentage_in_place_of_a_ratio_is_refused() {
    for (text, line) in [
        ("error_rate = 5", 4),
        ("error_rate = { limit = 30 }", 4),
        ("error_rate = [{ limit = 0.3 }, { below = -1 }]", 4),
    ] {
        one(&format!("[[plugin]]\nname = \"threshold\"\n[plugin.config]\n{text}\n"), line, &["a ratio from 0 to 1"]);
    }
    let refused = parse(None, &env(&[("ERROR_RATE_THRESHOLD", "5")]), &BUILTIN).unwrap_err();
    assert!(
        refused.0.iter().all(|problem| problem.headline().contains("is 5; it is a ratio from 0 to 1")),
        "{refused:?}"
    );
    assert!(!refused.0.is_empty());
}

#[test]
fn a_check_that_cannot_be_made_is_named() {
    let probe = |rest: &str| format!("[[service]]\nname = \"a\"\n[[service.probe]]\n{rest}\n");
    let warned = |text: &str| {
        let found = parse(own(text), &env(&[]), &BUILTIN).unwrap().warnings;
        found.iter().map(ConfigProblem::headline).collect::<Vec<_>>()
    };
    // A program may be installed later.
    let found = warned(&probe("kind = \"exec\"\ncommand = [\"nosuchtool\"]"));
    assert!(found.len() == 1 && found[0].contains("there is no program `nosuchtool` in PATH"), "{found:?}");
    let found = warned(&probe("kind = \"exec\"\ncommand = [\"/no/such/tool\"]"));
    assert!(found.len() == 1 && found[0].contains("there is no file `/no/such/tool`"), "{found:?}");
    assert_eq!(warned(&probe("kind = \"exec\"\ncommand = [\"sh\", \"-c\", \"true\"]")), Vec::<String>::new());
    // A URL of the file stays what it is; one of a variable may be set right.
    one(&probe("kind = \"http\"\nurl = \"ftp://h/\""), 5, &["is no URL that can be checked"]);
    one(&probe("kind = \"tcp\"\naddress = \"nowhere\""), 5, &["HOST:PORT"]);
    assert_eq!(warned(&probe("kind = \"http\"\nurl = \"${X:-nowhere}\"")).len(), 1);
}

#[test]
fn a_ring_of_dependencies_is_found_once() {
    let text = "[[service]]\nname = \"a\"\ndepends_on = [\"b\"]\n[[service]]\nname = \"b\"\ndepends_on = [\"c\"]\n[[service]]\nname = \"c\"\ndepends_on = [\"b\"]\n";
    one(text, 6, &["b → c → b is a cycle"]);
}

#[test]
fn problems_of_all_stages_but_the_first_are_listed_together() {
    let found = problems(
        "[healing]\nmode = \"bold\"\nattempts = 0\n[[service]]\nname = \"a\"\ndepends_on = [\"x\"]\nprot = 1\n",
    );
    assert_eq!(found.len(), 4, "{found:#?}");
    let lines: Vec<_> = found.iter().filter_map(|problem| problem.split(':').nth(1)).collect();
    assert_eq!(lines, ["2", "3", "6", "7"], "in the file's order");
}

#[test]
fn a_fault_in_one_service_makes_no_other_unknown() {
    let found = problems(
        "[[service]]\nname = \"a\"\nstartup = 1\nmode = \"x\"\n[[service]]\nname = \"b\"\ndepends_on = [\"a\"]\n",
    );
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn a_program_that_is_not_there_is_a_warning() {
    let warnings = |command: &str| {
        let text = format!("[[service]]\nname = \"a\"\n[service.process]\ncommand = [{command}]\n");
        let found = parse(own(&text), &env(&[]), &BUILTIN).unwrap().warnings;
        found.iter().map(ConfigProblem::headline).collect::<Vec<_>>()
    };
    let found = warnings(r#""/no/such/program", "x""#);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("heald.toml:4: service.a.process.command.0: there is no file `/no/such/program`"),
        "{found:?}"
    );
    assert_eq!(warnings(r#""/bin/sh""#), Vec::<String>::new());
    assert_eq!(warnings(r#""surely-nowhere-in-path""#), Vec::<String>::new(), "PATH is the start's own business");
}

#[test]
fn files_are_found_and_the_environment_wins_over_dotenv() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let load = |path: Option<&str>, pairs: &[(&str, &str)]| {
        super::load(path.map(Path::new), directory.path(), &env(pairs), &BUILTIN)
    };
    assert_eq!(load(None, &[]).unwrap().path, None, "no file is no fault");
    write(".env", "HEALTH_CHECK_INTERVAL=2  # seconds\nPORT=9\n");
    write("heald.toml", "[[service]]\nname = \"usual\"\n");
    write("other.toml", "[[service]]\nname = \"other\"\n");
    let loaded = load(None, &[("PORT", "10")]).unwrap();
    assert_eq!(loaded.config.service[0].name.as_str(), "usual");
    assert_eq!(loaded.config.server.listen, ["127.0.0.1:10"]);
    assert_eq!(loaded.config.probe.period, Some(Duration::from_secs(2)));
    assert_eq!(load(Some("other.toml"), &[]).unwrap().config.service[0].name.as_str(), "other");
    assert!(load(Some("missing.toml"), &[]).unwrap_err().to_string().contains("missing.toml cannot be read"));
    std::fs::remove_file(directory.path().join("heald.toml")).unwrap();
    std::fs::create_dir(directory.path().join("heald.toml")).unwrap();
    assert!(load(None, &[]).unwrap_err().to_string().contains("heald.toml cannot be read"), "a directory is no file");
    write(".env", "nonsense\n");
    assert!(load(None, &[]).unwrap_err().to_string().contains(".env:1: "));
}
