//! Sending, and what is made of the answer. A redirect that keeps the method (307, 308) is followed, three times at most, and each time
//! the host judges anew; what would make a GET of it is an error.

use heald_plugin::http::{self, Request, Response};
use heald_plugin::{Error, Receipt};

/// Receivers move once; who sends on and on is a loop.
const REDIRECTS: usize = 3;
/// Characters of an answer that go into an error: enough for "invalid_token".
const WORDS: usize = 200;

/// Sends it until somebody takes it.
pub(crate) fn deliver(mut request: Request) -> Result<Receipt, Error> {
    let first = place(&request.url).unwrap_or_default().to_owned();
    for redirects in 0..=REDIRECTS {
        let here = place(&request.url).unwrap_or_default().to_owned();
        let answer = request.send().map_err(|error| failure(&here, error))?;
        if answer.is_success() {
            let receipt = Receipt::new(format!("{here} took it ({})", answer.status), true);
            return Ok(receipt.with("status", f64::from(answer.status)).with("redirects", redirects as f64));
        }
        if !matches!(answer.status, 307 | 308) {
            return Err(refusal(&here, &answer));
        }
        let location = answer.header("location").unwrap_or_default();
        let next = target(&request.url, location)
            .ok_or_else(|| Error::Other(format!("{here} answered {} without a usable location", answer.status)))?;
        let there = place(&next).unwrap_or_default();
        if here.starts_with("https://") && !there.starts_with("https://") {
            return Err(Error::Denied(format!("{here} redirects to {there}, which is not encrypted")));
        }
        if here != there {
            // The operator's headers were meant for the first of them.
            request
                .headers
                .retain(|(name, _)| name.starts_with("webhook-") || name.eq_ignore_ascii_case("content-type"));
        }
        request.url = next;
    }
    Err(Error::Other(format!("{first} redirects more than {REDIRECTS} times")))
}

/// Scheme, host and port of an address: all of it that is no secret.
pub(crate) fn place(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let known = matches!(scheme, "https" | "http") && host > 0;
    url.get(..scheme.len() + 3 + host).filter(|_| known)
}

/// Where a `location` leads that was found at `from`.
fn target(from: &str, location: &str) -> Option<String> {
    let (scheme, _) = from.split_once("://")?;
    if location.starts_with("//") {
        return Some(format!("{scheme}:{location}"));
    }
    if location.starts_with('/') {
        return Some(format!("{}{location}", place(from)?));
    }
    place(location).map(|_| location.to_owned())
}

fn failure(here: &str, error: http::Error) -> Error {
    match error {
        http::Error::TimedOut => Error::Unavailable(format!("{here} did not answer in time")),
        http::Error::Unreachable(why) => Error::Unavailable(format!("{here}: {why}")),
        http::Error::Denied(why) => Error::Denied(format!(
            "{here}: {why}; `grant = {{ http = [\"{here}\"] }}` in its [[plugin]] table grants a host"
        )),
        http::Error::TooLarge => Error::Other(format!("{here} answered with too many bytes")),
        http::Error::Bad(why) => Error::BadInput(format!("{here}: {why}")),
        http::Error::Failed(why) => Error::Other(format!("{here}: {why}")),
    }
}

fn refusal(here: &str, answer: &Response) -> Error {
    let status = answer.status;
    match (status, answer.header("retry-after")) {
        (408 | 425 | 429 | 500..=599, Some(after)) => {
            Error::Unavailable(format!("{here} answered {status} and asks to be tried again after {}", brief(after)))
        }
        (408 | 425 | 429 | 500..=599, None) => Error::Unavailable(format!("{here} answered {status}")),
        (300..=399, _) => Error::Other(format!("{here} answered {status}; only 307 and 308 keep a POST what it is")),
        _ => {
            let said = brief(&answer.text());
            let separator = if said.is_empty() { "" } else { ": " };
            Error::Other(format!("{here} answered {status}, it does not want this{separator}{said}"))
        }
    }
}

fn brief(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WORDS).collect()
}
