//! Released versions as they were released: a directory each, and a list of digests that tells when a file was touched.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::items::{Package, text};

/// As `sha256sum` writes it and `sha256sum --check` reads it.
const SUMS: &str = "SHA256SUMS";

/// The packages in a directory, or everything that is wrong with it.
pub(crate) fn packages(directory: &Path) -> Result<Vec<Package>, Vec<String>> {
    let mut broken = Vec::new();
    let mut listed = match std::fs::read_to_string(directory.join(SUMS)) {
        Ok(sums) => sums
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| line.split_once("  ").map(|(sum, path)| (path.to_owned(), sum.to_owned())).unwrap_or_default())
            .collect::<BTreeMap<_, _>>(),
        Err(error) => return Err(vec![format!("{SUMS}: {error}")]),
    };
    let mut packages = Vec::new();
    let mut versions: Vec<_> = directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    for version in versions.iter().filter(|path| path.is_dir()) {
        let name = version.file_name().unwrap().to_str().unwrap();
        for file in version.read_dir().unwrap() {
            let path = format!("{name}/{}", file.unwrap().file_name().to_str().unwrap());
            let sum: String = Sha256::digest(std::fs::read(directory.join(&path)).unwrap())
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            match listed.remove(&path) {
                None => broken.push(format!("{path} is not in {SUMS}")),
                Some(was) if was != sum => {
                    broken.push(format!("{path} was released with the digest {was} and has {sum}"))
                }
                Some(_) => {}
            }
        }
        match Package::read(version) {
            Ok(package) if package.name != "heald:plugin" || text(package.version) != name => {
                broken.push(format!("{name} holds {}@{}", package.name, text(package.version)));
            }
            Ok(package) => packages.push(package),
            Err(error) => broken.push(error),
        }
    }
    broken.extend(listed.keys().map(|path| format!("{path} was released and is gone")));
    if broken.is_empty() { Ok(packages) } else { Err(broken) }
}

#[test]
fn a_released_file_is_neither_touched_nor_lost_nor_smuggled_in() {
    let place = tempfile::tempdir().unwrap();
    let at = |path: &str| place.path().join(path);
    let wit = "package heald:plugin@0.0.9;\n@since(version = 0.0.9)\ninterface log { write: func(message: string); }\n";
    let sum: String = Sha256::digest(wit).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::create_dir(at("0.0.9")).unwrap();
    let broken = || packages(place.path()).map(|_| ()).unwrap_err().join("\n");
    assert!(broken().starts_with("SHA256SUMS: "), "{}", broken());
    std::fs::write(at(SUMS), format!("# digests\n{sum}  0.0.9/plugin.wit\n")).unwrap();
    assert!(broken().contains("0.0.9/plugin.wit was released and is gone"), "{}", broken());
    std::fs::write(at("0.0.9/plugin.wit"), wit).unwrap();
    let whole = packages(place.path()).unwrap();
    assert_eq!((whole.len(), whole[0].version), (1, (0, 0, 9)));

    std::fs::write(at("0.0.9/plugin.wit"), wit.replace("message", "text")).unwrap();
    assert!(
        broken().contains(&format!("0.0.9/plugin.wit was released with the digest {sum} and has ")),
        "{}",
        broken()
    );
    std::fs::write(at("0.0.9/plugin.wit"), wit).unwrap();
    std::fs::write(at("0.0.9/more.wit"), "package heald:plugin@0.0.9;\n").unwrap();
    assert_eq!(broken(), "0.0.9/more.wit is not in SHA256SUMS");
    std::fs::remove_file(at("0.0.9/more.wit")).unwrap();
    std::fs::rename(at("0.0.9"), at("0.0.8")).unwrap();
    assert!(broken().contains("0.0.8 holds heald:plugin@0.0.9"), "{}", broken());
}
