//! Capabilities played by this thread's memory. Each test runs on a thread of its own and so starts afresh.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::Error;
use process::Child;

#[derive(Default)]
struct Played {
    kv: BTreeMap<String, Value>,
    /// Nanoseconds that have passed.
    now: u64,
    refusal: Option<Error>,
    children: Vec<Child>,
    orders: Vec<String>,
    denied: bool,
}

struct Value {
    bytes: Vec<u8>,
    until: Option<u64>,
}

thread_local! {
    static PLAYED: RefCell<Played> = RefCell::default();
}

/// The processes that [`process::children`] will show.
pub fn set_children(children: Vec<Child>) {
    PLAYED.with(|played| played.borrow_mut().children = children);
}

/// From now on every order to a process is denied, as it is outside `perform` and `undo`.
pub fn deny_orders() {
    PLAYED.with(|played| played.borrow_mut().denied = true);
}

/// The orders given to processes, oldest first: `restart`, `signal HUP to a`, `scale to 3`.
pub fn orders() -> Vec<String> {
    PLAYED.with(|played| played.borrow().orders.clone())
}

fn order(text: String) -> Result<(), Error> {
    PLAYED.with(|played| {
        let mut played = played.borrow_mut();
        if played.denied {
            return Err(Error::Denied("orders are denied in this test".to_owned()));
        }
        played.orders.push(text);
        Ok(())
    })
}

/// The interface `kv`, in this thread's memory, with the host's rules for keys and values. Time passes when [`pass`](kv::pass) says so.
pub mod kv {
    use std::time::Duration;

    use super::{Error, PLAYED, Value};

    const KEY: usize = 128;
    const VALUE: usize = 64 << 10;

    /// Lets time pass, and with it the values that were kept for less.
    pub fn pass(time: Duration) {
        PLAYED.with(|played| {
            let mut played = played.borrow_mut();
            played.now += crate::duration::nanoseconds(time);
            let now = played.now;
            played.kv.retain(|_, value| value.until.is_none_or(|until| now < until));
        });
    }

    /// From now on everything is answered with this error: `over-quota`, `denied`; none: as usual again.
    pub fn refuse(error: Option<Error>) {
        PLAYED.with(|played| played.borrow_mut().refusal = error);
    }

    fn judge(key: &str) -> Result<(), Error> {
        if let Some(error) = PLAYED.with(|played| played.borrow().refusal.clone()) {
            return Err(error);
        }
        let good = !key.is_empty() && key.len() <= KEY && key.bytes().all(|byte| byte.is_ascii_graphic());
        if good { Ok(()) } else { Err(Error::BadInput(format!("`{key}` is no key"))) }
    }

    fn judge_value(value: &[u8]) -> Result<(), Error> {
        if value.len() <= VALUE { Ok(()) } else { Err(Error::OverQuota(format!("{} bytes are too many", value.len()))) }
    }

    /// The value of that key.
    pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
        judge(key)?;
        Ok(PLAYED.with(|played| played.borrow().kv.get(key).map(|value| value.bytes.clone())))
    }
    /// Puts a value.
    pub fn set(key: &str, value: &[u8], keep: Option<u64>) -> Result<(), Error> {
        judge(key)?;
        judge_value(value)?;
        PLAYED.with(|played| {
            let mut played = played.borrow_mut();
            let until = keep.map(|keep| played.now.saturating_add(keep));
            played.kv.insert(key.to_owned(), Value { bytes: value.to_vec(), until });
        });
        Ok(())
    }
    /// Puts a value if the key is as expected.
    pub fn swap(key: &str, expected: Option<&[u8]>, value: Option<&[u8]>) -> Result<bool, Error> {
        judge(key)?;
        judge_value(value.unwrap_or_default())?;
        PLAYED.with(|played| {
            let kv = &mut played.borrow_mut().kv;
            let present = kv.get(key);
            let as_expected = present.map(|value| value.bytes.as_slice()) == expected;
            let until = present.and_then(|value| value.until);
            match value {
                _ if !as_expected => {}
                Some(value) => drop(kv.insert(key.to_owned(), Value { bytes: value.to_vec(), until })),
                None => drop(kv.remove(key)),
            }
            Ok(as_expected)
        })
    }
    /// The keys of that prefix, sorted, a page at a time.
    pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
        judge(if prefix.is_empty() { "any" } else { prefix })?;
        PLAYED.with(|played| {
            let played = played.borrow();
            let keys = played.kv.keys().filter(|key| key.starts_with(prefix));
            let page = keys.filter(|key| after.is_none_or(|after| key.as_str() > after));
            Ok(page.take(usize::try_from(limit).unwrap_or(usize::MAX).min(256)).cloned().collect())
        })
    }
}

/// The interface `process`: the children that [`set_children`] put there.
pub mod process {
    use super::{Error, PLAYED};
    pub use crate::bindings::capabilities::heald::plugin::process::Child;

    /// The processes of the service this call is about.
    pub fn children() -> Result<Vec<Child>, Error> {
        Ok(PLAYED.with(|played| played.borrow().children.clone()))
    }
}

/// The interface `process-control`: orders are written down, see [`orders`].
pub mod process_control {
    use super::{Error, order};

    fn to(verb: &str, replica: Option<&str>) -> Result<(), Error> {
        order(replica.map_or_else(|| verb.to_owned(), |replica| format!("{verb} {replica}")))
    }
    /// Starts one replica, or all.
    pub fn start(replica: Option<&str>) -> Result<(), Error> {
        to("start", replica)
    }
    /// Stops one replica, or all.
    pub fn stop(replica: Option<&str>) -> Result<(), Error> {
        to("stop", replica)
    }
    /// Restarts one replica, or all.
    pub fn restart(replica: Option<&str>) -> Result<(), Error> {
        to("restart", replica)
    }
    /// Has one replica, or all, reload.
    pub fn reload(replica: Option<&str>) -> Result<(), Error> {
        to("reload", replica)
    }
    /// Signals one replica, or all.
    pub fn signal(replica: Option<&str>, name: &str) -> Result<(), Error> {
        to(&format!("signal {name} to"), Some(replica.unwrap_or("all")))
    }
    /// Changes how many replicas there shall be.
    pub fn scale(wanted: u32) -> Result<(), Error> {
        order(format!("scale to {wanted}"))
    }
}

/// Requests, answered by whoever [`serve`](http::serve) puts there.
#[cfg(feature = "http")]
pub mod http {
    use std::cell::RefCell;

    use crate::http::{Error, Request, Response};

    type Server = Box<dyn FnMut(&Request) -> Result<Response, Error>>;

    thread_local! {
        static SERVER: RefCell<Option<Server>> = RefCell::default();
        static SENT: RefCell<Vec<Request>> = RefCell::default();
    }

    /// From now on this answers.
    pub fn serve(server: impl FnMut(&Request) -> Result<Response, Error> + 'static) {
        SERVER.set(Some(Box::new(server)));
    }

    /// The requests that were sent since this was asked before, oldest first.
    pub fn sent() -> Vec<Request> {
        SENT.take()
    }

    pub(crate) fn answer(request: &Request) -> Result<Response, Error> {
        SENT.with_borrow_mut(|sent| sent.push(request.clone()));
        SERVER.with_borrow_mut(|server| match server {
            Some(server) => server(request),
            None => Err(Error::Unreachable("nobody serves in this test".to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_happens_only_if_the_key_is_as_expected() {
        assert_eq!(kv::swap("a", None, Some(b"1")), Ok(true));
        assert_eq!(kv::swap("a", None, Some(b"2")), Ok(false));
        assert_eq!(kv::swap("a", Some(b"1"), None), Ok(true));
        assert_eq!(kv::get("a"), Ok(None));
        for key in ["x/2", "x/1", "y/1", "x/3"] {
            kv::set(key, b"", None).unwrap();
        }
        assert_eq!(kv::keys("x/", Some("x/1"), 1), Ok(vec!["x/2".to_owned()]));
    }

    #[test]
    fn orders_are_written_down_unless_denied() {
        process_control::restart(None).unwrap();
        process_control::signal(Some("a"), "HUP").unwrap();
        process_control::scale(3).unwrap();
        assert_eq!(orders(), ["restart", "signal HUP to a", "scale to 3"]);
        deny_orders();
        assert!(matches!(process_control::stop(None), Err(Error::Denied(_))));
    }
}
