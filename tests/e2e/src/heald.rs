//! heald itself, for the tests: nothing is different.

use std::process::ExitCode;

fn main() -> ExitCode {
    heald::main()
}
