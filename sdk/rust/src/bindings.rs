//! What wit-bindgen makes of `wit/`: the types once, then one module per world that shares them.
//!
//! The rest of the crate gives these records their manners (`reading.rs` and `writing.rs`) and re-exports
//! them at its root; a plug-in rarely names this module. Nothing here is written by hand.
//
// JUSTIFICATION: the canonical ABI hands records over through raw memory, so generated bindings are unsafe by nature. They
// are confined to this module; the rest of the crate denies unsafe code.
#![allow(unsafe_code, missing_docs, unreachable_pub)]
#![allow(clippy::all, clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

/// All types, and every interface of ours that can be granted. What a plug-in does not use is not imported.
pub mod capabilities {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "capabilities",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq],
        pub_export_macro: true,
    });
}

/// The outgoing half of wasi:http, in a file of its own: it is no part of the contract.
#[cfg(all(feature = "http", target_family = "wasm"))]
pub mod outgoing {
    wit_bindgen::generate!({
        path: "wit/wasi-http.wit",
        world: "outgoing",
        generate_all,
    });
}

/// The world `detector`.
pub mod detector {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "detector",
        with: {
            "heald:plugin/types@0.1.0": crate::bindings::capabilities::heald::plugin::types,
            "heald:plugin/log@0.1.0": crate::bindings::capabilities::heald::plugin::log,
        },
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_detector",
        default_bindings_module: "heald_plugin::bindings::detector",
    });
}

/// The world `policy`.
pub mod policy {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "policy",
        with: {
            "heald:plugin/types@0.1.0": crate::bindings::capabilities::heald::plugin::types,
            "heald:plugin/log@0.1.0": crate::bindings::capabilities::heald::plugin::log,
        },
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_policy",
        default_bindings_module: "heald_plugin::bindings::policy",
    });
}

/// The world `action`.
pub mod action {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "action",
        with: {
            "heald:plugin/types@0.1.0": crate::bindings::capabilities::heald::plugin::types,
            "heald:plugin/log@0.1.0": crate::bindings::capabilities::heald::plugin::log,
        },
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_action",
        default_bindings_module: "heald_plugin::bindings::action",
    });
}
