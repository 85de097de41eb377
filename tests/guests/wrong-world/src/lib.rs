//! A component that is no plug-in at all: it exports a stranger's interface, and says nothing of itself.
#![allow(missing_docs)]

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package stranger:thing@1.0.0;
            interface greet { greet: func(name: string) -> string; }
            world thing { export greet; }
        ",
    });
}

struct Stranger;

impl bindings::exports::stranger::thing::greet::Guest for Stranger {
    fn greet(name: String) -> String {
        format!("hello, {name}")
    }
}

bindings::export!(Stranger with_types_in bindings);
