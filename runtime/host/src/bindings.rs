//! The records that wasmtime generates from `wit/`: as they are written into and read out of a guest's memory.
//!
//! All three roles are in one world, so that they share their types. No component exports all three, so an instance's
//! exports are looked up role by role, and the world's own entry point is never used. Arguments borrow (names with
//! `Param`); results are owned (names with `Result`). Nothing of this leaves the crate.
//
// Generated code: its documentation is the WIT file.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package heald:host;
        world roles {
            import heald:plugin/log@0.1.0;
            import heald:plugin/kv@0.1.0;
            import heald:plugin/process@0.1.0;
            import heald:plugin/process-control@0.1.0;
            export heald:plugin/detect@0.1.0;
            export heald:plugin/decide@0.1.0;
            export heald:plugin/act@0.1.0;
        }
    ",
    world: "heald:host/roles",
    // Touching a process takes time; everything else is answered at once.
    imports: { "heald:plugin/process-control": async | trappable, default: trappable },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
