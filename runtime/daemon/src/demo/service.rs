//! The demo's services: small HTTP servers that really crash, hang, leak, turn slow, and say DOWN with a 200.
//!
//! The wall clock tells when a service fails, so that the five take turns for as long as they run, and a restart does not change the order.
//! They know nothing of heald.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// How a demo service fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DemoFault {
    /// Ends itself with an abort.
    Crash,
    /// Stops itself (SIGSTOP): every connection is accepted by the kernel and never answered.
    Hang,
    /// Keeps everything it ever cached, on disk and in memory, until its cache directory is emptied.
    Leak,
    /// Answers later and later, until it is restarted.
    Slow,
    /// Answers 200, and in the body that it is DOWN.
    Down,
}

/// All faults, in the order of their turns.
pub const DEMO_FAULTS: [DemoFault; 5] =
    [DemoFault::Crash, DemoFault::Hang, DemoFault::Leak, DemoFault::Slow, DemoFault::Down];

impl DemoFault {
    /// The name of the service that has this fault.
    pub const fn service(self) -> &'static str {
        match self {
            Self::Crash => "shop",
            Self::Hang => "search",
            Self::Leak => "images",
            Self::Slow => "reports",
            Self::Down => "payments",
        }
    }
}

/// The options of `heald demo-service`.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "heald demo-service")]
pub struct DemoServiceArgs {
    /// The fault that it has; without one it stays healthy.
    #[arg(long = "illness", value_enum)]
    pub fault: Option<DemoFault>,
    /// Where it listens.
    #[arg(long)]
    pub listen: SocketAddr,
    /// How long a turn is, in seconds.
    #[arg(long, default_value_t = 8)]
    pub turn: u64,
    /// Where the leaking one keeps its cache.
    #[arg(long)]
    pub cache: Option<PathBuf>,
}

/// What a leak costs in each step, and how often there is a step: about 100 MB in a turn of eight seconds.
const STEP_BYTES: usize = 2 << 20;
const STEP: Duration = Duration::from_millis(150);
/// A leak ends here, healed or not: the demo must not fill the memory.
const MOST_BYTES: usize = 400 << 20;
/// How late a slow service answers.
const LATENESS: Duration = Duration::from_millis(400);

#[derive(Default)]
struct Condition {
    down: AtomicBool,
    slow: AtomicBool,
}

/// Serves until it is ended.
///
/// # Errors
/// When it cannot listen.
pub async fn serve(args: DemoServiceArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let condition = Arc::new(Condition::default());
    if let Some(fault) = args.fault {
        tokio::spawn(fail_in_turn(
            fault,
            Duration::from_secs(args.turn.max(1)),
            args.cache.clone(),
            Arc::clone(&condition),
        ));
    }
    loop {
        let (stream, _) = listener.accept().await?;
        let condition = Arc::clone(&condition);
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(request, Arc::clone(&condition)));
            // A client that goes away mid-answer is its own business.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    condition: Arc<Condition>,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    if condition.slow.load(Ordering::Relaxed) {
        tokio::time::sleep(LATENESS).await;
    }
    let (status, body) = match request.uri().path() {
        "/health" if condition.down.load(Ordering::Relaxed) => (StatusCode::OK, r#"{"status":"DOWN"}"#),
        "/health" => (StatusCode::OK, r#"{"status":"UP"}"#),
        _ => (StatusCode::NOT_FOUND, r#"{"error":"not found"}"#),
    };
    Response::builder().status(status).header("content-type", "application/json").body(Full::from(body))
}

/// Waits for each turn of this fault, and fails.
async fn fail_in_turn(fault: DemoFault, turn: Duration, cache: Option<PathBuf>, condition: Arc<Condition>) {
    let place = DEMO_FAULTS.iter().position(|other| *other == fault).unwrap_or(0) as u64;
    loop {
        tokio::time::sleep(until_turn(place, turn)).await;
        match fault {
            DemoFault::Crash => std::process::abort(),
            DemoFault::Hang => {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
            }
            DemoFault::Slow => condition.slow.store(true, Ordering::Relaxed),
            DemoFault::Down => condition.down.store(true, Ordering::Relaxed),
            DemoFault::Leak => leak(cache.as_deref()).await,
        }
        // This turn must be over, or it would be waited for again.
        tokio::time::sleep(turn).await;
    }
}

/// From now to the next beginning of this place's turn on the wall clock.
fn until_turn(place: u64, turn: Duration) -> Duration {
    let round = turn.as_millis().max(1) as u64 * DEMO_FAULTS.len() as u64;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64 % round;
    let begin = place * turn.as_millis() as u64;
    Duration::from_millis((begin + round - now) % round)
}

/// Caches without bound: every file in the directory is also held in memory, and let go only when its file is gone.
async fn leak(cache: Option<&Path>) {
    let Some(cache) = cache else { return };
    let mut held: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for number in 0_usize.. {
        if held.len() * STEP_BYTES < MOST_BYTES {
            let file = cache.join(format!("thumbnail-{number}"));
            // Touched, so that it is really in memory.
            let bytes = vec![(number % 251) as u8 + 1; STEP_BYTES];
            if std::fs::write(&file, b"cached").is_ok() {
                held.push((file, bytes));
            }
        }
        tokio::time::sleep(STEP).await;
        let before = held.len();
        held.retain(|(file, _)| file.exists());
        if held.len() < before {
            return;
        }
    }
}
