//! Checks a value against a JSON Schema: a plug-in's configuration, and the parameters of its actions.
//!
//! These keywords are checked: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
//! `minItems`, `maxItems`, `minLength`, `maxLength`, `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`,
//! `anyOf`, `oneOf`, `allOf`, `not` and a `$ref` within the document. Every other keyword, such as `pattern`, is
//! ignored. So it never refuses a value that a complete validator accepts, and the plug-in judges what it lets through.

use std::cell::Cell;
use std::fmt;

use serde_json::{Map, Value};

/// Something wrong with a value, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueProblem {
    /// JSON Pointer into the value; empty: the whole value.
    pub at: String,
    /// What is wrong there.
    pub message: String,
}

impl ValueProblem {
    /// All problems in one line.
    pub(crate) fn list(problems: &[Self]) -> String {
        problems.iter().map(Self::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for ValueProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() { f.write_str(&self.message) } else { write!(f, "at {}: {}", self.at, self.message) }
    }
}

/// How deep schemas may nest: a `$ref` to itself must end somewhere.
const DEPTH: usize = 64;
/// Steps that one check may take. Schemas come from plug-ins' files, and a schema that refers to itself twice would
/// take 2^64 steps. The largest of heald's own schemas takes some hundred.
const STEPS: u32 = 100_000;
const NO_FIT: &str = "no alternative fits: ";
/// Problems reported at once.
const REPORTED: usize = 10;

/// Every problem of `value`, at most ten.
pub(crate) fn check(schema: &Value, value: &Value) -> Vec<ValueProblem> {
    let left = Cell::new(STEPS);
    let mut checker = Checker { root: schema, problems: Vec::new(), left: &left };
    checker.visit(schema, value, "", 0);
    if left.get() == 0 {
        let message = format!("the schema takes more than {STEPS} steps to check; it refers to itself too often");
        return vec![ValueProblem { at: String::new(), message }];
    }
    checker.problems
}

/// The kinds of values that a schema may name.
const KINDS: [&str; 7] = ["null", "boolean", "number", "integer", "string", "array", "object"];
/// The keywords with schemas by name, with one schema, and with a list of schemas.
const BY_NAME: [&str; 3] = ["properties", "$defs", "definitions"];
const ONE: [&str; 3] = ["items", "additionalProperties", "not"];
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Every `type` of a schema that is no type, at most ten. A misspelt one would let everything through.
pub(crate) fn flaws(schema: &Value) -> Vec<ValueProblem> {
    let mut flaws = Vec::new();
    let mut open = vec![(String::new(), schema)];
    while let Some((at, schema)) = open.pop() {
        let Value::Object(schema) = schema else { continue };
        let kinds = match schema.get("type") {
            None => Vec::new(),
            Some(Value::Array(kinds)) => kinds.iter().collect(),
            Some(kind) => vec![kind],
        };
        for kind in kinds.into_iter().filter(|kind| !kind.as_str().is_some_and(|kind| KINDS.contains(&kind))) {
            let message = format!("the schema says type {kind}, which is none of {}", KINDS.join(", "));
            flaws.push(ValueProblem { at: at.clone(), message });
        }
        for keyword in BY_NAME {
            let schemas = schema.get(keyword).and_then(Value::as_object).into_iter().flatten();
            open.extend(schemas.map(|(name, each)| (format!("{at}/{keyword}/{name}"), each)));
        }
        open.extend(ONE.into_iter().filter_map(|keyword| Some((format!("{at}/{keyword}"), schema.get(keyword)?))));
        for keyword in LISTS {
            let schemas = schema.get(keyword).and_then(Value::as_array).into_iter().flatten();
            open.extend(schemas.enumerate().map(|(index, each)| (format!("{at}/{keyword}/{index}"), each)));
        }
    }
    flaws.truncate(REPORTED);
    flaws
}

struct Checker<'s> {
    root: &'s Value,
    problems: Vec<ValueProblem>,
    /// Steps of all alternatives together.
    left: &'s Cell<u32>,
}

impl<'s> Checker<'s> {
    fn say(&mut self, at: &str, message: impl Into<String>) {
        if self.problems.len() < REPORTED {
            self.problems.push(ValueProblem { at: at.to_owned(), message: message.into() });
        }
    }

    fn visit(&mut self, schema: &'s Value, value: &Value, at: &str, depth: usize) {
        // A check that runs out of steps refuses the whole value in the end.
        match self.left.get() {
            0 | 1 => return self.left.set(0),
            left => self.left.set(left - 1),
        }
        if depth > DEPTH {
            return self.say(at, "the schema leads nowhere: it refers to itself");
        }
        let schema = match schema {
            Value::Object(schema) => schema,
            Value::Bool(false) => return self.say(at, "nothing is allowed here"),
            _ => return,
        };
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            match target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) {
                Some(target) => self.visit(target, value, at, depth + 1),
                None => self.say(at, format!("the schema refers to `{target}`, which is not in it")),
            }
        }
        self.kind(schema, value, at);
        self.choices(schema, value, at);
        match value {
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or(f64::NAN), at),
            Value::String(text) => {
                self.size(schema, ["minLength", "maxLength"], text.chars().count(), "characters", at)
            }
            Value::Array(items) => {
                self.size(schema, ["minItems", "maxItems"], items.len(), "items", at);
                if let Some(each) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.visit(each, item, &format!("{at}/{index}"), depth + 1);
                    }
                }
            }
            Value::Object(object) => self.object(schema, object, at, depth),
            Value::Null | Value::Bool(_) => {}
        }
        self.branches(schema, value, at, depth);
    }

    fn kind(&mut self, schema: &Map<String, Value>, value: &Value, at: &str) {
        let wanted: Vec<&str> = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return,
        };
        let is = |kind: &&str| match *kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            // The standard counts 1.0 as an integer.
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => true,
        };
        if !wanted.iter().any(is) {
            self.say(at, format!("{} is wanted, {} is given", wanted.join(" or "), brief(value)));
        }
    }

    fn choices(&mut self, schema: &Map<String, Value>, value: &Value, at: &str) {
        if let Some(Value::Array(allowed)) = schema.get("enum")
            && !allowed.iter().any(|choice| same(choice, value))
        {
            let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
            self.say(at, format!("{} is given, one of {} is wanted", brief(value), allowed.join(", ")));
        }
        if let Some(only) = schema.get("const")
            && !same(only, value)
        {
            self.say(at, format!("{} is given, {only} is wanted", brief(value)));
        }
    }

    fn number(&mut self, schema: &Map<String, Value>, number: f64, at: &str) {
        let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
        let wrong = [
            bound("minimum").filter(|least| number < *least).map(|least| format!("at least {least}")),
            bound("maximum").filter(|most| number > *most).map(|most| format!("at most {most}")),
            bound("exclusiveMinimum").filter(|least| number <= *least).map(|least| format!("more than {least}")),
            bound("exclusiveMaximum").filter(|most| number >= *most).map(|most| format!("less than {most}")),
        ];
        for wanted in wrong.into_iter().flatten() {
            self.say(at, format!("{wanted} is wanted, {number} is given"));
        }
    }

    fn size(&mut self, schema: &Map<String, Value>, [min, max]: [&str; 2], size: usize, unit: &str, at: &str) {
        let bound =
            |keyword: &str| schema.get(keyword).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
        if let Some(least) = bound(min).filter(|least| size < *least) {
            self.say(at, format!("at least {least} {unit} are wanted, {size} are given"));
        }
        if let Some(most) = bound(max).filter(|most| size > *most) {
            self.say(at, format!("at most {most} {unit} are wanted, {size} are given"));
        }
    }

    fn object(&mut self, schema: &'s Map<String, Value>, object: &Map<String, Value>, at: &str, depth: usize) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                self.say(at, format!("`{name}` is missing"));
            }
        }
        for (name, value) in object {
            let place = || format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            match (properties.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
                (Some(known), _) => self.visit(known, value, &place(), depth + 1),
                (None, Some(Value::Bool(false))) => {
                    let known: Vec<_> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                    let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
                    self.say(&place(), format!("unknown; known here: {known}"));
                }
                (None, Some(other)) => self.visit(other, value, &place(), depth + 1),
                (None, None) => {}
            }
        }
    }

    fn branches(&mut self, schema: &'s Map<String, Value>, value: &Value, at: &str, depth: usize) {
        let list = |keyword: &str| schema.get(keyword).and_then(Value::as_array);
        for each in list("allOf").into_iter().flatten() {
            self.visit(each, value, at, depth + 1);
        }
        if let Some(alternatives) = list("anyOf") {
            self.alternatives(alternatives, value, at, depth, false);
        }
        if let Some(alternatives) = list("oneOf") {
            self.alternatives(alternatives, value, at, depth, true);
        }
        if let Some(not) = schema.get("not")
            && self.tried(not, value, at, depth).is_empty()
        {
            self.say(at, format!("{} is just what is not allowed", brief(value)));
        }
    }

    fn tried(&self, schema: &'s Value, value: &Value, at: &str, depth: usize) -> Vec<ValueProblem> {
        let mut trial = Checker { root: self.root, problems: Vec::new(), left: self.left };
        trial.visit(schema, value, at, depth + 1);
        trial.problems
    }

    fn alternatives(&mut self, alternatives: &'s [Value], value: &Value, at: &str, depth: usize, only_one: bool) {
        let tried: Vec<_> = alternatives.iter().map(|schema| self.tried(schema, value, at, depth)).collect();
        let fitting = tried.iter().filter(|problems| problems.is_empty()).count();
        if fitting == 0 {
            // The alternative that matched most of the value is most likely the meant one.
            let reach =
                |problems: &&Vec<ValueProblem>| problems.iter().map(|problem| problem.at.len()).max().unwrap_or(0);
            let meant = tried.iter().max_by_key(reach).filter(|problems| reach(problems) > at.len());
            match (meant, tried.as_slice()) {
                (Some(meant), _) | (None, [meant]) => {
                    for problem in meant.clone() {
                        self.say(&problem.at, problem.message);
                    }
                }
                (None, tried) => {
                    // Alternatives of alternatives are reported as one list.
                    let way = |problem: &'_ ValueProblem| problem.message.trim_start_matches(NO_FIT).to_owned();
                    let mut ways: Vec<_> = tried.iter().flatten().map(way).collect();
                    ways.dedup();
                    self.say(at, format!("{NO_FIT}{}", ways.join(", or ")));
                }
            }
        } else if only_one && fitting > 1 {
            self.say(at, format!("{fitting} alternatives fit where only one may"));
        }
    }
}

/// Numbers are equal by value: 1 equals 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

/// The value if it is short, otherwise its kind.
fn brief(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
        Value::String(text) if text.len() > 40 => "a long text".into(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(schema: Value, value: Value) -> Vec<String> {
        check(&schema, &value).iter().map(ValueProblem::to_string).collect()
    }

    #[test]
    fn each_keyword_lets_through_and_refuses() {
        let cases = [
            (json!({"type": "string"}), json!("x"), json!(1)),
            (json!({"type": ["integer", "null"]}), json!(null), json!(1.5)),
            (json!({"type": "integer"}), json!(2.0), json!("2")),
            (json!({"enum": ["a", 1]}), json!(1.0), json!("b")),
            (json!({"const": {"a": 1}}), json!({"a": 1}), json!({"a": 2})),
            (json!({"required": ["a"]}), json!({"a": null}), json!({"b": 1})),
            (json!({"additionalProperties": false, "properties": {"a": {}}}), json!({"a": 1}), json!({"b": 1})),
            (json!({"additionalProperties": {"type": "number"}}), json!({"a": 1}), json!({"a": "1"})),
            (json!({"items": {"type": "number"}}), json!([1, 2]), json!([1, "2"])),
            (json!({"minItems": 1, "maxItems": 2}), json!([1]), json!([])),
            (json!({"maxItems": 2}), json!([1, 2]), json!([1, 2, 3])),
            (json!({"minLength": 2}), json!("äö"), json!("ä")),
            (json!({"maxLength": 2}), json!("äö"), json!("äöü")),
            (json!({"minimum": 1}), json!(1), json!(0.9)),
            (json!({"maximum": 1}), json!(1), json!(1.1)),
            (json!({"exclusiveMinimum": 1}), json!(1.1), json!(1)),
            (json!({"exclusiveMaximum": 1}), json!(0.9), json!(1)),
            (json!({"anyOf": [{"type": "string"}, {"type": "number"}]}), json!(1), json!(true)),
            (json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}), json!({"a": 1}), json!({"a": 1, "b": 1})),
            (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), json!(1.5), json!(3)),
            (json!({"not": {"type": "null"}}), json!(1), json!(null)),
            (json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "number"}}}), json!(1), json!("1")),
            (json!({"properties": {"a": false}}), json!({}), json!({"a": 1})),
        ];
        for (schema, good, bad) in cases {
            assert_eq!(said(schema.clone(), good.clone()), Vec::<String>::new(), "{schema} {good}");
            assert!(!said(schema.clone(), bad.clone()).is_empty(), "{schema} {bad}");
        }
    }

    #[test]
    fn a_type_that_is_none_is_a_flaw_of_the_schema_wherever_it_stands() {
        let found = |schema: Value| flaws(&schema).iter().map(ValueProblem::to_string).collect::<Vec<_>>();
        let schema = json!({"type": "object", "properties": {"a": {"anyOf": [{"type": ["string", "nummer"]}]}}});
        let told =
            "the schema says type \"nummer\", which is none of null, boolean, number, integer, string, array, object";
        assert_eq!(found(schema), [format!("at /properties/a/anyOf/0: {told}")]);
        // A property may be called `type`, and an example may hold anything.
        let sound = json!({"properties": {"type": {"type": "string"}}, "default": {"type": "nummer"}});
        assert_eq!(found(sound), Vec::<String>::new());
        assert_eq!(found(Value::Null), Vec::<String>::new());
    }

    #[test]
    fn a_problem_names_its_place() {
        let step = json!({"anyOf": [
            {"type": "number"},
            {"type": "object", "additionalProperties": false, "properties": {"limit": {"type": "number"}}},
        ]});
        let schema = json!({"type": "object", "additionalProperties": {"anyOf": [
            {"$ref": "#/$defs/step"}, {"type": "array", "items": {"$ref": "#/$defs/step"}},
        ]}, "$defs": {"step": step}});
        assert_eq!(
            said(schema.clone(), json!({"a/b": [1, {"limit": "x"}]})),
            ["at /a~1b/1/limit: number is wanted, \"x\" is given"]
        );
        assert_eq!(said(schema.clone(), json!({"cpu": {"limt": 1}})), ["at /cpu/limt: unknown; known here: limit"]);
        assert!(said(schema, json!({"cpu": true}))[0].starts_with("at /cpu: no alternative fits: number is wanted"));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        assert!(said(json!({"$ref": "#"}), json!(1))[0].contains("refers to itself"));
    }

    #[test]
    fn a_schema_that_refers_to_itself_twice_ends_before_long() {
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let said = said(json!({keyword: [{"$ref": "#"}, {"$ref": "#"}]}), json!({}));
            assert!(matches!(said.as_slice(), [one] if one.contains("too often")), "{keyword}: {said:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_a_remark() {
        assert_eq!(said(json!({"pattern": "^a$", "title": "x", "format": "uri"}), json!("b")), Vec::<String>::new());
    }
}
