//! The text of an error with all its causes.

/// The error and all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Prints an error with all its causes on standard error, as a command of heald does before it fails.
#[allow(clippy::print_stderr)]
pub fn complain(error: &dyn std::error::Error) {
    eprintln!("heald: {}", chain(error));
}
