//! The environment of a process.
//!
//! It is built from nothing at every start. heald's own environment, with its secrets, is not used.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::account::account;
use crate::config::ProcessConfig;

/// The default `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The whole environment of one replica.
pub(crate) fn environment(config: &ProcessConfig, service: &str, replica: u32) -> io::Result<BTreeMap<String, String>> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HEALD_SERVICE".to_owned(), service.to_owned()),
        ("HEALD_REPLICA".to_owned(), replica.to_string()),
    ]);
    if let Some(account) = config.user.as_deref().and_then(account) {
        env.insert("HOME".to_owned(), account.home);
        env.insert("USER".to_owned(), account.name.clone());
        env.insert("LOGNAME".to_owned(), account.name);
    }
    if let Some(path) = &config.env_file {
        env.extend(read_file(path)?);
    }
    env.extend(config.env.clone());
    Ok(env)
}

/// Reads `NAME=value` lines. Empty lines and lines that begin with `#` are skipped; quotes around a value are removed.
fn read_file(path: &Path) -> io::Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            let (name, value) = line.split_once('=').filter(|(name, _)| !name.trim().is_empty()).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {number} is not NAME=value"))
            })?;
            let value = value.trim();
            let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
            Ok((name.trim().to_owned(), unquoted.unwrap_or(value).to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_and_the_section_wins() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.env");
        std::fs::write(&path, "# of the web\n\nA = 1\nB=\"two words\"\nC='x=y'\nPATH=/opt\n").unwrap();
        let mut config = ProcessConfig::new(vec!["web".into()]);
        config.env_file = Some(path.clone());
        config.env.insert("A".into(), "2".into());
        let env = environment(&config, "web", 3).unwrap();
        let expected = [
            ("A", "2"),
            ("B", "two words"),
            ("C", "x=y"),
            ("HEALD_REPLICA", "3"),
            ("HEALD_SERVICE", "web"),
            ("PATH", "/opt"),
        ];
        assert_eq!(env, BTreeMap::from(expected.map(|(name, value)| (name.to_owned(), value.to_owned()))));
        std::fs::write(&path, "A=1\nnonsense\n").unwrap();
        assert!(environment(&config, "web", 0).unwrap_err().to_string().contains("line 2"));
        std::fs::remove_file(&path).unwrap();
        assert!(environment(&config, "web", 0).is_err());
    }
}
