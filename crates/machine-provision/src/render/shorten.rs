//! Shell code without what is only for readers, and without functions that nothing calls.

use std::collections::BTreeSet;

/// What stands at the outermost level of a script.
struct Item {
    /// The function's name; `None` for commands.
    function: Option<String>,
    text: String,
}

/// The functions of `library` that `caller` calls, and those that they call; and all of its commands.
///
/// A function begins with `NAME() {` at the begin of a line, and ends on the same line or with the next `}` at the begin of one.
pub fn only_what_is_called(library: &str, caller: &str) -> String {
    let items = items(library);
    let mut called: BTreeSet<&str> = words(caller).collect();
    for command in items.iter().filter(|item| item.function.is_none()) {
        called.extend(words(&command.text));
    }
    loop {
        let before = called.len();
        for item in &items {
            if item.function.as_deref().is_some_and(|name| called.contains(name)) {
                called.extend(words(&item.text));
            }
        }
        if called.len() == before {
            break;
        }
    }
    let needed =
        items.iter().filter(|item| item.function.as_deref().is_none_or(|name| called.contains(name)));
    needed.map(|item| item.text.as_str()).collect()
}

fn items(library: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut open: Option<Item> = None;
    for line in library.lines() {
        let short = line.trim_start();
        if short.is_empty() || short.starts_with('#') {
            continue;
        }
        let text = format!("{short}\n");
        if let Some(mut item) = open.take() {
            item.text.push_str(&text);
            if line == "}" {
                items.push(item)
            } else {
                open = Some(item)
            }
            continue;
        }
        let function = line.split_once("() {").map(|(name, _)| name.to_owned());
        let item = Item { function, text };
        if item.function.is_some() && !line.ends_with('}') { open = Some(item) } else { items.push(item) }
    }
    items.extend(open);
    items
}

/// Everything that may be a name.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_nothing_calls_go() {
        let library = "# About.\na=1\n\none() { echo \"$1\"; }\n\n# Two.\ntwo() {\n  # Why.\n  one x\n}\nthree() {\n  two\n}\nfour() { one; }\n";
        assert_eq!(
            only_what_is_called(library, "two; x"),
            "a=1\none() { echo \"$1\"; }\ntwo() {\none x\n}\n"
        );
        assert_eq!(only_what_is_called(library, ""), "a=1\n");
        assert_eq!(only_what_is_called(library, "$(four)").matches("()").count(), 2);
    }
}
