//! Paths of requests: segments, and the normal form of a path that no pattern knows.
//!
//! A path is cleaned by whole segments: empty ones fall away, so that `//a/` is `/a`; the query and the fragment are cut
//! off. Percent-encoding is left as it is: `%41` and `A` are two segments, as only the server knows whether they mean the same.

use std::fmt;

/// What stands for an identifier in the name of a route.
pub(super) const PLACEHOLDER: &str = "{id}";

/// Hexadecimal digits from which on a segment is taken for an identifier.
const LONG_HEX: usize = 16;

/// The segments of a path that are not empty.
pub(super) fn segments(path: &str) -> Segments<'_> {
    Segments(path)
}

/// Each of them by one walk over its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segments<'a>(&'a str);

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        loop {
            let end = self.0.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
            let (segment, rest) = self.0.split_at_checked(end.unwrap_or(self.0.len()))?;
            // Query and fragment are no segments.
            self.0 = rest.strip_prefix('/').unwrap_or_default();
            if !segment.is_empty() {
                return Some(segment);
            }
            if self.0.is_empty() {
                return None;
            }
        }
    }
}

/// The segment of a path that no pattern knows, as it goes into the key of its route.
pub(super) fn normal(segment: &str) -> &str {
    if is_identifier(segment) { PLACEHOLDER } else { segment }
}

/// Whether it is a number, a UUID or long hexadecimal: one of many, so not part of a route's name.
fn is_identifier(segment: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = segment.bytes().all(|byte| byte.is_ascii_digit());
    number || segment.len() >= LONG_HEX && hex(segment) || is_uuid(segment)
}

/// The five groups of RFC 9562.
fn is_uuid(segment: &str) -> bool {
    segment.len() == 36
        && segment.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The name of a route that no pattern knows: method and path in normal form.
pub(super) struct Normal<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
}

impl fmt::Display for Normal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.method.chars() {
            write!(f, "{}", letter.to_ascii_uppercase())?;
        }
        f.write_str(" ")?;
        let mut segments = segments(self.path).peekable();
        if segments.peek().is_none() {
            return f.write_str("/");
        }
        segments.try_for_each(|segment| write!(f, "/{}", normal(segment)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normal_by_whole_segments() {
        let table = [
            ("/users/42/posts", "GET /users/{id}/posts"),
            ("//users///42/", "GET /users/{id}"),
            ("users/42?page=7", "GET /users/{id}"),
            ("/users/42#top/43", "GET /users/{id}"),
            ("", "GET /"),
            ("/", "GET /"),
            ("/?a=/b", "GET /"),
            // Not the digits within a segment.
            ("/v1/users42/42users/a-1", "GET /v1/users42/42users/a-1"),
            ("/x/123e4567-e89b-12d3-a456-426614174000", "GET /x/{id}"),
            ("/x/123E4567-E89B-12D3-A456-42661417400", "GET /x/123E4567-E89B-12D3-A456-42661417400"),
            ("/x/123e4567ae89b-12d3-a456-4266141740001", "GET /x/123e4567ae89b-12d3-a456-4266141740001"),
            ("/x/0123456789abcdef", "GET /x/{id}"),
            ("/x/0123456789abcde", "GET /x/0123456789abcde"),
            ("/x/deadbeef", "GET /x/deadbeef"),
            ("/x/0123456789abcdefg", "GET /x/0123456789abcdefg"),
            ("/x/%34%32/%2F", "GET /x/%34%32/%2F"),
            ("/١٢", "GET /١٢"),
        ];
        for (path, wanted) in table {
            assert_eq!(Normal { method: "get", path }.to_string(), wanted, "{path}");
        }
    }
}
