//! Capabilities played by this thread's memory. Each test runs on a thread of its own and so starts afresh.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::Error;
use process::Child;

#[derive(Default)]
struct Played {
    kv: BTreeMap<String, Vec<u8>>,
    children: Vec<Child>,
    orders: Vec<String>,
    denied: bool,
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

/// The interface `kv`, in memory. `keep` is not played: no time passes here.
pub mod kv {
    use super::{Error, PLAYED};

    /// The value of that key.
    pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(PLAYED.with(|played| played.borrow().kv.get(key).cloned()))
    }
    /// Puts a value.
    pub fn set(key: &str, value: &[u8], _keep: Option<u64>) -> Result<(), Error> {
        PLAYED.with(|played| played.borrow_mut().kv.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }
    /// Puts a value if the key is as expected.
    pub fn swap(key: &str, expected: Option<&[u8]>, value: Option<&[u8]>) -> Result<bool, Error> {
        PLAYED.with(|played| {
            let kv = &mut played.borrow_mut().kv;
            let as_expected = kv.get(key).map(Vec::as_slice) == expected;
            match value {
                _ if !as_expected => {}
                Some(value) => drop(kv.insert(key.to_owned(), value.to_vec())),
                None => drop(kv.remove(key)),
            }
            Ok(as_expected)
        })
    }
    /// The keys of that prefix, sorted, a page at a time.
    pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
        PLAYED.with(|played| {
            let played = played.borrow();
            let keys = played.kv.keys().filter(|key| key.starts_with(prefix));
            let page = keys.filter(|key| after.is_none_or(|after| key.as_str() > after));
            Ok(page.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect())
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
