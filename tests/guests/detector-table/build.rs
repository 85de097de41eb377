//! Has the linker leave the size of the table open.

fn main() {
    println!("cargo:rustc-link-arg-cdylib=--growable-table");
}
