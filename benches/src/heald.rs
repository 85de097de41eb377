//! heald itself, to be measured: nothing is different.

use std::process::ExitCode;

fn main() -> ExitCode {
    heald::main()
}
