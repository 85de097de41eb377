//! What is sent, and what is made of the answers.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use act_webhook::Webhook;
use heald_plugin::http::{Error as HttpError, Response};
use heald_plugin::testing::double::http::{sent, serve};
use heald_plugin::testing::{problems, question, task};
use heald_plugin::{Action, Error, Finding, Receipt, Scalar, Severity, Task};
use serde_json::{Value, json};

fn webhook(config: Value) -> Webhook {
    Webhook::new(serde_json::from_value(config).unwrap()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn there() -> Webhook {
    webhook(json!({"url": "https://hooks.example.com/secret-path"}))
}

fn about_an_incident(parameters: &str) -> Task {
    let finding = Finding::new("high-cpu", Severity::Error, "cpu is \"97\" %\nfor a minute");
    Task { incident: Some(question(finding).build().incident), ..task("webhook", parameters) }
}

fn status(status: u16) -> Response {
    Response { status, ..Response::default() }
}

fn answering(response: Response) -> Result<Receipt, Error> {
    serve(move |_| Ok(response.clone()));
    there().perform(&about_an_incident("{}"))
}

fn fact<'a>(receipt: &'a Receipt, name: &str) -> &'a Scalar {
    &receipt.facts.iter().find(|fact| fact.name == name).unwrap().value
}

#[test]
fn the_incident_is_told_and_the_delivery_is_the_proof() {
    let receipt = answering(status(204)).unwrap();
    assert_eq!(receipt.summary, "https://hooks.example.com took it (204)");
    assert!(receipt.changed);
    assert_eq!(fact(&receipt, "status"), &Scalar::Number(204.0));
    assert_eq!(fact(&receipt, "webhook-id"), &Scalar::Text("attempt-1".into()));
    assert_eq!(fact(&receipt, "webhook-timestamp"), &Scalar::Number(120.0));

    let request = sent().pop().unwrap();
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://hooks.example.com/secret-path"));
    let header = |name: &str| request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!((header("webhook-id"), header("webhook-timestamp")), (Some("attempt-1"), Some("120")));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        body,
        json!({
            "action": "webhook", "attempt": "attempt-1", "condition": "high-cpu", "incident": "incident-1",
            "message": "cpu is \"97\" %\nfor a minute", "service": "web", "severity": "error", "signature": "high-cpu",
            "stage": "opened", "timestamp": 120,
        })
    );
}

#[test]
fn an_operator_can_have_it_sent_outside_any_incident_and_say_what_it_says() {
    serve(|_| Ok(status(200)));
    there().perform(&task("webhook", r#"{"message": "a drill"}"#)).unwrap();
    there().perform(&task("webhook", "{}")).unwrap();
    let bodies: Vec<Value> = sent().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    assert_eq!((&bodies[0]["message"], &bodies[0]["incident"]), (&json!("a drill"), &Value::Null));
    assert_eq!(bodies[1]["message"], "webhook for web");
}

#[test]
fn a_template_is_filled_and_no_word_escapes_its_text() {
    serve(|_| Ok(status(200)));
    let plugin = webhook(json!({
        "url": "https://hooks.example.com/{service}?say={message}",
        "body": {"text": "{severity}: {message}", "list": ["{{{service}}}", 7, "{stage}"]},
    }));
    plugin.perform(&about_an_incident(r#"{"message": "\", \"x\": \"a/b?c#d"}"#)).unwrap();
    let request = sent().pop().unwrap();
    assert_eq!(request.url, "https://hooks.example.com/web?say=%22%2C%20%22x%22%3A%20%22a%2Fb%3Fc%23d");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, json!({"text": "error: \", \"x\": \"a/b?c#d", "list": ["{web}", 7, "opened"]}));
}

#[test]
fn what_may_work_later_is_told_apart_from_what_will_not() {
    for later in [408, 425, 429, 500, 502, 503, 504] {
        let error = answering(status(later)).unwrap_err();
        assert!(matches!(&error, Error::Unavailable(said) if said.contains(&later.to_string())), "{error:?}");
    }
    let busy = Response { status: 429, headers: vec![("retry-after".into(), "30".into())], ..Response::default() };
    assert!(matches!(answering(busy).unwrap_err(), Error::Unavailable(said) if said.contains("after 30")));
    let refused = Response { status: 404, body: b"no such\n  hook".to_vec(), ..Response::default() };
    let Error::Other(said) = answering(refused).unwrap_err() else { panic!() };
    assert_eq!(said, "https://hooks.example.com answered 404, it does not want this: no such hook");
    assert!(matches!(answering(status(302)).unwrap_err(), Error::Other(said) if said.contains("307 and 308")));
    for (failure, expected) in [
        (HttpError::TimedOut, "unavailable"),
        (HttpError::Unreachable("refused".into()), "unavailable"),
        (HttpError::Denied("not granted".into()), "denied"),
        (HttpError::Failed("no certificate".into()), "other"),
    ] {
        serve(move |_| Err(failure.clone()));
        let error = there().perform(&about_an_incident("{}")).unwrap_err();
        let kind = match &error {
            Error::Unavailable(_) => "unavailable",
            Error::Denied(_) => "denied",
            _ => "other",
        };
        assert_eq!(kind, expected, "{error:?}");
        assert!(!format!("{error:?}").contains("secret-path"), "{error:?}");
    }
}

fn redirect(status: u16, location: &str) -> Response {
    Response { status, headers: vec![("Location".into(), location.into())], ..Response::default() }
}

#[test]
fn a_redirect_is_followed_with_the_same_body_and_without_the_operators_headers() {
    serve(|request| {
        Ok(match request.url.as_str() {
            "https://hooks.example.com/a" => redirect(307, "/b"),
            "https://hooks.example.com/b" => redirect(308, "https://other.example.com/c"),
            "https://other.example.com/c" => status(200),
            other => panic!("{other}"),
        })
    });
    let plugin = webhook(json!({"url": "https://hooks.example.com/a", "headers": {"x-token": "ours"}}));
    let receipt = plugin.perform(&about_an_incident("{}")).unwrap();
    assert_eq!(fact(&receipt, "redirects"), &Scalar::Number(2.0));
    let sent = sent();
    let has_token = |nth: usize| sent[nth].headers.iter().any(|(name, _)| name == "x-token");
    assert_eq!([has_token(0), has_token(1), has_token(2)], [true, true, false]);
    assert!(sent.iter().all(|request| request.body == sent[0].body && request.method == "POST"));
}

#[test]
fn redirects_end() {
    assert!(
        matches!(answering(redirect(307, "/again")).unwrap_err(), Error::Other(said) if said.contains("more than 3"))
    );
    assert_eq!(sent().len(), 4);
    for nowhere in ["", "elsewhere", "ftp://x/", "https://"] {
        assert!(
            matches!(answering(redirect(307, nowhere)).unwrap_err(), Error::Other(said) if said.contains("location"))
        );
    }
    for plain in ["http://hooks.example.com/", "http://169.254.169.254/latest"] {
        assert!(
            matches!(answering(redirect(308, plain)).unwrap_err(), Error::Denied(said) if said.contains("not encrypted"))
        );
    }
}

#[test]
fn a_check_says_where_to_and_sends_nothing() {
    serve(|_| panic!("a check has no effect"));
    let plan = there().check(&about_an_incident("{}")).unwrap();
    assert_eq!(plan.summary, "would POST to https://hooks.example.com");
    assert!(matches!(there().check(&task("restart", "{}")), Err(Error::Unsupported(_))));
    assert!(matches!(there().check(&task("webhook", r#"{"massage": "x"}"#)), Err(Error::BadInput(_))));
}

#[test]
fn it_is_a_message_under_the_name_it_is_given() {
    let offers = webhook(json!({"url": "https://a/b", "action": "page"})).offers();
    assert_eq!((offers[0].name.as_str(), offers[0].disruptive, offers[0].undoable), ("page", false, false));
    assert_eq!(offers[0].summary, "tells https://a");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_where_it_is_wrong() {
    for (config, at, word) in [
        (r#"{"url": "hooks.example.com"}"#, "/url", "https://"),
        (r#"{"url": "https://{service}.example.com/"}"#, "/url", "braces"),
        (r#"{"url": "https://me:pw@example.com/"}"#, "/url", "user"),
        (r#"{"url": "https://a/{servce}"}"#, "/url", "{servce} stands for nothing"),
        (r#"{"url": "https://a/", "body": {"a/b": ["", "{who}"]}}"#, "/body/a~1b/1", "{who}"),
        (r#"{"url": "https://a/", "body": "an open { brace"}"#, "/body", "stands for nothing"),
        (r#"{"url": "https://a/", "timeout": "0s"}"#, "/timeout", "more than nothing"),
        (r#"{"url": "https://a/", "timeout": "soon"}"#, "/timeout", "no duration"),
        (r#"{"url": "https://a/", "retries": 3}"#, "/retries", "unknown"),
        ("{}", "", "url"),
    ] {
        let found = problems(Webhook::new, config);
        assert!(found.iter().any(|problem| problem.at == at && problem.message.contains(word)), "{config}: {found:?}");
    }
}
