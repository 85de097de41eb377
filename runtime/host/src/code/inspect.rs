//! Reads what a plug-in's file is, without compiling or running it: authors see what they built, operators see what to
//! grant.
//!
//! A file that breaks the contract can be inspected like any other: the answer says what is wrong. Whether the plug-in
//! works, only a call can show.

use serde::Serialize;
use serde_json::Value;
use wasmparser::component_types::{ComponentEntityType, ComponentItem};
use wasmparser::types::TypesRef;
use wasmparser::{
    ComponentExternalKind, CustomSectionReader, KnownCustom, Parser, Payload, ProducersSectionReader, ValidPayload,
    Validator,
};

use crate::code::contract::{self, ComponentExport, ComponentShape, Speaks};
use crate::code::imports;
use crate::code::metadata::{Metadata, Suggested};
use crate::code::section::{SectionError, recognise};
use crate::code::signature::{Signature, digest, signatures};

/// What a component is.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The name it gives itself; empty if it says nothing of itself.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One line on what it does.
    pub summary: String,
    /// What it can be, by its exports: `detector`, `policy`, `action`.
    pub roles: Vec<String>,
    /// What it asks to be granted, in the words of a `grant`: `http`, `files`, `kv`, `process`, `process-control`, `clock`, `random`.
    pub capabilities: Vec<String>,
    /// The limits it suggests.
    pub limits: Suggested,
    /// The JSON Schema of its configuration; null if it says nothing of itself.
    pub schema: Value,
    /// What it imports.
    pub imports: Vec<Interface>,
    /// What it exports.
    pub exports: Vec<Interface>,
    /// How large it is.
    pub sizes: Sizes,
    /// What made it.
    pub producers: Vec<Producer>,
    /// Its identity: SHA-256 of everything but its signatures.
    pub digest: String,
    /// Who signed it.
    pub signatures: Vec<Signature>,
    /// Why heald refuses it, whatever it is granted; empty: heald does not refuse it.
    pub problems: Vec<String>,
}

/// An interface, imported or exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Such as `heald:plugin/detect`.
    pub name: String,
    /// Such as `0.1.0`.
    pub version: Option<String>,
    /// The functions in it.
    pub functions: Vec<String>,
}

/// The sizes of a component's parts, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The whole file, with its signatures.
    pub file: u64,
    /// Instructions.
    pub code: u64,
    /// The initial contents of memory.
    pub data: u64,
    /// Names, debug information and other sections that are not executed.
    pub custom: u64,
    /// Core modules within, adapters and shims included.
    pub modules: u32,
}

/// A tool that made the component, as the component says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    /// Such as `Rust` or `rustc`.
    pub name: String,
    /// Its version; often empty for a language.
    pub version: String,
}

/// Inspects a component. `spoken` are the versions that it is compared with.
///
/// # Errors
/// When the bytes are none.
pub(crate) fn inspect<A: Speaks + ?Sized>(
    component: &[u8],
    spoken: &'static [&'static A],
) -> Result<Inspection, SectionError> {
    recognise(component)?;
    let mut reading = ComponentReader::default();
    reading.sizes.file = u64::try_from(component.len()).unwrap_or(u64::MAX);
    let mut problems = Vec::new();
    let whole = reading.read(component);
    if let Err(error) = &whole {
        problems.push(format!("it is no valid component: {error}"));
    }
    let metadata = Metadata::of(component).unwrap_or_else(|error| {
        problems.push(error.to_string());
        None
    });
    let (adapter, roles) = match contract::spoken(&reading.shape, spoken) {
        Ok((adapter, roles)) => (Some(adapter), roles),
        Err(problem) => {
            // A component that could not be read to its end seems to lack things, and saying so would mislead.
            problems.extend(whole.is_ok().then(|| problem.to_string()));
            (None, Vec::new())
        }
    };
    let requested = imports::requested(metadata.as_ref(), &reading.shape).unwrap_or_else(|problem| {
        problems.push(problem.to_string());
        // It would have to be granted what it imports, whatever it says.
        imports::requested(None, &reading.shape).unwrap_or_default()
    });
    if let Some(metadata) = metadata.as_ref().filter(|_| !roles.is_empty()) {
        problems.extend(contract::agree(metadata, &roles).err().map(|problem| problem.to_string()));
    }
    // A component that speaks no version is compared with the newest.
    if let Some(adapter) = adapter.or_else(|| spoken.first().copied()) {
        problems.extend(imports::ungrantable(&reading.shape, adapter.contract()));
    }
    let signatures = signatures(component);
    problems.extend(signatures.iter().filter_map(|signature| {
        let by = signature.key.map_or_else(String::new, |key| format!(" by {key}"));
        signature.problem.as_ref().map(|problem| format!("its signature{by}: {problem}"))
    }));
    let Metadata { name, version, summary, config, limits, .. } = metadata.unwrap_or_default();
    Ok(Inspection {
        name,
        version,
        summary,
        roles: roles.iter().map(ToString::to_string).collect(),
        capabilities: requested.words.iter().map(ToString::to_string).collect(),
        limits,
        schema: config,
        imports: reading.imports,
        exports: reading.exports,
        sizes: reading.sizes,
        producers: reading.producers,
        digest: digest(component),
        signatures,
        problems,
    })
}

/// What a component imports and exports; None: it is no valid component.
pub(crate) fn shape(component: &[u8]) -> Option<ComponentShape> {
    let mut reading = ComponentReader::default();
    reading.read(component).ok()?;
    Some(reading.shape)
}

/// What was read so far. A file that breaks in its middle is known up to there.
#[derive(Default)]
struct ComponentReader {
    shape: ComponentShape,
    imports: Vec<Interface>,
    exports: Vec<Interface>,
    sizes: Sizes,
    producers: Vec<Producer>,
}

impl ComponentReader {
    fn read(&mut self, component: &[u8]) -> wasmparser::Result<()> {
        let mut validator = Validator::new();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload?;
            let outermost = depth == 0;
            match &payload {
                Payload::ModuleSection { .. } => {
                    self.sizes.modules += 1;
                    depth += 1;
                }
                Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CodeSectionStart { size, .. } => self.sizes.code += u64::from(*size),
                Payload::DataSection(section) => self.sizes.data += section.range().end - section.range().start,
                Payload::CustomSection(section) => self.custom(section),
                Payload::ComponentImportSection(section) if outermost => {
                    for import in section.clone() {
                        self.shape.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if outermost => {
                    for export in section.clone() {
                        let export = export?;
                        let functions = (export.kind == ComponentExternalKind::Instance).then(Vec::new);
                        self.shape.exports.push(ComponentExport { name: export.name.name.to_owned(), functions });
                    }
                }
                _ => {}
            }
            // The validator checks types, because the functions of an interface are read from them. It does not check
            // instructions: compiling does.
            if let ValidPayload::End(types) = validator.payload(&payload)?
                && outermost
            {
                self.look_into(types.as_ref());
            }
        }
        Ok(())
    }

    /// Reads the functions of each interface from its type.
    fn look_into(&mut self, types: TypesRef<'_>) {
        for name in &self.shape.imports {
            self.imports.push(interface(name, types, types.component_item_for_import(name)));
        }
        for export in &mut self.shape.exports {
            let interface = interface(&export.name, types, types.component_item_for_export(&export.name));
            if let Some(functions) = &mut export.functions {
                functions.clone_from(&interface.functions);
            }
            self.exports.push(interface);
        }
    }

    fn custom(&mut self, section: &CustomSectionReader<'_>) {
        self.sizes.custom += section.range().end - section.range().start;
        if let KnownCustom::Producers(producers) = section.as_known() {
            // The section may be broken: nothing depends on it.
            for producer in produced(producers).unwrap_or_default() {
                if !self.producers.contains(&producer) {
                    self.producers.push(producer);
                }
            }
        }
    }
}

/// The producers that a section names.
fn produced(section: ProducersSectionReader<'_>) -> wasmparser::Result<Vec<Producer>> {
    let mut producers = Vec::new();
    for field in section {
        let field = field?;
        for value in field.values {
            let value = value?;
            producers.push(Producer {
                field: field.name.to_owned(),
                name: value.name.to_owned(),
                version: value.version.to_owned(),
            });
        }
    }
    Ok(producers)
}

/// An interface by its full name, with the functions of its type.
fn interface(name: &str, types: TypesRef<'_>, ty: Option<&ComponentItem>) -> Interface {
    let functions = match ty.map(|item| &item.ty) {
        Some(ComponentEntityType::Instance(id)) => types.get(*id).map(|instance| {
            let functions = instance.exports.iter().filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)));
            functions.map(|(name, _)| name.clone()).collect()
        }),
        _ => None,
    };
    let (name, version) = name.split_once('@').map_or((name, None), |(name, version)| (name, Some(version)));
    Interface { name: name.to_owned(), version: version.map(str::to_owned), functions: functions.unwrap_or_default() }
}
