//! What can be said to a running heald: the commands and their arguments. It reads words and does nothing.

use clap::{Args, Subcommand};

/// The commands that talk to a running heald, but those of `heald plugin`.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Show whether heald and its services are healthy
    Status(ClientArgs),
    /// List the services
    Services(ClientArgs),
    /// List the incidents, newest first
    Incidents(IncidentsArgs),
    /// Tell an incident's story: finding, decision, permit, intent, receipt, proof, outcome
    Why(WhyArgs),
    /// Show the events of the journal
    Events(EventsArgs),
    /// Check the health of all services now
    Trigger(TriggerArgs),
    /// Pause a service: heald watches it and does not act on it
    Pause(ServiceArgs),
    /// Resume a paused service, or with --all all healing
    Resume(ResumeArgs),
    /// Forget a service's back-off, start limit, cooldowns and exhausted attempts
    Reset(ServiceArgs),
    /// Start a service, and keep it running from now on
    Start(ServiceArgs),
    /// Stop a service, and keep it stopped from now on
    Stop(ServiceArgs),
    /// Restart a service
    Restart(RestartArgs),
    /// Allow the next disruptive action on a service whose mode is `approve`
    Approve(ServiceArgs),
    /// Stop all healing at once; `heald resume --all` ends it
    Halt(ClientArgs),
    /// Order an action, under the guard
    Act(ActArgs),
}

/// The commands of `heald plugin` that talk to a running heald.
#[derive(Debug, Subcommand)]
pub enum RunningPluginCommand {
    /// List the plug-ins of a running heald
    List(ClientArgs),
    /// Show one plug-in: what it is, what it may do, what it cost, how it failed
    Show(NamedArgs),
    /// Read a plug-in's file again and replace what runs; nothing changes if the file cannot be used
    Reload(NamedArgs),
    /// Enable a disabled plug-in, as it is configured
    Enable(NamedArgs),
    /// Disable a plug-in; the next one in its place answers, in the end the native rules
    Disable(NamedArgs),
    /// Make a shadow or a canary active
    Promote(NamedArgs),
    /// Revoke a capability of a plug-in, also from calls under way
    Revoke(RevokeArgs),
    /// Show how the answers of a shadow or a canary compare with what was done
    Divergence(NamedArgs),
}

/// A command about one plug-in of a running heald.
#[derive(Debug, Args)]
pub struct NamedArgs {
    /// Its name in the configuration
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald plugin revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Its name in the configuration
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The capability: http, files, kv, process, process-control, clock or random
    #[arg(value_name = "CAPABILITY")]
    pub capability: String,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// How to reach a running heald.
#[derive(Clone, Debug, Default, Args)]
pub struct ClientArgs {
    /// The address of heald, such as http://127.0.0.1:8003; by default the configured one
    #[arg(long, value_name = "URL", env = "HEALD_URL", conflicts_with_all = ["host", "port"])]
    pub url: Option<String>,
    /// heald's host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// heald's port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The API key to send
    #[arg(long, value_name = "KEY", env = "HEALD_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `heald incidents`.
#[derive(Debug, Args)]
pub struct IncidentsArgs {
    /// Show only incidents of this service
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Show only incidents that are not resolved
    #[arg(long)]
    pub open: bool,
    /// Show at most this many
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    pub limit: u32,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// An incident (the beginning of its id is enough), or a service for its newest
    #[arg(value_name = "INCIDENT|SERVICE")]
    pub subject: String,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Keep showing new events until interrupted
    #[arg(long, short)]
    pub follow: bool,
    /// Show only events after this sequence number
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald trigger`.
#[derive(Debug, Args)]
pub struct TriggerArgs {
    /// Show only this service; heald checks all of them
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// A command about one service.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Do it although healing is halted, or the service is paused or only observed
    #[arg(long)]
    pub force: bool,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The service
    #[arg(value_name = "SERVICE", required_unless_present = "all", conflicts_with = "all")]
    pub service: Option<String>,
    /// End a halt of all healing
    #[arg(long)]
    pub all: bool,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `heald act`.
#[derive(Debug, Args)]
pub struct ActArgs {
    /// The action, such as restart or clear-cache
    #[arg(value_name = "ACTION")]
    pub action: String,
    /// The service that it is for
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Its parameters as a JSON object
    #[arg(long, value_name = "JSON")]
    pub parameters: Option<String>,
    /// Do it although healing is halted, or the service is paused or only observed
    #[arg(long)]
    pub force: bool,
    /// How to reach heald.
    #[command(flatten)]
    pub client: ClientArgs,
}
