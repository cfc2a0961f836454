//! The little of YAML that clouds.yaml needs: texts, lists, maps, anchors. Every scalar is a text: a password of digits is
//! no number.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

/// How deep and how large a document may be; one of a person's is far below.
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 100_000;

/// A document or a part of it. It has secrets in it: there is no `Debug`.
#[derive(Clone, Default, PartialEq)]
pub(super) enum Node {
    /// No value.
    #[default]
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

impl Node {
    /// Reads the first document of a text. The error says where, not what: there may be secrets.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut reader = Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
        loop {
            match reader.next()? {
                Event::StreamEnd => return Ok(Self::Nothing),
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                first => return reader.node(first, 0),
            }
        }
    }

    /// What a map has under a key.
    pub(super) fn get(&self, key: &str) -> &Self {
        const NOTHING: &Node = &Node::Nothing;
        match self {
            Self::Map(map) => map.get(key).unwrap_or(NOTHING),
            _ => NOTHING,
        }
    }

    /// The text under a key; empty where there is none.
    pub(super) fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// The keys of a map.
    pub(super) fn keys(&self) -> Vec<&str> {
        match self {
            Self::Map(map) => map.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// This with what another one says instead, maps within maps.
    pub(super) fn overlaid(self, over: Self) -> Self {
        match (self, over) {
            (Self::Map(mut under), Self::Map(over)) => {
                for (key, value) in over {
                    let below = under.remove(&key).unwrap_or_default();
                    under.insert(key, below.overlaid(value));
                }
                Self::Map(under)
            }
            (under, Self::Nothing) => under,
            (_, over) => over,
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        match self.parser.next() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => {
                let at = error.marker();
                Err(format!("line {}, column {}: {}", at.line(), at.col() + 1, error.info()))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn count(&mut self, more: usize) -> Result<(), String> {
        self.nodes += more;
        if self.nodes > MAX_NODES { Err("there is too much in it".to_owned()) } else { Ok(()) }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        self.count(1)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == saphyr_parser::ScalarStyle::Plain;
                let nothing = plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                (if nothing { Node::Nothing } else { Node::Text(text.into_owned()) }, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().unwrap_or_default();
                self.count(size(&node))?;
                return Ok(node);
            }
            _ => return Err("a value is missing".to_owned()),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Node, String> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Node::List(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    /// `<<` takes over what another map has.
    fn map(&mut self, depth: usize) -> Result<Node, String> {
        let (mut map, mut merged) = (BTreeMap::new(), Node::Map(BTreeMap::new()));
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(merged.overlaid(Node::Map(map))),
                event => self.node(event, depth + 1)?,
            };
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            match key {
                Node::Text(key) if key == "<<" => merged = merged.overlaid(value),
                Node::Text(key) => drop(map.insert(key, value)),
                _ => return Err("a key is no text".to_owned()),
            }
        }
    }
}

fn size(node: &Node) -> usize {
    1 + match node {
        Node::Nothing | Node::Text(_) => 0,
        Node::List(items) => items.iter().map(size).sum(),
        Node::Map(map) => map.values().map(size).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_texts_and_maps_merge() {
        let text = "base: &b {user: me, password: 0123}\nclouds:\n  a:\n    <<: *b\n    user: 'null'\n    none: ~\n    list: [1, two]\n";
        let node = Node::read(text).unwrap();
        let a = node.get("clouds").get("a");
        assert_eq!((a.text("user"), a.text("password"), a.text("none")), ("null", "0123", ""));
        assert!(*a.get("list") == Node::List(vec![Node::Text("1".into()), Node::Text("two".into())]));
        assert!(Node::read("").unwrap() == Node::Nothing);
    }

    #[test]
    fn what_is_wrong_is_said_without_what_is_there() {
        let wrong = Node::read("clouds:\n  a: 'hunter2").err().unwrap();
        assert!(wrong.starts_with("line ") && !wrong.contains("hunter2"), "{wrong}");
        let deep = "[".repeat(1000);
        assert!(Node::read(&deep).is_err());
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
        assert!(Node::read(bomb).is_err());
    }

    #[test]
    fn a_later_file_wins() {
        let (one, two) = (Node::read("a: {b: 1, c: 2}").unwrap(), Node::read("a: {c: 3, d: 4}").unwrap());
        let both = one.overlaid(two);
        let a = both.get("a");
        assert_eq!((a.text("b"), a.text("c"), a.text("d")), ("1", "3", "4"));
    }
}
