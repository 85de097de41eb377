use std::sync::{Arc, Mutex};

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// The part of heald's command line that is for the client.
#[derive(Debug, Parser)]
#[command(name = "heald")]
enum ClientLine {
    #[command(flatten)]
    Client(ClientCommand),
    #[command(subcommand)]
    Plugin(RunningPluginCommand),
}

/// Carries out a command line against an address nobody configured, as Ada.
async fn carry_out(line: &ClientLine, out: &mut dyn Write) -> anyhow::Result<()> {
    match line {
        ClientLine::Client(command) => Box::pin(ask(command, &[], "ada", out)).await,
        ClientLine::Plugin(command) => Box::pin(ask_plugin(command, &[], "ada", out)).await,
    }
}

/// A heald that answers what it is told to, one connection after the other, and remembers what it was asked.
struct Stub {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    async fn answering(answers: Vec<(&'static str, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !whole(&request) {
                    let mut bytes = [0; 4_096];
                    match stream.read(&mut bytes).await.unwrap() {
                        0 => break,
                        read => request.extend_from_slice(&bytes[..read]),
                    }
                }
                seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                let head = if body.starts_with("id:") {
                    format!("HTTP/1.1 {status}\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
                } else {
                    format!(
                        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    )
                };
                stream.write_all((head + &body).as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The head, and as much behind it as that says.
fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

async fn say(line: &str) -> Result<String, String> {
    let command = ClientLine::try_parse_from(line.split_whitespace()).unwrap();
    let mut out = Vec::new();
    match carry_out(&command, &mut out).await {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(error) => Err(format!("{error:#}")),
    }
}

fn row(seq: u64, text: &str) -> String {
    let row = heald_model::Row {
        seq,
        node: "n".into(),
        epoch: 0,
        tenant: String::new(),
        schema: heald_model::journal::SCHEMA,
        mono: 0,
        boot: uuid::Uuid::nil(),
        entry: heald_model::Entry::of_service(
            heald_model::Moment::from_millis(1_795_341_600_123),
            "web".into(),
            heald_model::Record::Note { text: text.into() },
        ),
    };
    format!("id: {seq}\nevent: note\ndata: {}\n\n", serde_json::to_string(&row).unwrap())
}

#[tokio::test]
async fn no_heald_is_a_clear_sentence() {
    let error = say("heald status --port 1").await.unwrap_err();
    assert_eq!(
        error,
        "no heald answers at http://127.0.0.1:1: connection refused; `heald run` starts one, --url or --port names another"
    );
    assert!(say("heald status --url https://h").await.unwrap_err().contains("`https://h` is not an address"));
}

#[tokio::test]
async fn an_order_names_who_gives_it_and_shows_the_key() {
    let stub = Stub::answering(vec![
        ("200 OK", json!({"service": "a b", "desired": "paused"}).to_string()),
        (
            "200 OK",
            json!({"service": "web", "action": "restart", "summary": "started pid 7", "outcome": null}).to_string(),
        ),
    ])
    .await;
    let url = &stub.url;
    let command = ClientCommand::Pause(ServiceArgs {
        service: "a b".into(),
        client: ClientArgs { url: Some(url.clone()), api_key: Some("k1".into()), ..ClientArgs::default() },
    });
    let mut out = Vec::new();
    Box::pin(ask(&command, &[], "ada", &mut out)).await.unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "a b is paused: heald watches it and does not act on it; `heald resume a b` resumes it\n"
    );
    let done = say(&format!("heald act restart --service web --parameters {{\"x\":1}} --url {url}")).await.unwrap();
    assert_eq!(done, "restart web: started pid 7\n");
    let asked = stub.asked();
    assert!(asked[0].starts_with("POST /api/services/a%20b/pause HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].contains("x-api-key: k1\r\n") && asked[0].ends_with("{\"by\":\"ada\"}"), "{}", asked[0]);
    let order: Value = serde_json::from_str(asked[1].split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        order,
        json!({"action": "restart", "by": "ada", "force": false, "service": "web", "parameters": {"x": 1}})
    );
}

#[tokio::test]
async fn a_no_is_an_error_in_healds_words() {
    let error = json!({"error": "Unknown action received: FROBNICATE", "detail": "x", "offered": ["restart", "stop"]});
    let stub = Stub::answering(vec![
        ("400 Bad Request", error.to_string()),
        ("401 Unauthorized", json!({"error": "Unauthorized"}).to_string()),
        ("200 OK", "<html>".into()),
    ])
    .await;
    let url = &stub.url;
    let refused = say(&format!("heald act FROBNICATE --service web --url {url}")).await.unwrap_err();
    assert_eq!(refused, "Unknown action received: FROBNICATE; on offer: restart, stop");
    assert!(say(&format!("heald halt --url {url}")).await.unwrap_err().contains("HEALD_API_KEY"));
    assert!(say(&format!("heald services --url {url}")).await.unwrap_err().contains("is not heald"));
    assert!(say("heald act x --parameters 5").await.unwrap_err().contains("--parameters must be a JSON object"));
}

#[tokio::test]
async fn orders_about_plugins_name_the_capability_and_fail_in_healds_words() {
    let status = json!({
        "name": "queue", "state": "running", "mode": "active", "component": "x", "origin": "folder", "summary": "",
        "roles": [], "actions": [], "requested": [], "granted": ["http"], "revoked": ["kv"], "services": [],
        "counters": heald_control::PluginCounters::default(), "quarantine": [], "schema": {},
    });
    let unknown = json!({"error": "no plug-in is named `cue`; there are queue"}).to_string();
    let stub = Stub::answering(vec![
        ("200 OK", status.to_string()),
        ("404 Not Found", unknown),
        ("409 Conflict", json!({"error": "it is active already"}).to_string()),
    ])
    .await;
    let url = &stub.url;
    let revoked = say(&format!("heald plugin revoke queue kv --url {url}")).await.unwrap();
    assert_eq!(revoked, "kv is revoked from queue; it still has: http\n");
    let error = say(&format!("heald plugin show cue --url {url}")).await.unwrap_err();
    assert_eq!(error, "no plug-in is named `cue`; there are queue");
    let error = say(&format!("heald plugin promote queue --url {url}")).await.unwrap_err();
    assert_eq!(error, "it is active already");
    let asked = stub.asked();
    assert!(asked[0].starts_with("POST /api/plugins/queue/revoke "), "{}", asked[0]);
    let order: Value = serde_json::from_str(asked[0].split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(order, json!({"by": "ada", "capability": "kv"}));
    assert!(asked[1].starts_with("GET /api/plugins/cue ") && asked[2].starts_with("POST /api/plugins/queue/promote "));
}

#[tokio::test]
async fn one_service_of_a_trigger_or_an_error() {
    let checks = json!({"health": "healthy", "last_check": null, "response_time_ms": null, "error_message": null,
        "consecutive_failures": 0, "total_checks": 1, "successful_checks": 1, "uptime_percentage": 100.0,
        "circuit_breaker_state": "closed"});
    let answer =
        json!({"timestamp": "t", "services": {"a": checks, "b": checks}, "overall_health": "healthy"}).to_string();
    let stub = Stub::answering(vec![("200 OK", answer.clone()), ("200 OK", answer)]).await;
    let shown = say(&format!("heald trigger b --url {}", stub.url)).await.unwrap();
    assert!(shown.contains("\nb  ") && !shown.contains("\na  "), "{shown}");
    assert!(say(&format!("heald trigger c --url {}", stub.url)).await.unwrap_err().contains("no service is named `c`"));
}

#[tokio::test]
async fn an_incident_is_found_by_service_or_by_the_beginning_of_its_id() {
    let none = json!({"incidents": [], "pagination": {"total": 0}}).to_string();
    let two = json!({"incidents": [{"id": "0198aa"}, {"id": "0198ab"}], "pagination": {"total": 2}}).to_string();
    let stub = Stub::answering(vec![
        ("200 OK", none.clone()),
        ("200 OK", none.clone()),
        ("200 OK", two.clone()),
        ("200 OK", none.clone()),
        ("200 OK", none.clone()),
        ("200 OK", two.clone()),
        ("404 Not Found", json!({"error": "no incident has the id `0198aa`"}).to_string()),
        ("200 OK", none.clone()),
        ("200 OK", none.clone()),
        ("200 OK", none),
        ("200 OK", two),
        ("404 Not Found", json!({"error": "gone"}).to_string()),
    ])
    .await;
    let url = &stub.url;
    assert!(say(&format!("heald why 0198 --url {url}")).await.unwrap_err().contains("2 incidents begin with `0198`"));
    assert!(say(&format!("heald why 0198AA --url {url}")).await.unwrap_err().contains("no incident has the id"));
    assert!(say(&format!("heald why web --url {url}")).await.unwrap_err().contains("service `web`"));
    assert!(stub.asked()[6].starts_with("GET /api/incidents/0198aa "));
    // An incident that came back is older than one that is over, and it is what the service ails from.
    assert!(stub.asked()[0].starts_with("GET /api/incidents?limit=1&open=true&service=0198 "));
    assert!(stub.asked()[1].starts_with("GET /api/incidents?limit=1&open=false&service=0198 "));
    assert!(say(&format!("heald why web --url {url}")).await.is_err());
    assert!(stub.asked()[10].contains("open=false") && stub.asked()[11].starts_with("GET /api/incidents/0198aa "));
}

/// A pipe whose reader is gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_fault() {
    let stub = Stub::answering(vec![("200 OK", row(7, "one"))]).await;
    let events = format!("heald events --json --url {}", stub.url);
    let command = ClientLine::try_parse_from(events.split_whitespace()).unwrap();
    let error = carry_out(&command, &mut Closed).await.unwrap_err();
    assert!(nobody_reads(&error), "{error:#}");
    let command = ClientLine::try_parse_from(["heald", "status", "--port", "1"]).unwrap();
    assert!(!nobody_reads(&carry_out(&command, &mut Closed).await.unwrap_err()));
}

#[tokio::test]
async fn following_goes_on_behind_the_last_event_after_a_loss() {
    let stub = Stub::answering(vec![("200 OK", row(7, "one") + &row(8, "two")), ("200 OK", row(9, "three"))]).await;
    let client = Client::new(&stub.url, None).unwrap();
    let mut events = stream::Events::open(&client, Some(6)).await.unwrap();
    let mut lines = Vec::new();
    while lines.len() < 3 {
        match events.next().await {
            Next::Event(row, _) => lines.push(line(&row, false)),
            Next::Lost(_) => events.reopen(&client).await,
        }
    }
    let words: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(words, ["one", "two", "three"]);
    assert!(lines[0].ends_with("  web              note      one"), "{}", lines[0]);
    let asked = stub.asked();
    assert!(asked[0].contains("last-event-id: 6\r\n") && asked[1].contains("last-event-id: 8\r\n"), "{asked:?}");
}

#[tokio::test]
async fn events_without_following_end() {
    let stub = Stub::answering(vec![("200 OK", row(1, "only"))]).await;
    let shown = say(&format!("heald events --url {}", stub.url)).await.unwrap();
    assert_eq!(shown.lines().count(), 1);
    assert!(stub.asked()[0].contains("last-event-id: 0\r\n"), "all there is");
}

#[test]
fn heald_is_looked_for_where_the_configuration_says() {
    let found = |line: &str, configured: &str| {
        let line = ClientLine::try_parse_from(line.split_whitespace()).unwrap();
        let ClientLine::Client(ClientCommand::Status(args)) = line else { panic!() };
        url(&args, &[configured.to_owned()])
    };
    assert_eq!(found("heald status", "0.0.0.0:9000"), "http://127.0.0.1:9000");
    assert_eq!(found("heald status", "[::]:9000"), "http://[::1]:9000");
    assert_eq!(found("heald status", "localhost:9000"), "http://localhost:9000");
    assert_eq!(found("heald status --port 5", "localhost:9000"), "http://localhost:5");
    assert_eq!(found("heald status --host ::1", "localhost:9000"), "http://[::1]:9000");
    assert_eq!(found("heald status --url http://x:1", "localhost:9000"), "http://x:1");
}
