//! A detector of a contract version that does not exist yet: its `detect` has the right name, and another version and shape.
#![allow(missing_docs)]

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package heald:plugin@0.9.0;
            interface log { write: func(message: string); }
            interface detect { configure: func(config: string) -> result<_, string>; evaluate: func() -> u32; }
            world detector { import log; export detect; }
        ",
    });
}

struct Future;

impl bindings::exports::heald::plugin::detect::Guest for Future {
    fn configure(config: String) -> Result<(), String> {
        bindings::heald::plugin::log::write(&config);
        Ok(())
    }
    fn evaluate() -> u32 {
        42
    }
}

bindings::export!(Future with_types_in bindings);
