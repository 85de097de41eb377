//! What an operator or an author writes: the configuration with its variables, and scenarios. The first line says which: `scenario`, or
//! anything else. What is a configuration is printed as `heald config print` does, and must read back the same.
#![no_main]

use std::sync::OnceLock;

use heald_author::plugin::scenario::{CheckedScenario, task_inputs};
use heald_config::{Config, ConfigProblems, Environment, File, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.split_once('\n') {
        Some(("scenario", text)) => scenario(text),
        _ => configuration(text),
    }
});

fn read(text: &str) -> Result<Config, ConfigProblems> {
    static ENVIRONMENT: OnceLock<(Environment, Vec<&'static str>)> = OnceLock::new();
    let (environment, builtin) = ENVIRONMENT.get_or_init(|| {
        let values = [("A", "1"), ("B", ""), ("C", "a\"b\\c\n'"), ("D", "true"), ("E", "${A}")];
        (values.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), heald_platform::builtins::names())
    });
    let file = File { name: "heald.toml".to_owned(), text: text.to_owned() };
    parse(Some(file), environment, builtin).map(|loaded| loaded.config)
}

fn configuration(text: &str) {
    let config = match read(text) {
        Ok(config) => config,
        Err(problems) => {
            assert!(!problems.0.is_empty(), "there is a reason");
            return drop(problems.to_string());
        }
    };
    let printed = toml::to_string_pretty(&config).expect("what was read can be written");
    // Secrets are not printed, so that nothing reads back where there are some.
    if !printed.contains("(secret)") {
        match read(&printed) {
            Ok(again) => assert_eq!(again, config, "{printed}"),
            Err(problems) => panic!("{problems}\n{printed}"),
        }
    }
}

fn scenario(text: &str) {
    match CheckedScenario::read("scenario.toml", text) {
        Ok(scenario) => {
            assert!(!scenario.roles().is_empty(), "it is for somebody");
            task_inputs(&scenario);
        }
        Err(error) => drop(error.to_string()),
    }
}
