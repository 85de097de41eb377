//! Requests: where a grant leads, where it does not, and servers that mean harm. All servers are real ones on this machine.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use heald_host::{ActionFailure, Grant, Host, Network, Options, PluginActions, PluginConfig, Resolver, Task};
use heald_model::{FaultCause, IntentId, Moment, Receipt, Scalar, ServiceView};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::guests::{component, host, incident, object, service, table};

/// A server that keeps what it was sent, byte for byte, and answers each request with these bytes.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

/// What a server does after a request.
#[derive(Clone)]
enum Reply {
    /// Says this and hangs up.
    Say(String),
    /// Says this, and then the second without end.
    Flood(String, String),
    /// Says nothing and stays.
    Nothing,
}

fn ok(body: &str) -> Reply {
    Reply::Say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

impl Server {
    async fn answering(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, reply.clone(), Arc::clone(&kept)));
            }
        });
        Self { address, seen }
    }

    /// With the certificate of `hooks.test` and 127.0.0.1.
    async fn with_tls(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let kept = Arc::clone(&seen);
        let certificate = include_bytes!("tls/hooks-test.der").to_vec().into();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(include_bytes!("tls/hooks-test.key.der").to_vec());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, reply, kept) = (acceptor.clone(), reply.clone(), Arc::clone(&kept));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, reply, kept).await;
                    }
                });
            }
        });
        Self { address, seen }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, reply: Reply, seen: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    while !is_whole(&bytes) {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    seen.lock().unwrap().push(String::from_utf8_lossy(&bytes).into_owned());
    if !is_whole(&bytes) {
        // Half a request is none, and gets no answer.
        return;
    }
    let _ = match reply {
        Reply::Say(words) => stream.write_all(words.as_bytes()).await,
        Reply::Flood(words, more) => {
            let mut result = stream.write_all(words.as_bytes()).await;
            while result.is_ok() {
                result = stream.write_all(more.as_bytes()).await;
            }
            result
        }
        Reply::Nothing => std::future::pending().await,
    };
    let _ = stream.shutdown().await;
}

/// A head, and the body that it announces.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    if head.contains("transfer-encoding: chunked") {
        body.ends_with("0\r\n\r\n")
    } else {
        body.len() >= length.unwrap_or(0)
    }
}

/// Tells these answers in turn, the last one for ever.
#[derive(Default)]
struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    fn telling(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: Mutex::default() })
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        next.ok_or_else(|| io::Error::other("no such name"))
    }
}

fn host_with(names: &Arc<Names>) -> Host {
    let network = Network {
        resolver: Arc::clone(names) as Arc<dyn Resolver>,
        authorities: vec![include_bytes!("tls/authority.der").to_vec()],
    };
    Host::with(Options { network, ..Options::default() }).unwrap()
}

fn granting(hosts: Value) -> PluginConfig {
    let mut table = table("action-fetch");
    table.grant = Grant { http: serde_json::from_value(hosts).unwrap(), ..Grant::default() };
    table
}

async fn fetching(host: &Host, table: &PluginConfig) -> Arc<PluginActions> {
    let plugin = host.load_bytes(table, component("action-fetch")).unwrap();
    plugin.actions(&object(json!({}))).await.unwrap()
}

fn task<'a>(service: &'a ServiceView, action: &'a str, parameters: &'a Value) -> Task<'a> {
    Task {
        now: Moment::from_millis(1_700_000_000_000),
        seed: 7,
        attempt: IntentId(Uuid::from_u128(5)),
        service,
        incident: None,
        action,
        parameters,
    }
}

fn texts(receipt: &Receipt) -> Vec<String> {
    let text = |fact: &heald_model::Fact| match &fact.value {
        Scalar::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    receipt.facts.iter().map(text).collect()
}

async fn fetch(actions: &PluginActions, requests: Value) -> Result<Vec<String>, ActionFailure> {
    let (service, parameters) = (service("web"), json!({"requests": requests}));
    actions.perform(&task(&service, "fetch", &parameters)).await.map(|receipt| texts(&receipt))
}

async fn fetch_one(actions: &PluginActions, request: Value) -> String {
    fetch(actions, json!([request])).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_granted_host_is_reached_and_sees_what_the_guest_sent() {
    let server = Server::answering(ok("hello")).await;
    let actions = fetching(host(), &granting(json!([server.url().trim_end_matches('/')]))).await;
    let request = json!({"method": "POST", "url": format!("{}a/b?c=d", server.url()), "headers": [["x-own", "1"]], "body": 9_000});
    assert_eq!(fetch_one(&actions, request).await, "200 5 [content-length: 5] hello");
    let seen = server.seen().remove(0);
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /a/b?c=d HTTP/1.1\r\n"), "{head}");
    for line in [
        format!("host: {}", server.address),
        "content-length: 9000".into(),
        "x-own: 1".into(),
        "connection: close".into(),
    ] {
        assert_eq!(head.lines().filter(|each| **each == *line).count(), 1, "{line} in {head}");
    }
    assert!(head.contains("user-agent: heald/") && body == "x".repeat(9_000));
}

#[tokio::test]
async fn another_host_another_port_and_another_scheme_are_refused() {
    let (granted, other) = (Server::answering(ok("yes")).await, Server::answering(ok("no")).await);
    let actions = fetching(host(), &granting(json!([format!("http://{}", granted.address)]))).await;
    let port = granted.address.port();
    for url in [
        other.url(),
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.2:{port}/"),
        format!("https://{}/", granted.address),
        format!("http://127.1:{port}/"),
        format!("http://[::ffff:127.0.0.2]:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://example.com/".to_owned(),
    ] {
        let told = fetch_one(&actions, json!({"url": url})).await;
        assert!(told.starts_with("Denied: ") || told.starts_with("Bad: "), "{url}: {told}");
    }
    assert!(other.seen().is_empty());
    assert!(fetch_one(&actions, json!({"url": granted.url()})).await.starts_with("200 "));
    let none = fetching(host(), &granting(json!([]))).await;
    assert!(fetch_one(&none, json!({"url": granted.url()})).await.starts_with("Denied: "));
    assert_eq!(granted.seen().len(), 1);
}

#[test]
fn without_a_grant_it_is_not_even_loaded_and_the_refusal_says_what_to_add() {
    let error = host().load_bytes(&table("fetcher"), component("action-fetch")).err().unwrap().to_string();
    for part in ["`fetcher`", "wasi:http/outgoing-handler@0.2", "wasi:http/types@0.2", "grant.http = ["] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("wasi:io"), "only what is refused is named: {error}");
}

#[tokio::test]
async fn a_redirect_is_judged_by_where_it_leads() {
    let to = |location: &str| {
        Reply::Say(format!("HTTP/1.1 307 Over There\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"))
    };
    let last = Server::answering(ok("arrived")).await;
    let onward = Server::answering(to(&last.url())).await;
    let metadata = Server::answering(to("http://169.254.169.254/latest/meta-data/iam/")).await;
    let grants = [&last, &onward, &metadata].map(|server| server.address.to_string());
    let actions = fetching(host(), &granting(json!(grants))).await;
    assert!(fetch_one(&actions, json!({"url": onward.url()})).await.ends_with(" arrived"));
    assert!(fetch_one(&actions, json!({"url": metadata.url()})).await.starts_with("Denied: "));
    let narrow = fetching(host(), &granting(json!(grants[1..]))).await;
    assert!(
        fetch_one(&narrow, json!({"url": onward.url()})).await.starts_with("Denied: "),
        "the target is not granted here"
    );
}

#[tokio::test]
async fn a_name_that_is_rebound_leads_nowhere_private() {
    let server = Server::answering(ok("the secret")).await;
    let port = server.address.port();
    let url = format!("http://rebind.test:{port}/");
    let once = json!({"url": url, "patience": 300});
    // 192.0.2.1 is no one's: a public address as far as anybody can tell, at which nobody answers.
    for answers in [
        &[&["192.0.2.1"][..], &["127.0.0.1"]][..],
        &[&["127.0.0.1"]],
        &[&["192.0.2.1", "127.0.0.1"]],
        &[&["127.0.0.1", "192.0.2.1"]],
        &[&["::ffff:127.0.0.1"]],
        &[&["10.0.0.1"]],
    ] {
        let names = Names::telling(answers);
        let actions = fetching(&host_with(&names), &granting(json!([format!("rebind.test:{port}")]))).await;
        let told = fetch(&actions, json!([once, once])).await.unwrap();
        assert!(
            told[1].starts_with("Denied: the host does not let a request go to that address"),
            "{answers:?}: {told:?}"
        );
    }
    // Metadata is refused however it is granted.
    for ip in ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "100.100.100.200"] {
        let private = granting(json!([{"host": format!("rebind.test:{port}"), "private": true}]));
        let actions = fetching(&host_with(&Names::telling(&[&[ip]])), &private).await;
        assert!(fetch_one(&actions, once.clone()).await.starts_with("Denied: "), "{ip}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_answer_is_pinned_so_that_one_action_sees_one_host() {
    let server = Server::answering(ok("here")).await;
    let port = server.address.port();
    let names = Names::telling(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let private = granting(json!([{"host": format!("pinned.test:{port}"), "private": true}]));
    let actions = fetching(&host_with(&names), &private).await;
    let once = json!({"url": format!("http://pinned.test:{port}/")});
    for told in fetch(&actions, json!([once, once, {"url": format!("http://PINNED.test.:{port}/")}])).await.unwrap() {
        assert!(told.ends_with(" here"), "{told}");
    }
    assert_eq!(*names.asked.lock().unwrap(), ["pinned.test"]);
    assert!(
        server.seen().iter().all(|seen| seen.contains(&format!("host: pinned.test:{port}\r\n"))),
        "{:?}",
        server.seen()
    );
}

#[tokio::test]
async fn a_secret_goes_to_its_own_host_alone_and_replaces_what_the_guest_says() {
    let (own, other) = (Server::answering(ok("")).await, Server::answering(ok("")).await);
    let actions = fetching(
        host(),
        &granting(json!([
            {"host": format!("http://{}", own.address), "headers": {"authorization": "Bearer hush"}},
            other.address.to_string(),
        ])),
    )
    .await;
    let forged = json!([["authorization", "Bearer forged"], ["Authorization", "Bearer too"]]);
    let requests =
        json!([{"url": own.url(), "headers": forged}, {"url": other.url()}, {"method": "TRACE", "url": own.url()}]);
    let told = fetch(&actions, requests).await.unwrap();
    assert!(told[2].starts_with("Bad: "), "a trace would show it: {told:?}");
    assert!(!told.concat().contains("hush"));
    let seen = own.seen().concat();
    assert_eq!(seen.matches("authorization").count(), 1, "{seen}");
    assert!(seen.contains("authorization: Bearer hush\r\n"), "{seen}");
    assert!(!other.seen().concat().contains("authorization"));
}

#[tokio::test]
async fn no_request_is_smuggled_in_another() {
    let server = Server::answering(ok("")).await;
    let actions = fetching(host(), &granting(json!([server.address.to_string()]))).await;
    let url = server.url();
    for (request, expected) in [
        (json!({"url": url, "headers": [["x-a", "1\r\nx-b: 2"]]}), "Bad: "),
        (json!({"url": url, "headers": [["x-a\r\nx-b", "1"]]}), "Bad: "),
        (json!({"url": url, "headers": [["x-a", "1\u{0}"]]}), "Bad: "),
        (json!({"url": format!("{url} HTTP/1.1\r\nx: y\r\n\r\n")}), "Bad: "),
        (json!({"url": url, "method": "GET / HTTP/1.1\r\n\r\nPOST"}), "Bad: "),
        (json!({"url": url, "method": "CONNECT"}), "Bad: "),
        (json!({"url": url, "headers": [["host", "evil.net"]]}), "Denied: "),
        (json!({"url": url, "headers": [["transfer-encoding", "chunked"]]}), "Denied: "),
        (
            json!({"url": url, "headers": [["Transfer-Encoding", "chunked"], ["content-length", "4"]], "body": 9}),
            "Denied: ",
        ),
        (json!({"url": url, "headers": [["connection", "x-own"]]}), "Denied: "),
        (json!({"url": url, "headers": [["upgrade", "websocket"]]}), "Denied: "),
        (json!({"url": url, "headers": [["te", "trailers"]]}), "Denied: "),
        (json!({"url": url, "headers": [["expect", "100-continue"]]}), "Denied: "),
        (json!({"url": url, "headers": [["content-length", "4"], ["content-length", "9"]], "body": 9}), "Bad: "),
        (json!({"url": url, "headers": [["content-length", "+9"]], "body": 9}), "Bad: "),
        (json!({"url": url, "headers": [["content-length", "9"]]}), "TooLarge: "),
    ] {
        let told = fetch_one(&actions, request.clone()).await;
        assert!(told.starts_with(expected), "{request}: {told}");
    }
    assert_eq!(server.seen(), [""; 0], "none of them was sent");
    // A body that is not as long as it says is cut off, and the connection with it: what follows cannot be taken for a request.
    for (length, body) in [("4", 9), ("9", 4)] {
        let told = fetch_one(
            &actions,
            json!({"method": "POST", "url": url, "headers": [["content-length", length]], "body": body}),
        )
        .await;
        assert!(!told.starts_with("200 "), "{told}");
    }
    // Whether the server sees such a request before it is cut off is a matter of moments; one that it sees is no longer than that.
    assert!(fetch_one(&actions, json!({"url": url})).await.starts_with("200 "));
    for seen in server.seen() {
        let body = seen.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(body.len() <= 4, "{seen}");
    }
    let sent: String = server.seen().into_iter().filter(|seen| seen.contains("\r\n\r\n")).collect();
    assert_eq!(sent.matches("HTTP/1.1").count(), sent.matches("connection: close").count(), "{sent}");
}

#[tokio::test]
async fn a_call_has_so_many_requests_and_setting_up_has_none() {
    let server = Server::answering(ok("")).await;
    let table = granting(json!([server.address.to_string()]));
    let actions = fetching(host(), &table).await;
    let told = fetch_one(&actions, json!({"url": server.url(), "times": 17})).await;
    assert!(told.starts_with("Denied: too many requests"), "{told}");
    assert_eq!(server.seen().len(), 16);
    assert!(
        fetch_one(&actions, json!({"url": server.url(), "times": 16})).await.starts_with("200 "),
        "the next call has its own"
    );
    let plugin = host().load_bytes(&table, component("action-fetch")).unwrap();
    plugin.actions(&object(json!({"early": server.url()}))).await.unwrap();
    assert_eq!(server.seen().len(), 32, "a plug-in that is only being set up reaches nobody");
}

#[tokio::test]
async fn a_flood_is_cut_off_and_told() {
    let junk = "x".repeat(64 << 10);
    let chunk = format!("{:x}\r\n{junk}\r\n", junk.len());
    for (reply, expected) in [
        (Reply::Flood("HTTP/1.1 200 OK\r\n\r\n".into(), junk.clone()), "TooLarge: "),
        (Reply::Flood("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into(), chunk), "TooLarge: "),
        (Reply::Flood("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".into(), junk.clone()), "TooLarge: "),
        (Reply::Flood("HTTP/1.1 200 OK\r\n".into(), format!("x-flood: {junk}\r\n")), "Failed: "),
        (Reply::Flood("HTTP/1.1 200 OK\r\n".into(), "x-flood: 1\r\n".repeat(1_000)), "Failed: "),
        (Reply::Flood(String::new(), junk), "Failed: "),
        (Reply::Say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".into()), "Unreachable: "),
        (Reply::Say(String::new()), "Unreachable: "),
        (Reply::Say("SSH-2.0-OpenSSH_9.2\r\n".into()), "Failed: "),
    ] {
        let server = Server::answering(reply).await;
        let actions = fetching(host(), &granting(json!([server.address.to_string()]))).await;
        let told = fetch_one(&actions, json!({"url": server.url()})).await;
        assert!(told.starts_with(expected), "wanted {expected}, and it is {told}");
    }
    let server = Server::answering(ok("")).await;
    let actions = fetching(host(), &granting(json!([server.address.to_string()]))).await;
    let told = fetch_one(&actions, json!({"method": "POST", "url": server.url(), "body": (1 << 20) + 1})).await;
    assert!(told.starts_with("TooLarge: "), "{told}");
}

#[tokio::test]
async fn what_nobody_answers_is_a_value_and_not_a_trap() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let names = Names::telling(&[]);
    let actions = fetching(&host_with(&names), &granting(json!([free.to_string(), "gone.test:80"]))).await;
    let told =
        fetch(&actions, json!([{"url": format!("http://{free}/")}, {"url": "http://gone.test/"}])).await.unwrap();
    assert_eq!(told, ["Unreachable: the connection was refused", "Unreachable: the name was not resolved"]);
    let silent = Server::answering(Reply::Nothing).await;
    let actions = fetching(host(), &granting(json!([silent.address.to_string()]))).await;
    assert_eq!(fetch_one(&actions, json!({"url": silent.url(), "patience": 100})).await, "TimedOut: no answer in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_call_ends_with_its_budget_and_holds_up_nobody_else() {
    let (silent, quick) = (Server::answering(Reply::Nothing).await, Server::answering(ok("quick")).await);
    let mut table = granting(json!([silent.address.to_string(), quick.address.to_string()]));
    table.limits.wall = Some(Duration::from_millis(500));
    let actions = fetching(host(), &table).await;
    let parked = tokio::spawn({
        let (actions, url) = (Arc::clone(&actions), silent.url());
        async move {
            let began = Instant::now();
            (fetch(&actions, json!([{"url": url}])).await, began.elapsed())
        }
    });
    let mut others = 0;
    while !parked.is_finished() {
        let told = fetch_one(&actions, json!({"url": quick.url()})).await;
        assert!(told.ends_with(" quick"), "{told}");
        others += 1;
    }
    let (outcome, took) = parked.await.unwrap();
    let ActionFailure::Fault(fault) = outcome.unwrap_err() else { panic!("it was stopped") };
    assert_eq!(fault.cause, FaultCause::Deadline, "{fault}");
    // 20 ms more would do on a quiet machine; this one may be busy with other tests.
    assert!((500..1_000).contains(&took.as_millis()), "{took:?}");
    assert!(others > 3, "{others} calls of others went on meanwhile");
}

#[tokio::test]
async fn https_is_spoken_with_who_can_prove_its_name() {
    let server = Server::with_tls(ok("safe")).await;
    let port = server.address.port();
    let names = Names::telling(&[&["127.0.0.1"]]);
    let grants =
        ["hooks.test", "other.test"].map(|name| json!({"host": format!("https://{name}:{port}"), "private": true}));
    let host = host_with(&names);
    let actions = fetching(&host, &granting(json!([grants[0], grants[1], format!("https://127.0.0.1:{port}")]))).await;
    let ask = |name: &str| json!({"url": format!("https://{name}:{port}/")});
    let told = fetch(&actions, json!([ask("hooks.test"), ask("127.0.0.1"), ask("other.test")])).await.unwrap();
    assert!(told[0].ends_with(" safe") && told[1].ends_with(" safe"), "{told:?}");
    assert!(
        told[2].starts_with("Failed: the certificate is not trusted"),
        "it resolves there, and is not it: {told:?}"
    );
    let stranger = fetching(crate::guests::host(), &granting(json!([format!("https://127.0.0.1:{port}")]))).await;
    let told = fetch_one(&stranger, ask("127.0.0.1")).await;
    assert!(
        told.starts_with("Failed: the certificate is not trusted"),
        "nobody vouches for that authority here: {told}"
    );
    let plain = Server::answering(ok("")).await;
    let actions = fetching(&host, &granting(json!([plain.address.to_string()]))).await;
    let told = fetch_one(&actions, json!({"url": format!("https://{}/", plain.address), "patience": 2_000})).await;
    assert!(told.starts_with("Failed: ") || told.starts_with("TimedOut: "), "{told}");
}

#[tokio::test]
async fn act_webhook_delivers_an_incident_over_https() {
    let server = Server::with_tls(Reply::Say("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".into())).await;
    let place = format!("https://hooks.test:{}", server.address.port());
    let mut table = table("act-webhook");
    table.grant.http =
        serde_json::from_value(json!([{"host": place, "private": true, "headers": {"authorization": "Bearer hush"}}]))
            .unwrap();
    let host = host_with(&Names::telling(&[&["127.0.0.1"]]));
    let plugin = host.load_bytes(&table, component("act-webhook")).unwrap();
    let actions = plugin.actions(&object(json!({"url": format!("{place}/hook/{{service}}")}))).await.unwrap();
    assert!(!actions.infos()[0].disruptive);
    let (service, incident, parameters) = (service("web"), incident("web"), json!({}));
    let task = Task { incident: Some(&incident), ..task(&service, "webhook", &parameters) };
    assert_eq!(actions.check(&task).await.unwrap().summary, format!("would POST to {place}"));
    assert!(server.seen().is_empty(), "a check has no effect");
    let receipt = actions.perform(&task).await.unwrap();
    assert_eq!(receipt.summary, format!("{place} took it (202)"));
    let seen = server.seen().remove(0);
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook/web HTTP/1.1\r\n"), "{head}");
    for line in ["authorization: Bearer hush", "content-type: application/json", "webhook-timestamp: 1700000000"] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(head.contains(&format!("webhook-id: {}", task.attempt)), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["condition"], &body["message"]), (&json!("high-cpu"), &json!("cpu is 97 %")));
}
