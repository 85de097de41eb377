//! A WIT package as a list of named items, each with a text in which nothing that matters is left out, so that two packages can
//! be compared item by item.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use wit_parser::{
    Function, FunctionKind, Handle, InterfaceId, PackageId, Resolve, Stability, Type, TypeDef, TypeDefKind, TypeId,
    TypeOwner, WorldId, WorldItem, WorldKey,
};

/// Major, minor, patch.
pub(crate) type Version = (u64, u64, u64);

pub(crate) fn text(version: Version) -> String {
    format!("{}.{}.{}", version.0, version.1, version.2)
}

/// One thing that has a name: an interface, a function, a type, a field, a case with something in it, a world, and what a world
/// imports and exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// What it is: the signature, the names of the fields in their order, a field's type.
    pub(crate) text: String,
    /// Its own `@since`.
    pub(crate) since: Option<Version>,
    /// The item that it is in.
    pub(crate) within: Option<String>,
}

/// A package.
#[derive(Debug)]
pub(crate) struct Package {
    /// Such as `heald:plugin`.
    pub(crate) name: String,
    pub(crate) version: Version,
    /// By names such as `types.sample.cpu`, `interface kv` and `world detector export detect`.
    pub(crate) items: BTreeMap<String, Item>,
    /// The interfaces that a world exports: guests have them.
    pub(crate) exported: BTreeSet<String>,
    /// The worlds that export something.
    pub(crate) exporting: BTreeSet<String>,
}

impl Package {
    /// Of the `.wit` files in a directory.
    pub(crate) fn read(directory: &Path) -> Result<Self, String> {
        let mut resolve = Resolve::default();
        let (id, _) = resolve.push_dir(directory).map_err(|error| format!("{}: {error:#}", directory.display()))?;
        Ok(Self::of(&resolve, id))
    }

    pub(crate) fn parse(wit: &str) -> Result<Self, String> {
        let mut resolve = Resolve::default();
        let id = resolve.push_source("contract.wit", wit).map_err(|error| format!("{error:#}"))?;
        Ok(Self::of(&resolve, id))
    }

    fn of(resolve: &Resolve, id: PackageId) -> Self {
        let package = &resolve.packages[id];
        let version = package.name.version.as_ref().map_or((0, 0, 0), |v| (v.major, v.minor, v.patch));
        let mut reading = Self {
            name: format!("{}:{}", package.name.namespace, package.name.name),
            version,
            items: BTreeMap::new(),
            exported: BTreeSet::new(),
            exporting: BTreeSet::new(),
        };
        for (name, &id) in &package.interfaces {
            reading.interface(resolve, name, id);
        }
        for (name, &id) in &package.worlds {
            reading.world(resolve, name, id);
        }
        reading
    }

    fn put(&mut self, name: String, text: impl Into<String>, stability: &Stability, within: Option<&str>) {
        let within = within.map(str::to_owned);
        self.items.insert(name, Item { text: text.into(), since: since(stability), within });
    }

    fn interface(&mut self, resolve: &Resolve, name: &str, id: InterfaceId) {
        let interface = &resolve.interfaces[id];
        let place = format!("interface {name}");
        self.put(place.clone(), "interface", &interface.stability, None);
        for (ty, &id) in &interface.types {
            self.ty(resolve, format!("{name}.{ty}"), &resolve.types[id], &place);
        }
        for function in interface.functions.values() {
            let signature = signature(resolve, function);
            self.put(format!("{name}.{}", function.name), signature, &function.stability, Some(&place));
        }
    }

    fn ty(&mut self, resolve: &Resolve, name: String, def: &TypeDef, place: &str) {
        let list = |kind: &str, names: Vec<&str>| format!("{kind} {{ {} }}", names.join(", "));
        let mut inner = Vec::new();
        let text = match &def.kind {
            TypeDefKind::Record(record) => {
                inner.extend(record.fields.iter().map(|field| (&field.name, written(resolve, &field.ty))));
                list("record", record.fields.iter().map(|field| field.name.as_str()).collect())
            }
            TypeDefKind::Variant(variant) => {
                let payload =
                    |ty: &Option<Type>| ty.as_ref().map_or("no payload".to_owned(), |ty| written(resolve, ty));
                inner.extend(variant.cases.iter().map(|case| (&case.name, payload(&case.ty))));
                list("variant", variant.cases.iter().map(|case| case.name.as_str()).collect())
            }
            TypeDefKind::Enum(all) => list("enum", all.cases.iter().map(|case| case.name.as_str()).collect()),
            TypeDefKind::Flags(all) => list("flags", all.flags.iter().map(|flag| flag.name.as_str()).collect()),
            TypeDefKind::Resource => "resource".to_owned(),
            kind => format!("type = {}", structure(resolve, kind)),
        };
        for (field, text) in inner {
            self.put(format!("{name}.{field}"), text, &Stability::Unknown, Some(&name));
        }
        self.put(name, text, &def.stability, Some(place));
    }

    fn world(&mut self, resolve: &Resolve, name: &str, id: WorldId) {
        let world = &resolve.worlds[id];
        let place = format!("world {name}");
        self.put(place.clone(), "world", &world.stability, None);
        if !world.exports.is_empty() {
            self.exporting.insert(place.clone());
        }
        for (direction, items) in [("import", &world.imports), ("export", &world.exports)] {
            for (key, item) in items {
                let key = match key {
                    WorldKey::Name(name) => name.clone(),
                    WorldKey::Interface(id) => full(resolve, *id),
                };
                let name = format!("{place} {direction} {key}");
                match item {
                    // Plain types come with whatever uses them: nobody has to offer them.
                    WorldItem::Interface { id, .. } if resolve.interfaces[*id].functions.is_empty() => {}
                    WorldItem::Interface { stability, .. } => {
                        if direction == "export" {
                            self.exported.insert(format!("interface {key}"));
                        }
                        self.put(name, "interface", stability, Some(&place));
                    }
                    WorldItem::Function(function) => {
                        self.put(name, signature(resolve, function), &function.stability, Some(&place));
                    }
                    WorldItem::Type { id, .. } => self.ty(resolve, name, &resolve.types[*id], &place),
                }
            }
        }
    }
}

fn since(stability: &Stability) -> Option<Version> {
    match stability {
        Stability::Stable { since, .. } => Some((since.major, since.minor, since.patch)),
        Stability::Unknown | Stability::Unstable { .. } => None,
    }
}

/// An interface's name; with its package, if that is another one.
fn full(resolve: &Resolve, id: InterfaceId) -> String {
    let interface = &resolve.interfaces[id];
    let name = interface.name.clone().unwrap_or_default();
    match interface.package.map(|package| &resolve.packages[package].name) {
        Some(package) if package.namespace != "heald" => format!("{package}/{name}"),
        _ => name,
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let kind = match function.kind {
        FunctionKind::Freestanding => "",
        FunctionKind::AsyncFreestanding => "async ",
        FunctionKind::Method(_) => "method ",
        FunctionKind::AsyncMethod(_) => "async method ",
        FunctionKind::Static(_) => "static ",
        FunctionKind::AsyncStatic(_) => "async static ",
        FunctionKind::Constructor(_) => "constructor ",
        _ => "accessor ",
    };
    let parameters: Vec<_> =
        function.params.iter().map(|param| format!("{}: {}", param.name, written(resolve, &param.ty))).collect();
    let result = function.result.as_ref().map(|ty| format!(" -> {}", written(resolve, ty))).unwrap_or_default();
    format!("{kind}func({}){result}", parameters.join(", "))
}

/// A type as it is written; one that has a name by that name and where it was declared, however it was come by.
fn written(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else { return primitive(ty).to_owned() };
    let def = &resolve.types[declared(resolve, *id)];
    match (&def.name, def.owner) {
        (Some(name), TypeOwner::Interface(owner)) => format!("{}.{name}", full(resolve, owner)),
        (Some(name), _) => name.clone(),
        (None, _) => structure(resolve, &def.kind),
    }
}

/// Through every `use`, which brings a type from elsewhere.
fn declared(resolve: &Resolve, mut id: TypeId) -> TypeId {
    while let TypeDefKind::Type(Type::Id(next)) = resolve.types[id].kind
        && resolve.types[next].owner != resolve.types[id].owner
    {
        id = next;
    }
    id
}

fn structure(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let ty = |ty: &Type| written(resolve, ty);
    let maybe = |optional: &Option<Type>| optional.as_ref().map_or("_".to_owned(), ty);
    let id = |id: &TypeId| ty(&Type::Id(*id));
    match kind {
        TypeDefKind::Option(inner) => format!("option<{}>", ty(inner)),
        TypeDefKind::List(inner) => format!("list<{}>", ty(inner)),
        TypeDefKind::FixedLengthList(inner, length) => format!("list<{}, {length}>", ty(inner)),
        TypeDefKind::Map(key, value) => format!("map<{}, {}>", ty(key), ty(value)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        TypeDefKind::Tuple(tuple) => format!("tuple<{}>", tuple.types.iter().map(ty).collect::<Vec<_>>().join(", ")),
        TypeDefKind::Future(inner) => format!("future<{}>", maybe(inner)),
        TypeDefKind::Stream(inner) => format!("stream<{}>", maybe(inner)),
        TypeDefKind::Handle(Handle::Own(resource)) => format!("own<{}>", id(resource)),
        TypeDefKind::Handle(Handle::Borrow(resource)) => format!("borrow<{}>", id(resource)),
        TypeDefKind::Type(inner) => ty(inner),
        named => named.as_str().to_owned(),
    }
}

const fn primitive(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
        Type::Id(_) => "",
    }
}
