//! A configuration file as a tree in which every key and value knows its place, and the merging of such trees.
//!
//! It knows no key's meaning, but one: lists of tables that have names are merged by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::interpolate::Interpolated;
use super::problem::{ConfigProblem, File, SourceSpan};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: SourceSpan,
    pub(super) value: NodeValue,
}

#[derive(Clone, Debug)]
pub(super) enum NodeValue {
    Text(String),
    Whole(i64),
    Real(f64),
    Truth(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, TableMember>),
    /// Taken out of a list, whose other items keep their numbers.
    Gone,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct TableMember {
    pub(super) key: SourceSpan,
    pub(super) node: Node,
}

/// One step down the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Reads TOML, with the places of what was written before interpolation.
pub(super) fn parse(file: &Arc<File>, text: &Interpolated) -> Result<Node, Vec<ConfigProblem>> {
    let place = |span| SourceSpan { file: Arc::clone(file), span: text.original(span) };
    let (table, errors) = DeTable::parse_recoverable(&text.text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| {
            ConfigProblem::at(place(error.span().unwrap_or(0..0)), "", error.message().replace('\n', ", "))
        };
        let mut problems: Vec<ConfigProblem> = errors.iter().map(problem).collect();
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
        return Err(problems);
    }
    let mut problems = Vec::new();
    let whole = place(table.span());
    let node = Node { place: whole, value: tree(table.into_inner(), &place, &mut problems) };
    if problems.is_empty() { Ok(node) } else { Err(problems) }
}

fn tree(
    table: DeTable<'_>,
    place: &impl Fn(std::ops::Range<usize>) -> SourceSpan,
    problems: &mut Vec<ConfigProblem>,
) -> NodeValue {
    let members = table.into_iter().map(|(key, value)| {
        let key_place = place(key.span());
        (key.into_inner().into_owned(), TableMember { key: key_place, node: node(value, place, problems) })
    });
    NodeValue::Table(members.collect())
}

fn node(
    value: Spanned<DeValue<'_>>,
    place: &impl Fn(std::ops::Range<usize>) -> SourceSpan,
    problems: &mut Vec<ConfigProblem>,
) -> Node {
    let at = place(value.span());
    let mut wrong = |message: String| problems.push(ConfigProblem::at(at.clone(), "", message));
    let value = match value.into_inner() {
        DeValue::String(text) => NodeValue::Text(text.into_owned()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            NodeValue::Whole(i64::from_str_radix(&digits, number.radix()).unwrap_or_else(|_| {
                wrong(format!("{number} is too large; the largest number is {}", i64::MAX));
                0
            }))
        }
        DeValue::Float(number) => match number.as_str().replace('_', "").parse::<f64>() {
            Ok(number) if number.is_finite() => NodeValue::Real(number),
            _ => {
                wrong(format!("{number} is not a finite number"));
                NodeValue::Real(0.0)
            }
        },
        DeValue::Boolean(truth) => NodeValue::Truth(truth),
        DeValue::Datetime(time) => NodeValue::Text(time.to_string()),
        DeValue::Array(list) => NodeValue::List(list.into_iter().map(|each| node(each, place, problems)).collect()),
        DeValue::Table(table) => tree(table, place, problems),
    };
    Node { place: at, value }
}

impl Node {
    pub(super) fn member(&self, key: &str) -> Option<&Node> {
        match &self.value {
            NodeValue::Table(members) => members.get(key).map(|member| &member.node),
            _ => None,
        }
    }

    pub(super) fn member_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            NodeValue::Table(members) => members.get_mut(key).map(|member| &mut member.node),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> &[Node] {
        match &self.value {
            NodeValue::List(list) => list,
            _ => &[],
        }
    }

    pub(super) fn list_mut(&mut self) -> &mut [Node] {
        match &mut self.value {
            NodeValue::List(list) => list,
            _ => &mut [],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The names of the tables in the list of that key.
    pub(super) fn names(&self, key: &str) -> Vec<String> {
        let list = self.member(key).map(Self::list).unwrap_or_default();
        list.iter().filter_map(Self::name).map(str::to_owned).collect()
    }

    /// The `name` of a table.
    pub(super) fn name(&self) -> Option<&str> {
        self.member("name").and_then(Self::text)
    }

    /// The step's node. A key finds the table of that name in a list of tables.
    fn step(&self, step: &str) -> Option<&Node> {
        match &self.value {
            NodeValue::List(list) => {
                list.iter().find(|each| each.name() == Some(step)).or_else(|| list.get(step.parse::<usize>().ok()?))
            }
            _ => self.member(step),
        }
    }

    /// Where this path leads, or as far as it leads.
    pub(super) fn place_of(&self, path: &[&str]) -> &SourceSpan {
        let mut node = self;
        for step in path {
            match node.step(step) {
                Some(next) => node = next,
                None => break,
            }
        }
        &node.place
    }

    /// Takes out what is at the end of the path.
    pub(super) fn remove(&mut self, path: &[Step]) -> Option<Node> {
        match (path, &mut self.value) {
            ([Step::Key(key)], NodeValue::Table(members)) => members.remove(key).map(|member| member.node),
            ([Step::Key(key), rest @ ..], NodeValue::Table(members)) => members.get_mut(key)?.node.remove(rest),
            ([Step::Index(index)], NodeValue::List(list)) => {
                let node = list.get_mut(*index)?;
                let value = std::mem::replace(&mut node.value, NodeValue::Gone);
                Some(Node { place: node.place.clone(), value })
            }
            ([Step::Index(index), rest @ ..], NodeValue::List(list)) => list.get_mut(*index)?.remove(rest),
            _ => None,
        }
    }

    /// Puts `over` on top: tables go together, lists of named tables by name, anything else is replaced.
    pub(super) fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (NodeValue::Table(members), NodeValue::Table(news)) => {
                for (key, new) in news {
                    match members.get_mut(&key) {
                        Some(old) => {
                            old.key = new.key;
                            old.node.merge(new.node);
                        }
                        None => {
                            members.insert(key, new);
                        }
                    }
                }
            }
            (NodeValue::List(list), NodeValue::List(news)) if is_named(list) && is_named(&news) => {
                for new in news {
                    match list.iter_mut().find(|old| old.name() == new.name()) {
                        Some(old) => old.merge(new),
                        None => list.push(new),
                    }
                }
            }
            (old, new) => *old = new,
        }
        self.place = over.place;
    }

    /// Adds to this table what `below` says and it does not. A fault that shows only here is mended here, so the places are
    /// this table's.
    pub(super) fn inherit(&mut self, below: &Self) {
        let (NodeValue::Table(own), NodeValue::Table(below)) = (&mut self.value, &below.value) else { return };
        for (key, member) in below {
            let place = || self.place.clone();
            own.entry(key.clone()).or_insert_with(|| TableMember {
                key: place(),
                node: Node { place: place(), value: member.node.value.clone() },
            });
        }
    }
}

impl Node {
    /// A key that this table and the table under `inner` both have: whichever does not say it has it from the other.
    pub(super) fn share(&mut self, key: &str, inner: &str) {
        let NodeValue::Table(members) = &mut self.value else { return };
        let outer = members.get(key).cloned();
        let Some(NodeValue::Table(inners)) = members.get_mut(inner).map(|member| &mut member.node.value) else {
            return;
        };
        match (outer, inners.get(key).cloned()) {
            (Some(outer), None) => {
                inners.insert(key.to_owned(), outer);
            }
            (None, Some(inner)) => {
                members.insert(key.to_owned(), inner);
            }
            _ => {}
        }
    }
}

fn is_named(list: &[Node]) -> bool {
    list.iter().all(|each| each.name().is_some())
}

#[cfg(test)]
mod tests {
    use super::super::environment::Environment;
    use super::super::interpolate::interpolate;
    use super::*;

    fn read(text: &str) -> Node {
        let file = Arc::new(File { name: "t.toml".into(), text: text.into() });
        parse(&file, &interpolate(text, &Environment::new())).unwrap()
    }

    fn whole(node: &Node, path: &[&str]) -> Option<i64> {
        let mut node = node;
        for step in path {
            node = node.step(step)?;
        }
        match node.value {
            NodeValue::Whole(number) => Some(number),
            _ => None,
        }
    }

    #[test]
    fn tables_merge_deep_lists_are_replaced_and_named_tables_meet_by_name() {
        let mut base =
            read("[a]\nx = 1\ny = 2\nl = [1, 2]\n[[p]]\nname = \"one\"\nv = 1\nw = 1\n[[p]]\nname = \"two\"\nv = 2\n");
        base.merge(read("[a]\ny = 3\nl = [9]\n[[p]]\nname = \"three\"\nv = 3\n[[p]]\nname = \"one\"\nv = 4\n"));
        assert_eq!((whole(&base, &["a", "x"]), whole(&base, &["a", "y"])), (Some(1), Some(3)));
        assert_eq!((whole(&base, &["a", "l", "0"]), whole(&base, &["a", "l", "1"])), (Some(9), None));
        assert_eq!((whole(&base, &["p", "one", "v"]), whole(&base, &["p", "one", "w"])), (Some(4), Some(1)));
        let names: Vec<_> = base.member("p").unwrap().list().iter().filter_map(Node::name).collect();
        assert_eq!(names, ["one", "two", "three"]);
    }

    #[test]
    fn what_is_inherited_goes_below() {
        let mut own = read("a = 1\n");
        own.inherit(&read("a = 2\nb = 3\n"));
        assert_eq!((whole(&own, &["a"]), whole(&own, &["b"])), (Some(1), Some(3)));
    }

    #[test]
    fn syntax_errors_are_found_all_with_their_lines() {
        let text = "a = 1\nb = \nc = [1\nd = 2\n";
        let file = Arc::new(File { name: "t.toml".into(), text: text.into() });
        let problems = parse(&file, &interpolate(text, &Environment::new())).unwrap_err();
        assert_eq!(problems[0].place.as_ref().unwrap().line(), 2, "{problems:?}");
        assert!(problems.len() > 1);
    }

    #[test]
    fn a_number_beyond_counting_is_a_problem() {
        let text = "a = 99999999999999999999\nb = inf\n";
        let file = Arc::new(File { name: "t.toml".into(), text: text.into() });
        assert_eq!(parse(&file, &interpolate(text, &Environment::new())).unwrap_err().len(), 2);
    }
}
