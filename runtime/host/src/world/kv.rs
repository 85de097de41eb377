//! `kv` as a plug-in gets it: the plug-in's shelf, at the time of the call under way.
//!
//! The contract leaves some things open, and they are decided here and in `shelf`: a key is 1 to 128 characters of printable ASCII
//! without blanks; `set` decides how long a value is kept, `swap` leaves that as it is (for ever, where it makes the key); a page of
//! `keys` has at most 256 keys. Every answer is recorded, so that a replay gives the same answer.

use std::time::Duration;

use heald_model::Moment;
use serde_json::json;
use wasmtime::Result;

use crate::bindings::heald::plugin::kv;
use crate::bindings::heald::plugin::types::Error;
use crate::world::capability::Capability;
use crate::world::context::Context;
use crate::world::recorder::blob;
use crate::world::shelf::Shelf;

impl Context {
    /// The plug-in's shelf and the time of the call under way.
    fn shelf(&self) -> Result<(&Shelf, Moment), Error> {
        let call = self.call_with(Capability::Kv)?;
        Ok((&self.access.shelf, call.now))
    }
}

impl kv::Host for Context {
    fn get(&mut self, key: String) -> Result<Result<Option<Vec<u8>>, Error>> {
        self.called(key.len())?;
        self.answer(
            "kv.get",
            || json!({ "key": key }),
            |context| {
                let (shelf, now) = context.shelf()?;
                Ok(shelf.get(&key, now)?)
            },
        )
    }

    fn set(&mut self, key: String, value: Vec<u8>, keep: Option<u64>) -> Result<Result<(), Error>> {
        self.called(key.len() + value.len())?;
        self.answer(
            "kv.set",
            || json!({ "key": key, "value": blob(&value), "keep": keep }),
            |context| {
                let (shelf, now) = context.shelf()?;
                Ok(shelf.set(&key, value.clone(), keep.map(Duration::from_nanos), now)?)
            },
        )
    }

    fn swap(&mut self, key: String, expected: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Result<Result<bool, Error>> {
        let bytes = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        self.called(key.len() + bytes(&expected) + bytes(&value))?;
        let (expected, value) = (expected.as_deref(), value.as_deref());
        self.answer(
            "kv.swap",
            || json!({ "key": key, "expected": expected.map(blob), "value": value.map(blob) }),
            |context| {
                let (shelf, now) = context.shelf()?;
                Ok(shelf.swap(&key, expected, value.map(<[u8]>::to_vec), now)?)
            },
        )
    }

    fn keys(&mut self, prefix: String, after: Option<String>, limit: u32) -> Result<Result<Vec<String>, Error>> {
        self.called(prefix.len() + after.as_ref().map_or(0, String::len))?;
        self.answer(
            "kv.keys",
            || json!({ "prefix": prefix, "after": after, "limit": limit }),
            |context| {
                let (shelf, now) = context.shelf()?;
                Ok(shelf.keys(&prefix, after.as_deref(), usize::try_from(limit).unwrap_or(usize::MAX), now)?)
            },
        )
    }
}
