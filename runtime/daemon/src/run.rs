//! `heald run`: one command, two processes. The first is the keeper; it starts the same image again as the runtime.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use heald_api::{Api, Phase};
use heald_control::{Consult, Control};
use heald_control::{History, ProbeBoard};
use heald_engine::Healer;
use heald_keeper::{Image, Options, Runtime};
use heald_model::{Entry, Moment, Record};
use heald_supervisor::Supervisor;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::assemble::{Assembled, assemble};
use crate::control::RunningControl;
use crate::logging::LogFormat;
use heald_platform::builtins;

use crate::{logging, narrate};
use heald_config::{self as config, Config, Environment};

/// The exit code for a mistake on the command line or in the configuration. The keeper knows it and does not start the runtime again.
pub const MISTAKE: u8 = 2;

/// The number of threads that judge. Probes and journal have threads of their own. A guest that uses up its budget blocks one of these
/// for some milliseconds.
const JUDGES: usize = 2;

/// The keeper answers every heartbeat. It may be silent for so much longer than a beat.
const KEEPER_SILENT: Duration = Duration::from_secs(2);

/// How often it is looked at whether the keeper is silent.
const KEEPER_LOOK: Duration = Duration::from_millis(500);

/// `heald run`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// The configuration file; heald.toml if it is there
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen at this address instead of the configured ones; may be given several times
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["host", "port"])]
    pub listen: Vec<String>,
    /// Listen at this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Listen at this port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// How the log is written; `auto` is for people on a terminal and JSON lines elsewhere
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

impl RunArgs {
    /// The addresses to listen at: the configured ones, overridden by `--listen`, `--host` and `--port`. `--host` alone keeps the
    /// configured port, `--port` alone the configured host.
    pub fn listen_over(&self, configured: &[String]) -> Vec<String> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        if self.host.is_none() && self.port.is_none() {
            return configured.to_vec();
        }
        let first = configured.first().and_then(|address| address.rsplit_once(':'));
        let (host, port) = first.unwrap_or(("127.0.0.1", "8003"));
        let host = match self.host.as_deref() {
            // An IPv6 address needs brackets beside a port.
            Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
            Some(host) => host.to_owned(),
            None => host.to_owned(),
        };
        vec![format!("{host}:{}", self.port.map_or_else(|| port.to_owned(), |port| port.to_string()))]
    }
}

/// What differs between `heald run` and `heald demo`.
#[derive(Clone, Debug, Default)]
pub struct RunMode {
    /// Tell a person on the terminal what happens, and keep the log in a file.
    pub narrated: bool,
    /// Variables for the runtime's environment.
    pub env: Vec<(String, String)>,
}

/// Reads the configuration, with the options of the command line over it.
///
/// # Errors
/// The problems, in one text.
pub fn configured(args: &RunArgs, file: Option<&Path>) -> anyhow::Result<config::LoadedConfig> {
    let directory = std::env::current_dir().context("there is no working directory")?;
    let environment: Environment = std::env::vars().collect();
    let mut loaded = config::load(file, &directory, &environment, &builtins::names())?;
    loaded.config.server.listen = args.listen_over(&loaded.config.server.listen);
    Ok(loaded)
}

/// Runs the keeper, or, in a process that the keeper started, the runtime.
///
/// # Errors
/// What kept it from its work.
pub fn run(args: &RunArgs, file: Option<&Path>, mode: RunMode) -> anyhow::Result<ExitCode> {
    let loaded = match configured(args, file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            config::complain(problems.as_ref());
            return Ok(ExitCode::from(MISTAKE));
        }
    };
    match heald_keeper::client::inherited()? {
        None => {
            logging::start_without_thread(&loaded.config.log, args.log_format, mode.narrated)?;
            keep(&loaded.config, mode)
        }
        Some(inherited) => {
            let _log = logging::start(&loaded.config.log, args.log_format, mode.narrated)?;
            for warning in &loaded.warnings {
                tracing::warn!("{}", warning.headline());
            }
            let judges = tokio::runtime::Builder::new_multi_thread().worker_threads(JUDGES).enable_all().build()?;
            let code = judges.block_on(work(loaded.config, inherited, mode));
            // No task that still runs must be waited for.
            judges.shutdown_timeout(Duration::from_secs(1));
            code
        }
    }
}

fn keep(config: &Config, mode: RunMode) -> anyhow::Result<ExitCode> {
    let mut image = Image::of_this_process();
    image.env.extend(mode.env.into_iter().map(|(name, value)| (name.into(), value.into())));
    let state_dir = std::path::absolute(config.keeper.state_dir(&config.store))?;
    let options = Options {
        silence: config.keeper.silence,
        absence: config.keeper.absence,
        backoff_max: config.keeper.backoff_max,
        ..Options::new(Runtime::Process(image), state_dir)
    };
    let code = heald_keeper::run(options).context("the keeper cannot do its work")?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Runs the runtime: bind, assemble, serve, end in order.
async fn work(config: Config, inherited: heald_keeper::client::Inherited, mode: RunMode) -> anyhow::Result<ExitCode> {
    // First of all: if a port is taken, the operator must act, and nothing else may have happened.
    let listeners = match config.server.bind().await {
        Ok(listeners) => listeners,
        Err(error) => {
            config::complain(&error);
            return Ok(ExitCode::from(MISTAKE));
        }
    };
    let addresses: Vec<String> = listeners
        .iter()
        .filter_map(|listener| listener.local_addr().ok())
        .map(|address| format!("http://{address}"))
        .collect();
    let server = config.server.clone();
    let longest_silence = config.keeper.heartbeat + KEEPER_SILENT;
    let started = Instant::now();
    let mut assembled = assemble(config, Some(inherited)).await?;
    let (phase, phases) = watch::channel(Phase::Starting);
    let store = Arc::clone(&assembled.store);
    let keeper_silent = keeper_silence(assembled.supervisor.clone(), longest_silence);
    if let Some(supervisor) = assembled.supervisor.clone() {
        let watch = watch_keeper(supervisor, longest_silence, Arc::clone(&assembled.healer));
        assembled.witnesses.push(tokio::spawn(watch));
    }
    let api = Api {
        control: Arc::new(RunningControl(assembled.healer.operator())) as Arc<dyn Control>,
        consult: Arc::clone(&assembled.consultants) as Arc<dyn Consult>,
        plugins: Arc::clone(&assembled.platform) as _,
        board: Arc::new(assembled.prober.clone()) as Arc<dyn ProbeBoard>,
        history: Arc::clone(&assembled.store) as Arc<dyn History>,
        phase: phases.clone(),
        database: Arc::new(move || store.degraded().is_none()),
        keeper_silent: Arc::new(keeper_silent),
        safe_mode: assembled.safe_mode.clone(),
        version: env!("CARGO_PKG_VERSION"),
        started,
    };
    let router = heald_api::router(api, &server);
    let mut draining = phases.clone();
    let end = async move {
        let _ = draining.wait_for(|phase| *phase == Phase::Draining).await;
    };
    let mut serving = tokio::spawn(heald_api::serve(listeners, router, end));
    if mode.narrated {
        tokio::spawn(narrate::narrate(Arc::clone(&assembled.store) as Arc<dyn History>));
        narrate::welcome(&addresses);
    }
    for address in &addresses {
        tracing::info!("listening on {address}");
    }
    let _ = phase.send(Phase::Ready);
    let cause = tokio::select! {
        cause = told_to_end() => cause?,
        served = &mut serving => {
            served??;
            anyhow::bail!("the API has ended by itself");
        }
        failure = failed(&mut assembled.healing, &mut assembled.witnesses) => {
            // A heald that does not heal is worse than a restart; the keeper restarts this runtime.
            tracing::error!("{failure}; this runtime ends, and the keeper starts another");
            logging::flush();
            anyhow::bail!(failure);
        }
        () = keeper_gone(assembled.supervisor.clone()) => {
            // An exit at once frees port and lock for the next heald, whose keeper adopts the children.
            tracing::error!("the keeper is gone; so is this runtime");
            logging::flush();
            std::process::exit(1);
        }
    };
    tracing::info!("{cause}: ending in order");
    let _ = phase.send(Phase::Draining);
    end_in_order(assembled).await;
    if let Err(error) = serving.await {
        tracing::warn!("the API did not end well: {error}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns when heald cannot do its work any more: the healing has ended, or a task that feeds it has panicked. Tasks that end
/// in order have done their work.
async fn failed(healing: &mut JoinHandle<()>, witnesses: &mut Vec<JoinHandle<()>>) -> String {
    std::future::poll_fn(|context| {
        if let Poll::Ready(ended) = Pin::new(&mut *healing).poll(context) {
            let why = ended.err().map(|error| format!(": {error}")).unwrap_or_default();
            return Poll::Ready(format!("the healing has ended by itself{why}"));
        }
        let mut failure = None;
        witnesses.retain_mut(|task| match Pin::new(task).poll(context) {
            Poll::Ready(ended) => {
                failure = failure.take().or(ended.err());
                false
            }
            Poll::Pending => true,
        });
        failure.map_or(Poll::Pending, |error| Poll::Ready(format!("a task of heald has failed: {error}")))
    })
    .await
}

async fn told_to_end() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // The keeper forwards these two. heald neither reloads nor re-executes itself yet, and must not die of them.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut upgrade = signal(SignalKind::user_defined2())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok("SIGTERM"),
            _ = interrupt.recv() => return Ok("SIGINT"),
            _ = hangup.recv() => tracing::warn!("SIGHUP is ignored: restart heald to read its configuration again"),
            _ = upgrade.recv() => tracing::warn!("SIGUSR2 is ignored"),
        }
    }
}

/// For how long nothing was heard of the keeper, if that is longer than it may be.
fn keeper_silence(supervisor: Option<Supervisor>, longest: Duration) -> impl Fn() -> Option<Duration> {
    move || supervisor.as_ref().map(Supervisor::keeper_silence).filter(|silence| *silence > longest)
}

/// Records when the keeper falls silent, and when it is heard again.
async fn watch_keeper(supervisor: Supervisor, longest: Duration, healer: Arc<Healer>) {
    let mut ticks = tokio::time::interval(KEEPER_LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_silent = false;
    loop {
        ticks.tick().await;
        let is_silent = supervisor.keeper_silence() > longest;
        if is_silent != was_silent {
            let text = match is_silent {
                true => {
                    "the keeper is silent: no process can be started or stopped, and ends of processes are not told"
                }
                false => "the keeper is heard again",
            };
            tracing::error!("{text}");
            healer.witness(Entry::of_heald(now(), Record::Note { text: text.to_owned() }));
        }
        was_silent = is_silent;
    }
}

async fn keeper_gone(supervisor: Option<Supervisor>) {
    match supervisor {
        Some(supervisor) => supervisor.closed().await,
        None => std::future::pending().await,
    }
}

/// Ends the checks first, so that heald heals nothing that is being stopped, then the processes, and the journal last.
async fn end_in_order(assembled: Assembled) {
    assembled.prober.stop();
    tracing::info!("Health monitoring stopped");
    assembled.healing.abort();
    if let Some(supervisor) = &assembled.supervisor {
        for (service, stopped) in supervisor.stop_all(&assembled.order).await {
            if let Err(error) = stopped {
                tracing::error!(service = %service, "cannot be stopped: {error}");
            }
        }
    }
    for witness in &assembled.witnesses {
        witness.abort();
    }
    assembled.healer.witness(Entry::of_heald(now(), Record::Stopped));
    let store = Arc::clone(&assembled.store);
    // Closing waits for the writer's thread.
    let _ = tokio::task::spawn_blocking(move || store.close()).await;
    if let Some(supervisor) = &assembled.supervisor
        && let Err(error) = supervisor.shutdown(false).await
    {
        tracing::warn!("the keeper could not be told: {error}");
    }
}

fn now() -> Moment {
    heald_engine::ports::Clock::now(crate::clock::SystemClock::start().as_ref())
}

/// The configuration file in a demo's directory.
pub fn file_in(directory: &Path) -> PathBuf {
    directory.join("heald.toml")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct RunLine {
        #[command(flatten)]
        args: RunArgs,
    }

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_although_nothing_else_happens() {
        let mut healing = tokio::spawn(std::future::pending());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let mut witnesses = vec![
            tokio::spawn(async {}),
            tokio::spawn(std::future::pending()),
            tokio::spawn(async move {
                gone.await.unwrap();
                panic!("of the test");
            }),
        ];
        go.send(()).unwrap();
        let failure = tokio::time::timeout(Duration::from_secs(60), failed(&mut healing, &mut witnesses)).await;
        assert!(failure.unwrap().contains("panicked"));
        assert!(!witnesses.iter().any(JoinHandle::is_finished), "only what is under way is still watched");
    }

    #[tokio::test]
    async fn a_healing_that_ends_is_noticed() {
        let mut healing = tokio::spawn(async {});
        let mut witnesses = vec![tokio::spawn(std::future::pending())];
        let failure = tokio::time::timeout(Duration::from_secs(60), failed(&mut healing, &mut witnesses)).await;
        assert!(failure.unwrap().contains("the healing has ended"));
    }

    #[test]
    fn options_go_over_the_configured_addresses() {
        let configured = ["127.0.0.1:8003".to_owned(), "127.0.0.1:8000".to_owned()];
        let over = |line: &str| match RunLine::try_parse_from(line.split_whitespace()) {
            Ok(line) => line.args.listen_over(&configured),
            Err(error) => panic!("{line}: {error}"),
        };
        assert_eq!(over("run"), configured);
        assert_eq!(over("run --port 5"), ["127.0.0.1:5"]);
        assert_eq!(over("run --host localhost"), ["localhost:8003"]);
        assert_eq!(over("run --host ::1 --port 5"), ["[::1]:5"]);
        assert_eq!(over("run --listen a:1 --listen b:2"), ["a:1", "b:2"]);
    }
}
