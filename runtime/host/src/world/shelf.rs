//! What plug-ins keep in `kv`: one shelf for each plug-in's configured name, within bounds.
//!
//! A shelf outlives reloads: a new version of the plug-in finds what the version before it left. It ends with heald. It
//! never reads a clock: every function takes the time of the call.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry as Slot};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heald_model::{Moment, PluginName};

use crate::bindings::heald::plugin::types::Error;

/// Characters of a key.
const KEY: usize = 128;
/// Bytes of a value: as many as a state blob may have.
const VALUE: usize = 64 << 10;
/// Keys of a plug-in.
const KEYS: usize = 1_024;
/// Bytes of a plug-in's keys and values together. With a hundred plug-ins at their quota, heald is 400 MiB larger.
const BYTES: usize = 4 << 20;
/// Keys in one answer: at 128 characters each, 32 KiB.
const PAGE: usize = 256;

/// The shelves of all plug-ins.
#[derive(Default)]
pub(crate) struct Shelves(Mutex<HashMap<PluginName, Arc<Shelf>>>);

impl Shelves {
    /// The shelf of this plug-in; empty the first time.
    pub(crate) fn of(&self, plugin: &PluginName) -> Arc<Shelf> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(plugin.clone()).or_default())
    }
}

/// What one plug-in keeps.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    entries: BTreeMap<String, StoredValue>,
    bytes: usize,
    /// Nothing expires before this time.
    soonest: Option<Moment>,
}

struct StoredValue {
    value: Vec<u8>,
    until: Option<Moment>,
}

impl StoredValue {
    fn holds(&self, now: Moment) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Why a key or a value is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShelfError {
    #[error("a key is 1 to {KEY} characters of printable ASCII without blanks")]
    Key,
    #[error("a value of {0} bytes is too large; {VALUE} is the most")]
    Value(usize),
    #[error("{KEYS} keys are the most")]
    Keys,
    #[error("{BYTES} bytes of keys and values are the most")]
    Bytes,
}

impl From<ShelfError> for Error {
    fn from(refusal: ShelfError) -> Self {
        match refusal {
            ShelfError::Key => Self::BadInput(refusal.to_string()),
            ShelfError::Value(_) | ShelfError::Keys | ShelfError::Bytes => Self::OverQuota(refusal.to_string()),
        }
    }
}

fn judge_key(key: &str) -> Result<(), ShelfError> {
    let good = !key.is_empty() && key.len() <= KEY && key.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(()) } else { Err(ShelfError::Key) }
}

impl Shelf {
    fn open(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &str, now: Moment) -> Result<Option<Vec<u8>>, ShelfError> {
        judge_key(key)?;
        Ok(self.open().entries.get(key).filter(|entry| entry.holds(now)).map(|entry| entry.value.clone()))
    }

    pub(crate) fn set(&self, key: &str, value: Vec<u8>, keep: Option<Duration>, now: Moment) -> Result<(), ShelfError> {
        judge_key(key)?;
        self.open().put(key, value, keep.map(|keep| now + keep), now)
    }

    pub(crate) fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Option<Vec<u8>>,
        now: Moment,
    ) -> Result<bool, ShelfError> {
        judge_key(key)?;
        let mut contents = self.open();
        let found = contents.entries.get(key).filter(|entry| entry.holds(now));
        if found.map(|entry| entry.value.as_slice()) != expected {
            return Ok(false);
        }
        let until = found.and_then(|entry| entry.until);
        match value {
            Some(value) => contents.put(key, value, until, now)?,
            None => contents.remove(key),
        }
        Ok(true)
    }

    pub(crate) fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: Moment,
    ) -> Result<Vec<String>, ShelfError> {
        if !prefix.is_empty() {
            judge_key(prefix)?;
        }
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let contents = self.open();
        let behind = contents.entries.range::<str, _>((from, Bound::Unbounded));
        let matching = behind.take_while(|(key, _)| key.starts_with(prefix)).filter(|(_, entry)| entry.holds(now));
        Ok(matching.map(|(key, _)| key.clone()).take(limit.min(PAGE)).collect())
    }
}

impl Contents {
    fn put(&mut self, key: &str, value: Vec<u8>, until: Option<Moment>, now: Moment) -> Result<(), ShelfError> {
        if value.len() > VALUE {
            return Err(ShelfError::Value(value.len()));
        }
        if self.room_for(key, &value).is_err() {
            // Expired values take room until the room is needed.
            self.sweep(now);
            self.room_for(key, &value)?;
        }
        if let Some(until) = until {
            self.soonest = Some(self.soonest.map_or(until, |soonest| soonest.min(until)));
        }
        self.bytes += value.len();
        match self.entries.entry(key.to_owned()) {
            Slot::Occupied(mut slot) => self.bytes -= slot.insert(StoredValue { value, until }).value.len(),
            Slot::Vacant(slot) => {
                self.bytes += key.len();
                slot.insert(StoredValue { value, until });
            }
        }
        Ok(())
    }

    fn room_for(&self, key: &str, value: &[u8]) -> Result<(), ShelfError> {
        let known = self.entries.get(key);
        if known.is_none() && self.entries.len() >= KEYS {
            return Err(ShelfError::Keys);
        }
        let freed = known.map_or(0, |entry| key.len() + entry.value.len());
        if self.bytes - freed + key.len() + value.len() > BYTES { Err(ShelfError::Bytes) } else { Ok(()) }
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= key.len() + entry.value.len();
        }
    }

    fn sweep(&mut self, now: Moment) {
        if self.soonest.is_none_or(|soonest| now < soonest) {
            return;
        }
        self.entries.retain(|_, entry| entry.holds(now));
        self.bytes = self.entries.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
        self.soonest = self.entries.values().filter_map(|entry| entry.until).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_millis(1_000);

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn put(shelf: &Shelf, key: &str, bytes: usize) -> Result<(), ShelfError> {
        shelf.set(key, vec![7; bytes], None, NOW)
    }

    #[test]
    fn a_shelf_belongs_to_a_name() {
        let shelves = Shelves::default();
        shelves.of(&"a".into()).set("key", b"value".to_vec(), None, NOW).unwrap();
        assert_eq!(shelves.of(&"a".into()).get("key", NOW), Ok(Some(b"value".to_vec())));
        assert_eq!(shelves.of(&"b".into()).get("key", NOW), Ok(None));
    }

    #[test]
    fn a_value_is_kept_as_long_as_was_said_by_the_time_of_the_calls() {
        let shelf = Shelf::default();
        shelf.set("key", b"1".to_vec(), Some(Duration::from_millis(500)), NOW).unwrap();
        assert_eq!(shelf.get("key", at(1_499)), Ok(Some(b"1".to_vec())));
        assert_eq!(shelf.get("key", at(1_500)), Ok(None));
        assert_eq!(shelf.keys("", None, 9, at(1_500)), Ok(Vec::new()));
        assert_eq!(shelf.swap("key", None, Some(b"2".to_vec()), at(1_500)), Ok(true), "to everyone it is absent");
        assert_eq!(shelf.get("key", at(1_000_000)), Ok(Some(b"2".to_vec())), "and what comes anew stays");
        shelf.set("key", b"3".to_vec(), Some(Duration::MAX), NOW).unwrap();
        assert_eq!(shelf.get("key", at(1_000_000)), Ok(Some(b"3".to_vec())));
    }

    #[test]
    fn a_swap_needs_what_is_expected_and_leaves_the_end_as_it_was() {
        let shelf = Shelf::default();
        assert_eq!(shelf.swap("key", Some(b"1"), Some(b"2".to_vec()), NOW), Ok(false));
        shelf.set("key", b"1".to_vec(), Some(Duration::from_millis(500)), NOW).unwrap();
        assert_eq!(shelf.swap("key", None, Some(b"2".to_vec()), NOW), Ok(false));
        assert_eq!(shelf.swap("key", Some(b"1"), Some(b"2".to_vec()), NOW), Ok(true));
        assert_eq!(shelf.get("key", at(1_499)), Ok(Some(b"2".to_vec())));
        assert_eq!(shelf.get("key", at(1_500)), Ok(None));
        assert_eq!(shelf.swap("key", Some(b"2"), None, NOW), Ok(true));
        assert_eq!(shelf.get("key", NOW), Ok(None));
        assert_eq!(shelf.open().bytes, 0);
    }

    #[test]
    fn keys_are_sorted_and_come_in_pages() {
        let shelf = Shelf::default();
        for key in ["b/2", "a/1", "b/10", "c", "b/1"] {
            put(&shelf, key, 1).unwrap();
        }
        let keys = |prefix, after, limit| shelf.keys(prefix, after, limit, NOW).unwrap();
        assert_eq!(keys("", None, 9), ["a/1", "b/1", "b/10", "b/2", "c"]);
        assert_eq!(keys("b/", None, 2), ["b/1", "b/10"]);
        assert_eq!(keys("b/", Some("b/10"), 2), ["b/2"]);
        assert_eq!(keys("b/", Some("a"), 1), ["b/1"]);
        assert_eq!(keys("b/", Some("b/2"), 9), [""; 0]);
        assert_eq!(keys("b/", Some("z"), 9), [""; 0]);
        assert_eq!(keys("b/", None, 0), [""; 0]);
    }

    #[test]
    fn keys_have_rules() {
        let shelf = Shelf::default();
        for key in ["", "a b", "a\n", "ä", &"x".repeat(129)] {
            assert_eq!(put(&shelf, key, 1), Err(ShelfError::Key), "{key}");
            assert_eq!(shelf.get(key, NOW), Err(ShelfError::Key));
        }
        assert_eq!(put(&shelf, &"x".repeat(128), 1), Ok(()));
        assert!(matches!(Error::from(ShelfError::Key), Error::BadInput(_)));
    }

    #[test]
    fn each_quota_is_a_refusal_and_what_is_there_stays() {
        let shelf = Shelf::default();
        assert_eq!(put(&shelf, "large", VALUE), Ok(()));
        assert_eq!(put(&shelf, "large", VALUE + 1), Err(ShelfError::Value(65_537)));
        assert_eq!(shelf.get("large", NOW).unwrap().map(|value| value.len()), Some(VALUE));
        for n in 1..KEYS {
            put(&shelf, &format!("{n}"), 1).unwrap();
        }
        assert_eq!(put(&shelf, "one-more", 1), Err(ShelfError::Keys));
        assert_eq!(put(&shelf, "7", 2), Ok(()), "a key that is there may change");
        assert!(matches!(Error::from(ShelfError::Keys), Error::OverQuota(_)));

        let shelf = Shelf::default();
        let full = (0..KEYS).take_while(|n| put(&shelf, &format!("{n:04}"), VALUE).is_ok()).count();
        assert_eq!(full, BYTES / (VALUE + 4));
        assert_eq!(put(&shelf, "0000", VALUE), Ok(()), "in its own place it has room");
        assert_eq!(put(&shelf, "more", VALUE), Err(ShelfError::Bytes));
        assert_eq!(shelf.swap("0001", Some(&[7; VALUE]), None, NOW), Ok(true));
        assert_eq!(put(&shelf, "more", VALUE), Ok(()));
    }

    #[test]
    fn what_expired_makes_room() {
        let shelf = Shelf::default();
        for n in 0..KEYS {
            let keep = (n % 2 == 0).then_some(Duration::from_millis(500));
            shelf.set(&format!("{n:04}"), vec![7], keep, NOW).unwrap();
        }
        assert_eq!(shelf.set("new", vec![7], None, at(1_499)), Err(ShelfError::Keys));
        assert_eq!(shelf.set("new", vec![7], None, at(1_500)), Ok(()));
        assert_eq!(shelf.open().entries.len(), KEYS / 2 + 1);
        assert_eq!(shelf.open().bytes, KEYS / 2 * 5 + 4);
    }
}
