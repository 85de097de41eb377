//! The binary `heald`.

use std::process::ExitCode;

fn main() -> ExitCode {
    heald::main()
}
