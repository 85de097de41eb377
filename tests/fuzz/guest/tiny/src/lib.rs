//! The least that is a detector, made without the SDK: small enough that a changed byte is likely to matter.
#![allow(missing_docs)]

mod bindings {
    wit_bindgen::generate!({ path: "../../../../wit", world: "detector" });
}

use bindings::exports::heald::plugin::detect::{About, Error, Guest, Observation, Verdict};
use bindings::heald::plugin::types::{Window, WindowMode};

struct Tiny;

impl Guest for Tiny {
    fn configure(_: String) -> Result<(), Error> {
        Ok(())
    }
    fn describe() -> About {
        let window = Window { samples: 1, span: 0, mode: WindowMode::News };
        About { conditions: Vec::new(), window, facts: Vec::new() }
    }
    fn evaluate(_: Observation) -> Result<Verdict, Error> {
        Ok(Verdict { findings: Vec::new(), gauges: Vec::new(), state: None })
    }
}

bindings::export!(Tiny with_types_in bindings);
