//! A detector, policy and action that asks the host whatever it is told to, and says what it heard: for the tests of what a
//! grant means, what is recorded of a call, and what a replay is told.
#![deny(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use heald_plugin::process::control;
use heald_plugin::{
    About, Action, ActionInfo, Decision, Detector, Error, Finding, Observation, Plan, Policy, PolicyAbout, Problem,
    Question, Receipt, Severity, Task, Verdict, kv, log, process,
};

/// What it asks in each call, in this order.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Asks {
    script: Vec<Step>,
    /// It asks all of that while it is configured, too, and tells of it in the log.
    #[serde(default)]
    at_once: bool,
    /// It disowns every state: after it asked, so that the second call of two asks again.
    #[serde(default)]
    disowns: bool,
}

/// One question.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Step {
    Get(String),
    /// Key, value, milliseconds to keep it.
    Set(String, String, Option<u64>),
    /// Key, what is expected, what is wanted.
    Swap(String, Option<String>, Option<String>),
    /// Prefix, behind, limit.
    Keys(String, Option<String>, u32),
    /// So many keys with so many bytes each: how many were kept, and what was said to the first that was not.
    Fill(u32, usize),
    Children,
    Start(Option<String>),
    Stop(Option<String>),
    Restart(Option<String>),
    Reload(Option<String>),
    Signal(Option<String>, String),
    Scale(u32),
    /// Writes an error line.
    Log(String),
    /// How often this instance was asked this, which no guest should remember.
    Count,
    /// Falls over without a word the second time that this instance is asked.
    TrapTwice,
}

impl Asks {
    fn ask(&self) -> Vec<String> {
        self.script.iter().map(Step::ask).collect()
    }
}

impl Step {
    fn ask(&self) -> String {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let bytes = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
        let done = |answer: Result<(), Error>| told(answer.map(|()| "done"));
        match self {
            Self::Get(key) => told(kv::get(key).map(|value| value.map_or("nothing".to_owned(), text))),
            Self::Set(key, value, None) => done(kv::set(key, value.as_bytes())),
            Self::Set(key, value, Some(keep)) => done(kv::set_for(key, value.as_bytes(), Duration::from_millis(*keep))),
            Self::Swap(key, expected, value) => {
                told(kv::swap(key, bytes(expected).as_deref(), bytes(value).as_deref()))
            }
            Self::Keys(prefix, after, limit) => {
                told(kv::keys(prefix, after.as_deref(), *limit).map(|keys| keys.join(",")))
            }
            Self::Fill(count, size) => {
                let value = vec![7; *size];
                let refused = (0..*count).find_map(|n| Some((n, kv::set(&format!("fill/{n:05}"), &value).err()?)));
                match refused {
                    None => format!("{count} kept"),
                    Some((kept, error)) => format!("{kept} kept, then {}", told::<&str>(Err(error))),
                }
            }
            Self::Children => told(process::children().map(|children| {
                let child = |child: &process::Child| format!("{}:{}:{}", child.replica, child.pid, child.ready);
                children.iter().map(child).collect::<Vec<_>>().join(",")
            })),
            Self::Start(replica) => done(control::start(replica.as_deref())),
            Self::Stop(replica) => done(control::stop(replica.as_deref())),
            Self::Restart(replica) => done(control::restart(replica.as_deref())),
            Self::Reload(replica) => done(control::reload(replica.as_deref())),
            Self::Signal(replica, name) => done(control::signal(replica.as_deref(), name)),
            Self::Scale(wanted) => done(control::scale(*wanted)),
            Self::Log(line) => {
                log::error!("{line}");
                "written".to_owned()
            }
            Self::Count => count().to_string(),
            Self::TrapTwice if count() > 1 => {
                std::panic::set_hook(Box::new(|_| {}));
                panic!()
            }
            Self::TrapTwice => "not yet".to_owned(),
        }
    }
}

fn count() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed) + 1
}

fn told<T: std::fmt::Display>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(answer) => answer.to_string(),
        Err(error) => error.to_string(),
    }
}

fn configured(config: Asks) -> Result<Asks, Vec<Problem>> {
    if config.at_once {
        let heard = config.ask().join("; ");
        return Err(vec![Problem::at("", heard)]);
    }
    Ok(config)
}

impl Detector for Asks {
    type Config = Self;
    type State = Vec<u8>;

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        configured(config)
    }

    fn about(&self) -> About {
        About::conditions(["heard"])
    }

    fn evaluate(&self, _: &Observation, state: &mut Vec<u8>) -> Result<Verdict, Error> {
        let heard = self.ask();
        if self.disowns && !state.is_empty() {
            return Err(Error::BadState);
        }
        let finding = Finding::new("heard", Severity::Info, "it asked");
        let finding =
            heard.into_iter().enumerate().fold(finding, |finding, (n, heard)| finding.with(n.to_string(), heard));
        Ok(vec![finding].into())
    }
}

impl Policy for Asks {
    type Config = Self;
    type State = ();

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        configured(config)
    }

    fn about(&self) -> PolicyAbout {
        PolicyAbout::any()
    }

    fn decide(&self, _: &Question, (): &mut ()) -> Result<Decision, Error> {
        Ok(Decision::no_action(self.ask().join("; ")))
    }
}

impl Action for Asks {
    type Config = Self;

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        configured(config)
    }

    fn offers(&self) -> Vec<ActionInfo> {
        vec![ActionInfo::new("ask", "asks")]
    }

    fn check(&self, _: &Task) -> Result<Plan, Error> {
        Ok(Plan::new(self.ask().join("; ")))
    }

    fn perform(&self, _: &Task) -> Result<Receipt, Error> {
        Ok(Receipt::new(self.ask().join("; "), false).undo(Vec::new()))
    }

    fn undo(&self, _: &Task, _: &[u8]) -> Result<Receipt, Error> {
        Ok(Receipt::new(self.ask().join("; "), false))
    }
}

heald_plugin::detector!(Asks, capabilities: &["log", "kv", "process", "process-control"]);
heald_plugin::policy!(Asks, capabilities: &["log", "kv", "process", "process-control"]);
heald_plugin::action!(Asks, capabilities: &["log", "kv", "process", "process-control"]);
