//! The commands that talk to a running heald, over its REST API.
//!
//! A command asks, and prints the answer for a person, or with `--json` as it came. It fails when what was asked did not happen. Nothing here
//! reads the configuration or keeps state.
#![forbid(unsafe_code)]

mod arguments;
mod http;
mod line;
mod plugins;
mod show;
mod stream;

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

pub use arguments::{
    ActArgs, ClientArgs, ClientCommand, EventsArgs, IncidentsArgs, NamedArgs, RestartArgs, ResumeArgs, RevokeArgs,
    RunningPluginCommand, ServiceArgs, TriggerArgs, WhyArgs,
};

use http::Client;
use line::line;
use stream::Next;

/// `heald events` without `--follow` ends after this much silence: then it has shown all events there are.
const SILENCE: Duration = Duration::from_millis(300);
/// How many incidents `heald why` searches for the beginning of an id.
const LOOKED_THROUGH: u32 = 500;
/// The shortest text that counts as the beginning of an id: the first digits of a UUIDv7 are the time and much alike.
const SHORTEST_ID: usize = 4;

/// Carries out a command that needs a running heald; `configured` are the addresses at which it may listen.
///
/// # Errors
/// When what was asked did not happen; the text is for the person who asked.
pub fn run(command: &ClientCommand, configured: &[String]) -> anyhow::Result<ExitCode> {
    converse(ask(command, configured, &who(), &mut stdout()))
}

/// The same for the commands of `heald plugin` that need a running heald.
///
/// # Errors
/// As [`run`].
pub fn run_plugin(command: &RunningPluginCommand, configured: &[String]) -> anyhow::Result<ExitCode> {
    converse(ask_plugin(command, configured, &who(), &mut stdout()))
}

/// The operator's name for timelines.
fn who() -> String {
    std::env::var("USER").unwrap_or_else(|_| "cli".to_owned())
}

fn converse(asking: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(Box::pin(asking)) {
        Err(error) if nobody_reads(&error) => Ok(ExitCode::SUCCESS),
        asked => asked.map(|()| ExitCode::SUCCESS),
    }
}

/// True if the reader of the output is gone (`heald events | head`), which is no failure. Only writing the output fails in this way; a broken
/// connection is a [`http::RequestError`].
fn nobody_reads(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Carries out a command. `configured` are the addresses at which heald may listen, `who` is the operator's name in timelines.
async fn ask(command: &ClientCommand, configured: &[String], who: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let session = |args: &ClientArgs| Session::new(args, configured, who);
    match command {
        ClientCommand::Status(args) => session(args)?.status(out).await,
        ClientCommand::Services(args) => session(args)?.services(out).await,
        ClientCommand::Incidents(args) => session(&args.client)?.incidents(args, out).await,
        ClientCommand::Why(args) => session(&args.client)?.why(args, out).await,
        ClientCommand::Events(args) => session(&args.client)?.events(args, out).await,
        ClientCommand::Trigger(args) => session(&args.client)?.trigger(args, out).await,
        ClientCommand::Pause(args) => session(&args.client)?.verb(&args.service, "pause", out).await,
        ClientCommand::Reset(args) => session(&args.client)?.verb(&args.service, "reset", out).await,
        ClientCommand::Start(args) => session(&args.client)?.verb(&args.service, "start", out).await,
        ClientCommand::Stop(args) => session(&args.client)?.verb(&args.service, "stop", out).await,
        ClientCommand::Restart(args) => session(&args.client)?.restart(args, out).await,
        ClientCommand::Approve(args) => session(&args.client)?.verb(&args.service, "approve", out).await,
        ClientCommand::Resume(args) => match &args.service {
            Some(service) => session(&args.client)?.verb(service, "resume", out).await,
            None => session(&args.client)?.halt("/api/resume", "all healing is resumed", out).await,
        },
        ClientCommand::Halt(args) => {
            let said = "all healing is stopped; `heald resume --all` resumes it";
            session(args)?.halt("/api/halt", said, out).await
        }
        ClientCommand::Act(args) => session(&args.client)?.act(args, out).await,
    }
}

/// Carries out a command about plug-ins.
async fn ask_plugin(
    command: &RunningPluginCommand,
    configured: &[String],
    who: &str,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let session = |args: &ClientArgs| Session::new(args, configured, who);
    match command {
        RunningPluginCommand::List(args) => session(args)?.plugins(out).await,
        RunningPluginCommand::Show(args) => session(&args.client)?.plugin(&args.name, out).await,
        RunningPluginCommand::Divergence(args) => session(&args.client)?.divergence(&args.name, out).await,
        RunningPluginCommand::Reload(args) => session(&args.client)?.order_plugin(&args.name, "reload", out).await,
        RunningPluginCommand::Enable(args) => session(&args.client)?.order_plugin(&args.name, "enable", out).await,
        RunningPluginCommand::Disable(args) => session(&args.client)?.order_plugin(&args.name, "disable", out).await,
        RunningPluginCommand::Promote(args) => session(&args.client)?.order_plugin(&args.name, "promote", out).await,
        RunningPluginCommand::Revoke(args) => session(&args.client)?.revoke(&args.name, &args.capability, out).await,
    }
}

/// The address of heald: from the command line, else from the configuration. If heald listens at all addresses, it is reached by loopback.
pub fn url(args: &ClientArgs, configured: &[String]) -> String {
    if let Some(url) = &args.url {
        return url.clone();
    }
    let first = configured.first().and_then(|address| address.rsplit_once(':'));
    let (host, port) = first.unwrap_or(("127.0.0.1", "8003"));
    let host = args.host.as_deref().unwrap_or(match host {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    });
    let bare = host.contains(':') && !host.starts_with('[');
    let host = if bare { format!("[{host}]") } else { host.to_owned() };
    format!("http://{host}:{}", args.port.map_or_else(|| port.to_owned(), |port| port.to_string()))
}

/// The ids in a list of incidents.
fn ids(answer: &Value) -> impl Iterator<Item = &str> {
    let incidents = answer.get("incidents").and_then(Value::as_array).into_iter().flatten();
    incidents.filter_map(|incident| incident.get("id")?.as_str())
}

/// What all requests of one command share.
struct Session {
    client: Client,
    json: bool,
    who: String,
}

impl Session {
    fn new(args: &ClientArgs, configured: &[String], who: &str) -> anyhow::Result<Self> {
        let client = Client::new(&url(args, configured), args.api_key.clone())?;
        Ok(Self { client, json: args.json, who: who.to_owned() })
    }

    /// Shows an answer: as it came, or as `show` writes it.
    fn put(
        &self,
        out: &mut dyn Write,
        answer: &Value,
        show: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(answer)? + "\n" } else { show()? };
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    async fn status(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut health = self.client.get("/health").await?;
        let services = self.client.get("/api/services").await?;
        let halted = self.client.get("/api/halt").await?;
        // Incidents about plug-ins belong to no service, so they are listed apart.
        let open = self.client.get(&format!("/api/incidents?open=true&limit={LOOKED_THROUGH}")).await?;
        let ailing = show::of_plugins(&open);
        let shown = show::status(&health, &services, &halted, &ailing, self.client.url());
        if let Some(members) = health.as_object_mut() {
            members.insert("plugin_incidents".into(), ailing);
            members.insert("services".into(), services.get("services").cloned().unwrap_or_default());
            members.insert("halted".into(), halted.get("halted").cloned().unwrap_or_default());
        }
        self.put(out, &health, || shown)
    }

    async fn services(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let answer = self.client.get("/api/services").await?;
        self.put(out, &answer, || show::services(&answer))
    }

    async fn incidents(&self, args: &IncidentsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut path = format!("/api/incidents?limit={}", args.limit);
        if args.open {
            path.push_str("&open=true");
        }
        if let Some(service) = &args.service {
            path.push_str("&service=");
            path.push_str(&http::escaped(service));
        }
        let answer = self.client.get(&path).await?;
        self.put(out, &answer, || show::incidents(&answer, Timestamp::now()))
    }

    async fn why(&self, args: &WhyArgs, out: &mut dyn Write) -> anyhow::Result<()> {
        let id = self.incident(&args.subject).await?;
        let answer = self.client.get(&format!("/api/incidents/{}", http::escaped(&id))).await?;
        self.put(out, &answer, || show::story(&answer, Timestamp::now()))
    }

    /// The id of the incident that `subject` names: an id, the beginning of one, or a service. Of a service's incidents it is an open one, else
    /// a resolved one, and the one that changed last.
    async fn incident(&self, subject: &str) -> anyhow::Result<String> {
        for open in [true, false] {
            let path = format!("/api/incidents?limit=1&open={open}&service={}", http::escaped(subject));
            let latest = self.client.get(&path).await?;
            if let Some(id) = ids(&latest).next() {
                return Ok(id.to_owned());
            }
        }
        let like_an_id = subject.len() >= SHORTEST_ID && subject.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if !like_an_id {
            bail!("heald knows no incident of a service `{subject}`; `heald incidents` lists the incidents");
        }
        let all = self.client.get(&format!("/api/incidents?limit={LOOKED_THROUGH}")).await?;
        let meant: Vec<&str> = ids(&all).filter(|id| id.starts_with(&subject.to_ascii_lowercase())).collect();
        match meant.as_slice() {
            [id] => Ok((*id).to_owned()),
            // A whole id may belong to an incident that is older than those.
            [] => Ok(subject.to_owned()),
            several => bail!("{} incidents begin with `{subject}`; write more of the id", several.len()),
        }
    }

    async fn events(&self, args: &EventsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
        // Without --follow, all events are shown, or those after `--after`; with it those from now on, or after `--after`.
        let after = args.after.or((!args.follow).then_some(0));
        let mut events = stream::Events::open(&self.client, after).await?;
        loop {
            let next = match args.follow {
                true => events.next().await,
                false => match tokio::time::timeout(SILENCE, events.next()).await {
                    Ok(next) => next,
                    Err(_) => return Ok(()),
                },
            };
            match next {
                Next::Event(row, data) => {
                    let text = if self.json { data } else { line(&row, false) };
                    writeln!(out, "{text}")?;
                    out.flush()?;
                }
                Next::Lost(_) if !args.follow => return Ok(()),
                Next::Lost(error) => {
                    if !self.json {
                        writeln!(out, "-- connection lost ({error}); trying again --")?;
                        out.flush()?;
                    }
                    events.reopen(&self.client).await;
                }
            }
        }
    }

    async fn trigger(&self, args: &TriggerArgs, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut answer = self.client.post("/health/trigger", &json!({})).await?;
        if let Some(service) = &args.service {
            let one = answer.get("services").and_then(|services| services.get(service));
            let one = one.with_context(|| format!("no service is named `{service}`; `heald services` lists them"))?;
            answer = json!({ "timestamp": answer.get("timestamp"), "services": { service: one } });
        }
        self.put(out, &answer, || show::checks(&answer))
    }

    async fn verb(&self, service: &str, verb: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        let path = format!("/api/services/{}/{verb}", http::escaped(service));
        let answer = self.client.post(&path, &json!({ "by": self.who })).await?;
        let said = match verb {
            "pause" => format!(
                "{service} is paused: heald watches it and does not act on it; `heald resume {service}` resumes it"
            ),
            "resume" => format!("{service} is resumed: heald acts on it again"),
            "reset" => {
                format!("{service} is reset: its back-off, start limit, cooldowns and used attempts are forgotten")
            }
            "start" => format!("{service} is to run: heald starts it and keeps it running"),
            "stop" => format!("{service} is to be stopped: heald stops it and keeps it stopped"),
            "approve" => format!("the next disruptive action on {service} is allowed"),
            _ => show::done(&answer),
        };
        self.put(out, &answer, || Ok(said + "\n"))
    }

    async fn restart(&self, args: &RestartArgs, out: &mut dyn Write) -> anyhow::Result<()> {
        let path = format!("/api/services/{}/restart", http::escaped(&args.service));
        let answer = self.client.post(&path, &json!({ "by": self.who, "force": args.force })).await?;
        self.put(out, &answer, || Ok(show::done(&answer) + "\n"))
    }

    async fn halt(&self, path: &str, said: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        let answer = self.client.post(path, &json!({ "by": self.who })).await?;
        self.put(out, &answer, || Ok(format!("{said}\n")))
    }

    async fn act(&self, args: &ActArgs, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut order = json!({ "action": args.action, "by": self.who, "force": args.force });
        if let Some(members) = order.as_object_mut() {
            if let Some(service) = &args.service {
                members.insert("service".into(), service.as_str().into());
            }
            if let Some(text) = &args.parameters {
                let parameters: Value =
                    serde_json::from_str(text).ok().filter(Value::is_object).with_context(|| {
                        format!("--parameters must be a JSON object such as {{\"wanted\": 3}}, not {text}")
                    })?;
                members.insert("parameters".into(), parameters);
            }
        }
        let answer = self.client.post("/api/actions", &order).await?;
        self.put(out, &answer, || Ok(show::done(&answer) + "\n"))
    }
}

#[cfg(test)]
mod tests;
