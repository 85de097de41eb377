//! What the three roles have in common for the host: a guest's exports are found, configured and asked what they are.

use std::future::Future;

use wasmtime::component::Instance;
use wasmtime::{Result, Store};

use crate::bindings::exports::heald::plugin::{act, decide, detect};
use crate::bindings::heald::plugin::types::{ActionInfoResult, Error as Said};
use crate::context::Context;
use crate::contract::Role;
use crate::load::Loaded;

/// One role's functions in one instance.
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

macro_rules! exports {
    ($interface:ident, $role:ident, $about:ty) => {
        impl Exports for $interface::Guest {
            const ROLE: Role = Role::$role;
            type About = $about;

            fn load(plugin: &Loaded, store: &mut Store<Context>, instance: &Instance) -> Result<Self> {
                $interface::GuestIndices::new(&plugin.pre)?.load(store, instance)
            }

            async fn configure(&self, store: &mut Store<Context>, config: &str) -> Result<Result<(), Said>> {
                self.call_configure(store, config).await
            }

            async fn describe(&self, store: &mut Store<Context>) -> Result<Self::About> {
                self.call_describe(store).await
            }
        }
    };
}

exports!(detect, Detector, detect::About);
exports!(decide, Policy, decide::About);
exports!(act, Action, Vec<ActionInfoResult>);
