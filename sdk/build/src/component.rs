//! From a core module to a component, and a look at what it imports.

use wasm_encoder::{ComponentSection, CustomSection, RawSection};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::Error;
use crate::metadata::{Level, Metadata, SECTION, parse, section};

/// Makes a component of what cargo built, and has it say at component level what it is.
///
/// A core module is encoded; a component (what the target `wasm32-wasip2` gives) stays as it is. What a core module says of
/// itself in the custom section is moved up; if the component says it already, nothing is changed.
pub fn component(wasm: &[u8]) -> Result<Vec<u8>, Error> {
    let (mut component, said) = if Parser::is_core_wasm(wasm) {
        let said = section(wasm, Level::Component)?;
        (encode(&without_section(wasm)?)?, said)
    } else {
        if parse(&section(wasm, Level::Component)?)?.is_some() {
            return Ok(wasm.to_vec());
        }
        (wasm.to_vec(), section(wasm, Level::Nested)?)
    };
    if let Some(metadata) = parse(&said)? {
        component = say(component, &metadata)?;
    }
    Ok(component)
}

/// Has a component that says nothing of itself say this.
pub fn say(mut component: Vec<u8>, metadata: &Metadata) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec(metadata).map_err(Error::Metadata)?;
    let custom = CustomSection { name: SECTION.into(), data: json.into() };
    ComponentSection::append_to_component(&custom, &mut component);
    Ok(component)
}

/// The names of everything this component imports, in its order: `heald:plugin/log@0.1.0`, ...
pub fn imports(component: &[u8]) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(Error::Wasm)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.push(import.map_err(Error::Wasm)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

fn encode(module: &[u8]) -> Result<Vec<u8>, Error> {
    let mut encoder = ComponentEncoder::default();
    encoder
        .validate(true)
        .module(module)
        .and_then(ComponentEncoder::encode)
        .map_err(|error| Error::Encode(format!("{error:#}")))
}

/// The module as it is, without our custom section, lest the component say it twice.
fn without_section(module: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bare = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(Error::Wasm)?;
        if matches!(&payload, Payload::CustomSection(custom) if custom.name() == SECTION) {
            continue;
        }
        // The range of a section lies within the module, so within memory: it fits.
        if let Some((id, range)) = payload.as_section()
            && let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end))
            && let Some(data) = module.get(start..end)
        {
            bare.section(&RawSection { id, data });
        }
    }
    Ok(bare.finish())
}
