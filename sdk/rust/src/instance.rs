//! The one configured plug-in of an instance: made by `configure`, borrowed by every call after it.
//!
//! It refuses to be asked before it is configured; being configured again replaces it.

use std::cell::RefCell;
use std::rc::Rc;

use serde::de::DeserializeOwned;

use crate::{Error, Problem};

/// Where an export macro keeps its plug-in. A guest has one thread, so a cell is all it takes.
pub struct Slot<T>(RefCell<Option<Rc<T>>>);

impl<T> Slot<T> {
    /// Not configured yet.
    pub const fn empty() -> Self {
        Self(RefCell::new(None))
    }

    /// Reads the configuration, lets `new` judge it, and keeps what comes of it.
    pub fn configure<C: DeserializeOwned>(
        &self,
        json: &str,
        new: impl FnOnce(C) -> Result<T, Vec<Problem>>,
    ) -> Result<(), Error> {
        crate::log::install_panic_hook();
        let plugin = crate::config::read(json).and_then(new).map_err(Error::BadConfig)?;
        *self.0.borrow_mut() = Some(Rc::new(plugin));
        Ok(())
    }

    /// The plug-in; an error before the first successful `configure`.
    pub fn get(&self) -> Result<Rc<T>, Error> {
        self.0.borrow().clone().ok_or_else(|| Error::Other("not configured yet".to_owned()))
    }
}
