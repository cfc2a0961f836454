//! XML that is written: values are data, whatever stands in them.

use std::fmt::{self, Write};

/// An element.
#[derive(Clone, Debug)]
pub(super) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Element(Element),
    Text(String),
    /// What is XML already, e.g. a part of the user's file that was parsed before.
    Verbatim(String),
}

impl Element {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new(), children: Vec::new() }
    }

    /// An element with nothing but a text in it.
    pub(super) fn text(name: &'static str, text: impl ToString) -> Self {
        let mut element = Self::new(name);
        element.children.push(Node::Text(text.to_string()));
        element
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.attributes.push((name, value.to_string()));
        self
    }

    pub(super) fn child(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    pub(super) fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children.into_iter().map(Node::Element));
        self
    }

    /// Adds what is XML already.
    pub(super) fn verbatim(mut self, xml: impl IntoIterator<Item = String>) -> Self {
        self.children.extend(xml.into_iter().map(Node::Verbatim));
        self
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(f, " {name}='")?;
            escape(f, value)?;
            f.write_char('\'')?;
        }
        if self.children.is_empty() {
            return f.write_str("/>");
        }
        f.write_char('>')?;
        for child in &self.children {
            match child {
                Node::Element(element) => element.fmt(f)?,
                Node::Text(text) => escape(f, text)?,
                Node::Verbatim(xml) => f.write_str(xml)?,
            }
        }
        write!(f, "</{}>", self.name)
    }
}

/// Characters that mean something become references; so does white space, which a parser would change in an attribute.
/// What no XML document may contain becomes U+FFFD.
fn escape(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '&' => f.write_str("&amp;")?,
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '\'' => f.write_str("&apos;")?,
            '"' => f.write_str("&quot;")?,
            '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(c))?,
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER)?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roxmltree::Document;

    use super::*;

    #[test]
    fn elements_attributes_and_text() {
        let made = Element::new("a")
            .with("b", "1 < 2 & 'x'")
            .child(Element::text("c", "\"\u{1}"))
            .children([Element::new("d")])
            .verbatim(["<e/>".to_owned()]);
        assert_eq!(made.to_string(), "<a b='1 &lt; 2 &amp; &apos;x&apos;'><c>&quot;\u{fffd}</c><d/><e/></a>");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "\\PC*|[\\t\\n\\r '\"<>&]*") {
            let xml = Element::new("a").with("b", &text).child(Element::text("c", &text)).to_string();
            let read = Document::parse(&xml).map_err(|error| TestCaseError::fail(format!("{error}: {xml}")))?;
            let root = read.root_element();
            prop_assert_eq!(root.attribute("b"), Some(text.as_str()));
            prop_assert_eq!(root.first_element_child().and_then(|c| c.text()).unwrap_or_default(), text.as_str());
        }

        #[test]
        fn nothing_breaks_out(text in any::<String>()) {
            let xml = Element::new("a").with("b", &text).child(Element::text("c", &text)).to_string();
            let read = Document::parse(&xml).map_err(|error| TestCaseError::fail(format!("{error}: {xml}")))?;
            prop_assert_eq!(read.descendants().filter(roxmltree::Node::is_element).count(), 2);
        }
    }
}
