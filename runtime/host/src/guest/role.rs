//! What the host asks of a guest in each of the three roles, whatever version of the contract the guest speaks.
//!
//! The records are those of the newest version: its generated records are the host's own, and the adapter of an older
//! version translates. So a guest of the newest version is called without translation, and one place judges all
//! answers.

use std::future::Future;

use bumpalo::Bump;
use heald_model::{Observation, Question};
use wasmtime::component::Instance;
use wasmtime::{Result, Store};

use crate::bindings::exports::heald::plugin::{act, decide, detect};
use crate::bindings::heald::plugin::types::{ActionInfoResult, Error};
use crate::code::contract::PluginRole;
use crate::guest::instance::LoadedPlugin;
use crate::guest::task::TaskInput;
use crate::world::context::Context;

/// The functions of one role in one instance.
pub(crate) trait Exports: Sized + Send + Sync + 'static {
    /// Which role.
    const ROLE: PluginRole;
    /// What `describe` returns.
    type About: Send;

    /// Looks the functions up and checks their types.
    fn load(plugin: &LoadedPlugin, store: &mut Store<Context>, instance: &Instance) -> Result<Self>;
    /// Calls `configure`.
    fn configure(
        &self,
        store: &mut Store<Context>,
        config: &str,
    ) -> impl Future<Output = Result<Result<(), Error>>> + Send;
    /// Calls `describe`.
    fn describe(&self, store: &mut Store<Context>) -> impl Future<Output = Result<Self::About>> + Send;
}

/// The functions of a detector. The argument is built in `arena` before the future is made, so that the time of a call
/// does not include it.
pub(crate) trait Detect: Exports<About = detect::About> {
    fn evaluate<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: &'a Observation,
        state: Option<&'a [u8]>,
    ) -> impl Future<Output = Result<Result<detect::Verdict, Error>>> + Send + 'a;
}

/// The functions of a policy; see [`Detect`].
pub(crate) trait Decide: Exports<About = decide::About> {
    fn decide<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: &'a Question,
        state: Option<&'a [u8]>,
    ) -> impl Future<Output = Result<Result<decide::Decision, Error>>> + Send + 'a;
}

/// The functions of actions; see [`Detect`].
pub(crate) trait Act: Exports<About = Vec<ActionInfoResult>> {
    fn check<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: TaskInput<'a>,
    ) -> impl Future<Output = Result<Result<act::Plan, Error>>> + Send + 'a;

    fn perform<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: TaskInput<'a>,
    ) -> impl Future<Output = Result<Result<act::Receipt, Error>>> + Send + 'a;

    fn undo<'a>(
        &'a self,
        store: &'a mut Store<Context>,
        arena: &'a Bump,
        input: TaskInput<'a>,
        token: &'a [u8],
    ) -> impl Future<Output = Result<Result<act::Receipt, Error>>> + Send + 'a;
}
