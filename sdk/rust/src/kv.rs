//! Small memory shared by all services of one plug-in, and kept over its reloads. With the cargo feature `kv`.
//!
//! For what concerns one service, [`State`](crate::State) is the better place: it moves with the service, and survives heald.
//! This here is for what the services have in common, such as how many of them were restarted in the last minute:
//!
//! ```
//! use std::time::Duration;
//! use heald_plugin::kv;
//!
//! # fn call() -> Result<(), heald_plugin::Error> {
//! let restarts: u32 = kv::get("restarts")?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()).unwrap_or(0);
//! kv::set_for("restarts", (restarts + 1).to_string().as_bytes(), Duration::from_secs(60))?;
//! # Ok(())
//! # }
//! # call().unwrap();
//! ```
//!
//! A plug-in that uses this says so (`capabilities: &["log", "kv"]`) and has to be granted it: `grant = { kv = true }`. Then:
//!
//! - A key is 1 to 128 characters of printable ASCII without blanks, else `bad-input`. A value has at most 64 KiB, a plug-in at most
//!   1 024 keys and 4 MiB in all, else `over-quota`.
//! - How long a value is kept counts by the `now` of the calls.
//! - In `configure` and `describe`, and once the grant is revoked, everything is `denied`.
//! - heald keeps it in its own memory: it is gone when heald ends.
//! - The answers that a detector or policy got are recorded with its call, so a replay is told the same.
//!
//! Under a native test the memory is that of the thread; see [`testing::double::kv`](crate::testing::double::kv).

use std::time::Duration;

use crate::Error;
#[cfg(target_family = "wasm")]
use crate::bindings::capabilities::heald::plugin::kv as host;
use crate::duration::nanoseconds;
#[cfg(not(target_family = "wasm"))]
use crate::testing::double::kv as host;

/// How often [`update`] begins anew because somebody else was faster.
const TRIES: u32 = 16;
/// Keys that [`all_keys`] asks for at once, which is as many as the host gives.
const PAGE: u32 = 256;

/// The value of this key.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    host::get(key)
}

/// Puts a value, for as long as heald runs.
pub fn set(key: &str, value: &[u8]) -> Result<(), Error> {
    host::set(key, value, None)
}

/// Puts a value that is absent again after that time.
pub fn set_for(key: &str, value: &[u8], keep: Duration) -> Result<(), Error> {
    host::set(key, value, Some(nanoseconds(keep)))
}

/// Puts a value (none: removes the key) if the present one is as expected (none: absent), and tells whether it was. How long the
/// key is kept stays as it was.
pub fn swap(key: &str, expected: Option<&[u8]>, value: Option<&[u8]>) -> Result<bool, Error> {
    host::swap(key, expected, value)
}

/// Changes a value by what it is now, though other services of this plug-in may change it at the same time: `change` is asked
/// again until nobody was faster. None is absent, and removes the key.
pub fn update(key: &str, mut change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>) -> Result<(), Error> {
    for _ in 0..TRIES {
        let present = get(key)?;
        if swap(key, present.as_deref(), change(present.as_deref()).as_deref())? {
            return Ok(());
        }
    }
    Err(Error::Unavailable(format!("`{key}` is changed by others all the time")))
}

/// Removes a key.
pub fn remove(key: &str) -> Result<(), Error> {
    update(key, |_| None)
}

/// At most `limit` keys of that prefix, sorted, those behind `after`; the host gives at most 256 at once.
pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, Error> {
    host::keys(prefix, after, limit)
}

/// All keys of that prefix, sorted.
pub fn all_keys(prefix: &str) -> Result<Vec<String>, Error> {
    let mut all = keys(prefix, None, PAGE)?;
    let mut asked = 0;
    while all.len() > asked {
        asked = all.len();
        let more = keys(prefix, all.last().map(String::as_str), PAGE)?;
        all.extend(more);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::double;

    #[test]
    fn a_value_is_there_until_its_time_is_over() {
        set("for-ever", b"1").unwrap();
        set_for("key", b"1", Duration::from_secs(2)).unwrap();
        double::kv::pass(Duration::from_millis(1_999));
        assert_eq!(get("key"), Ok(Some(b"1".to_vec())));
        double::kv::pass(Duration::from_millis(1));
        assert_eq!(get("key"), Ok(None));
        assert_eq!(all_keys(""), Ok(vec!["for-ever".to_owned()]));
    }

    #[test]
    fn an_update_sees_what_is_there() {
        let count =
            |present: Option<&[u8]>| Some(vec![present.and_then(|bytes| bytes.first().copied()).unwrap_or(0) + 1]);
        update("count", count).unwrap();
        update("count", count).unwrap();
        assert_eq!(get("count"), Ok(Some(vec![2])));
        remove("count").unwrap();
        remove("count").unwrap();
        assert_eq!(get("count"), Ok(None));
    }

    #[test]
    fn an_update_begins_anew_when_somebody_was_faster() {
        let mut asked = 0;
        update("key", |_| {
            asked += 1;
            if asked < 3 {
                set("key", asked.to_string().as_bytes()).unwrap();
            }
            Some(b"mine".to_vec())
        })
        .unwrap();
        assert_eq!((asked, get("key")), (3, Ok(Some(b"mine".to_vec()))));
        let restless = update("key", |present| {
            set("key", &[present.unwrap_or_default(), b"x"].concat()).unwrap();
            None
        });
        assert!(matches!(restless, Err(Error::Unavailable(_))));
    }

    #[test]
    fn all_keys_are_more_than_a_page() {
        for n in 0..600 {
            set(&format!("key/{n:03}"), b"").unwrap();
        }
        set("other", b"").unwrap();
        let all = all_keys("key/").unwrap();
        assert_eq!((all.len(), all[599].as_str()), (600, "key/599"));
    }

    #[test]
    fn the_rules_hold_in_a_test_too() {
        assert!(matches!(set("a key", b""), Err(Error::BadInput(_))));
        assert!(matches!(set("key", &[0; 65_537]), Err(Error::OverQuota(_))));
        double::kv::refuse(Some(Error::Denied("the grant of kv was revoked".to_owned())));
        assert!(matches!(get("key"), Err(Error::Denied(_))));
        double::kv::refuse(None);
        assert_eq!(get("key"), Ok(None));
    }
}
