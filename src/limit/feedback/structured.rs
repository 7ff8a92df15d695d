//! Lists of items with parameters, as far as the rate limit fields use them (RFC 9651, sections 3.1 and 3.3).
//!
//! More is let through than the RFC allows, as no two servers write the same draft; what cannot be read is said to be so,
//! item by item.

use super::number::trim;

/// A member of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item<'a> {
    /// What stands before the parameters, as it is written but for the quotes around it.
    pub(super) head: &'a str,
    /// What stands behind a `=` before the parameters: a member of a dictionary.
    pub(super) value: Option<&'a str>,
    parameters: &'a str,
}

impl<'a> Item<'a> {
    /// The parameter of this name; the last, if there are several.
    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        let parameters = split(self.parameters, b';').filter_map(|parameter| parameter.split_once('='));
        let named = parameters.filter(|(key, _)| trim(key).eq_ignore_ascii_case(name));
        named.map(|(_, value)| unquoted(value).unwrap_or(value)).last()
    }
}

/// The members of a list, front to back; `None` for one that has no head or an open quote.
pub(super) fn items(text: &str) -> impl Iterator<Item = Option<Item<'_>>> {
    let members = split(text, b',').map(trim);
    // An empty list is a list, and so is one with a comma too many.
    members.filter(|member| !member.is_empty()).map(|member| {
        let head = split(member, b';').next()?;
        let parameters = member.get(head.len()..).unwrap_or_default();
        let (head, value) = match head.split_once('=') {
            Some((key, value)) if !head.trim_start().starts_with('"') => (key, Some(unquoted(value)?)),
            _ => (head, None),
        };
        let head = unquoted(head)?;
        (!head.is_empty()).then_some(Item { head, value, parameters })
    })
}

/// Without the quotes around it, if there are any; `None` if there is only one.
fn unquoted(text: &str) -> Option<&str> {
    let text = trim(text);
    match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(text),
    }
}

/// Splits at a separator that is not inside quotes.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            let ends = byte == separator && !quoted;
            quoted ^= byte == b'"' && !escaped;
            escaped = byte == b'\\' && quoted && !escaped;
            ends
        });
        match end {
            Some(end) => {
                rest = text.get(end + 1..);
                text.get(..end)
            }
            None => rest.take(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Head, value and the parameter `r`.
    type Read<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

    fn read(text: &str) -> Vec<Option<Read<'_>>> {
        items(text).map(|item| item.map(|item| (item.head, item.value, item.parameter("r")))).collect()
    }

    #[test]
    fn lists_are_split_outside_of_quotes() {
        assert_eq!(read(r#""a";r=5;t=1"#), [Some(("a", None, Some("5")))]);
        assert_eq!(read(r#""a;,=b" ; R=5 , c"#), [Some(("a;,=b", None, Some("5"))), Some(("c", None, None))]);
        assert_eq!(read(r#""q\"uo,te";r=1"#), [Some((r#"q\"uo,te"#, None, Some("1")))]);
        assert_eq!(
            read("limit=100, reset=5;r=2"),
            [Some(("limit", Some("100"), None)), Some(("reset", Some("5"), Some("2")))]
        );
        assert_eq!(read("10;w=1;r=1;r=2"), [Some(("10", None, Some("2")))]);
        assert_eq!(read(" , a,, "), [Some(("a", None, None))]);
        assert_eq!(read(r#"";r=1"#), [None]);
        assert_eq!(read(";r=1, \"\""), [None, None]);
        assert!(read("").is_empty());
    }
}
