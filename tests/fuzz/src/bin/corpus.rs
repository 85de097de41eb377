//! Builds the guests and writes the seeds: real components whole and damaged, real configurations and scenarios, one small thing of
//! each kind. Usage: `corpus TARGET-DIRECTORY-FOR-GUESTS`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use heald_fuzz::stage::corpus;
use heald_host::{SecretKey, sign};
use heald_plugin_build::Workspace;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: corpus TARGET-DIRECTORY-FOR-GUESTS")?);
    let mut components = Vec::new();
    // Of those that misbehave, the ones that break the contract: they are small, and have to be refused.
    let refused = Workspace::at(here.join("../guests")).package("detector-future").package("wrong-world");
    for workspace in [Workspace::at(here.join("guest")), refused] {
        for guest in workspace.target_dir(&target).build()? {
            components.push((guest.package.clone(), guest.component()?));
        }
    }
    for (name, bytes) in &components {
        write("guests", &format!("{name}.wasm"), bytes)?;
    }
    load(&components)?;
    texts(here)?;
    small()?;
    answers()
}

fn write(target: &str, name: &str, bytes: &[u8]) -> Outcome {
    let directory = corpus().join(target);
    fs::create_dir_all(&directory)?;
    Ok(fs::write(directory.join(name), bytes)?)
}

/// Small components, since a mutation of a large one mostly hits code that says nothing about loading it.
fn load(components: &[(String, Vec<u8>)]) -> Outcome {
    const SMALL: usize = 64 << 10;
    let key = SecretKey::generate()?;
    for (name, bytes) in components.iter().filter(|(_, bytes)| bytes.len() <= SMALL) {
        write("load", name, bytes)?;
        write("load", &format!("{name}-signed"), &sign(bytes, &key)?)?;
        let flipped: Vec<u8> =
            bytes.iter().enumerate().map(|(at, byte)| if at == bytes.len() / 2 { byte ^ 1 } else { *byte }).collect();
        write("load", &format!("{name}-flipped"), &flipped)?;
        for eighth in 1..8 {
            let cut = bytes.get(..bytes.len() * eighth / 8).unwrap_or_default();
            write("load", &format!("{name}-cut-{eighth}"), cut)?;
        }
    }
    Ok(())
}

/// Configurations and scenarios that come with heald.
fn texts(here: &Path) -> Outcome {
    write("configuration", "default", heald_config::DEFAULT.as_bytes())?;
    for (folder, first_line) in [("../../deploy/examples", ""), ("../../sdk/scenarios", "scenario\n")] {
        for entry in fs::read_dir(here.join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let name = path.file_stem().ok_or("a name")?.to_string_lossy().into_owned();
                write("configuration", &name, format!("{first_line}{}", fs::read_to_string(&path)?).as_bytes())?;
            }
        }
    }
    let plugin = r#"[plugins]
folder = "/tmp/p"
trusted_keys = ["ed25519:3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"]
[[plugin]]
name = "x"
component = "builtin:detect-threshold"
config = { cpu = 90 }
grant = { kv = true, http = ["a.example:443", { host = "b.example", private = true }], files = ["/srv"] }
limits = { cpu = "5ms", wall = "100ms", memory_mib = 64 }
mode = "canary"
instead_of = "threshold"
canary = { share = 0.1, faults = 2, disagreement = 0.1, after = 20, promote_after = 500 }
"#;
    write("configuration", "plugin", plugin.as_bytes())?;
    let variables = "# ${A}\n[[service]]\nname = \"a-${A:-b${B:-c}}\"\ntags = ['${D}', \"$${A}\", \"\"\"${C}\"\"\"]\n\
                     probe = [{ kind = \"http\", url = \"http://h:${A}/\", period = \"1.5s\" }]\n[server]\nlisten = [\"${E}\"]\n";
    write("configuration", "variables", variables.as_bytes())
}

/// One of each kind for `metadata`, by its first byte, and schemas.
fn small() -> Outcome {
    let public = "ed25519:3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAO2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=\n-----END PUBLIC KEY-----\n";
    let secret = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n";
    let said = r#"{"name":"x","version":"1.2.3","summary":"s","roles":["detector"],"config":{"type":"object"},"capabilities":["kv"],"limits":{"cpu_ms":5,"memory_mib":16}}"#;
    let signature = format!(r#"{{"key":"{public}","signature":"{}=="}}"#, "A".repeat(86));
    let table = r#"{"name":"x","component":"y","config":{"cpu":90},"grant":{"http":["a:1"],"kv":true},"limits":{"cpu":"5ms","wall":"1.5s","memory_mib":64},"mode":"shadow","instead_of":"z","canary":{"share":0.5}}"#;
    let seeds: [(u8, &str, &str); 14] = [
        (0, "section", "\0\x07\x05otherx"),
        (1, "said", said),
        (2, "signature", &signature),
        (3, "public", public),
        (3, "public-pem", pem),
        (4, "secret-pem", secret),
        (5, "host", "https://[::ffff:10.0.0.7]:8443"),
        (5, "endpoint", r#"{"host":"example.com:443","private":true}"#),
        (5, "headers", r#"{"host":"example.com:443","headers":{"x-key":"v"}}"#),
        (6, "table", table),
        (7, "grant", r#"{"http":["a"],"files":["/srv",{"host":"/x","guest":"/y","write":true}],"clock":true}"#),
        (7, "plugins", r#"{"folder":"/x","require_signed":true,"trusted_keys":["ed25519:00"]}"#),
        (8, "limits", r#"{"cpu":"5ms","wall":1.5,"memory_mib":64}"#),
        (8, "canary", r#"{"share":0.1,"faults":2,"disagreement":0.1,"after":20,"promote_after":500}"#),
    ];
    for (which, name, text) in seeds {
        write("metadata", name, &[&[which], text.as_bytes()].concat())?;
    }
    let schemas = [
        (
            "plain",
            "{\"config\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":1}},\"required\":[\"a\"],\"additionalProperties\":false}}\n{\"a\":1}",
        ),
        (
            "branches",
            "{\"config\":{\"anyOf\":[{\"required\":[\"a\"]},{\"not\":{\"$ref\":\"#/$defs/x\"}}],\"$defs\":{\"x\":{\"enum\":[1,\"b\"]}}}}\n{\"a\":[1,2]}",
        ),
        (
            "lists",
            "{\"config\":{\"properties\":{\"l\":{\"items\":{\"oneOf\":[{\"const\":1},{\"maxLength\":3}]},\"maxItems\":2}}}}\n{\"l\":[1,\"long\"]}",
        ),
        ("round", "{\"config\":{\"allOf\":[{\"$ref\":\"#\"}]}}\n{}"),
    ];
    for (name, text) in schemas {
        write("schema", name, text.as_bytes())?;
    }
    Ok(())
}

/// For each role: silence, each error, and some noise.
fn answers() -> Outcome {
    for role in 0..2_u8 {
        for error in 0..12_u8 {
            write("answers", &format!("{role}-error-{error}"), &[role, error, 0, 1])?;
        }
        for step in 1..40_u8 {
            let noise: Vec<u8> = (0..200_u8).map(|at| at.wrapping_mul(step).rotate_left(u32::from(at % 7))).collect();
            write("answers", &format!("{role}-noise-{step}"), &[&[role, 0], noise.as_slice()].concat())?;
        }
    }
    Ok(())
}
