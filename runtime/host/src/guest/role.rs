//! What the host asks of a guest in each of the three roles, whatever version of the contract the guest speaks.
//!
//! The words are those of the newest version: its generated records are the host's own, and an older version's adapter translates.
//! So a guest of the newest version is called with nothing in between, and what an answer must be is judged in one place.

use std::future::Future;

use bumpalo::Bump;
use heald_engine::ports::{Observation, Question};
use wasmtime::component::Instance;
use wasmtime::{Result, Store};

use crate::bindings::exports::heald::plugin::{act, decide, detect};
use crate::bindings::heald::plugin::types::{ActionInfoResult, Error as Said};
use crate::code::contract::Role;
use crate::guest::instance::Loaded;
use crate::guest::task::Errand;
use crate::world::context::Context;

/// One role's functions in one instance: they are found, configured and asked what they are.
pub(crate) trait Exports: Sized + Send + Sync + 'static {
    /// Which role.
    const ROLE: Role;
    /// What `describe` returns.
    type About: Send;

    /// Looks the functions up and checks their types.
    fn load(plugin: &Loaded, store: &mut Store<Context>, instance: &Instance) -> Result<Self>;
    /// Calls `configure`.
    fn configure(
        &self,
        store: &mut Store<Context>,
        config: &str,
    ) -> impl Future<Output = Result<Result<(), Said>>> + Send;
    /// Calls `describe`.
    fn describe(&self, store: &mut Store<Context>) -> impl Future<Output = Result<Self::About>> + Send;
}

/// A detector's. The argument is put together in `arena` before the future is made, so that a call is timed without it.
pub(crate) trait Detect: Exports<About = detect::About> {
    fn evaluate<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: &'a Observation,
        state: Option<&'a [u8]>,
    ) -> impl Future<Output = Result<Result<detect::Verdict, Said>>> + Send + 'a;
}

/// A policy's; as [`Detect`].
pub(crate) trait Decide: Exports<About = decide::About> {
    fn decide<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: &'a Question,
        state: Option<&'a [u8]>,
    ) -> impl Future<Output = Result<Result<decide::Decision, Said>>> + Send + 'a;
}

/// An action's; as [`Detect`].
pub(crate) trait Act: Exports<About = Vec<ActionInfoResult>> {
    fn check<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: Errand<'a>,
    ) -> impl Future<Output = Result<Result<act::Plan, Said>>> + Send + 'a;

    fn perform<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: Errand<'a>,
    ) -> impl Future<Output = Result<Result<act::Receipt, Said>>> + Send + 'a;

    fn undo<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: Errand<'a>,
        token: &'a [u8],
    ) -> impl Future<Output = Result<Result<act::Receipt, Said>>> + Send + 'a;
}
