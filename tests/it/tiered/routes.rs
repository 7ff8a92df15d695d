//! Which route a request is.

use super::build;
use cofferdam::limit::tiered::{Request, Route, Tier};
use cofferdam::limit::{Quota, Tiered};
use proptest::prelude::*;

fn name(limiter: &Tiered, method: &str, path: &str) -> String {
    limiter.route_name(method, path).to_string()
}

const ONE: Quota = Quota::per_second(1);

// MT3
#[test]
fn the_most_specific_pattern_wins() {
    // In no order.
    let patterns = [
        "/**",
        "/users/*",
        "GET /users/{id}",
        "/users/me",
        "DELETE /users/:user",
        "/users/{id}/posts/**",
        "/users/{id}/posts/{post}",
        "/users/me/*/{post}",
        "/*/me/posts/7",
        "POST /users/me/posts/7",
    ];
    let builder =
        patterns.into_iter().fold(Tiered::builder(), |builder, pattern| builder.route(pattern, ONE));
    let (_, limiter) = build(builder);
    let table = [
        ("GET", "/users/me", "/users/me"),
        ("GET", "/users/7", "GET /users/{id}"),
        ("get", "/users/7", "GET /users/{id}"),
        ("DELETE", "/users/7", "DELETE /users/:user"),
        ("PUT", "/users/7", "/users/*"),
        ("GET", "/users", "/**"),
        ("GET", "/", "/**"),
        ("GET", "/users/7/posts", "/users/{id}/posts/**"),
        ("GET", "/users/7/posts/1", "/users/{id}/posts/{post}"),
        ("GET", "/users/7/posts/1/2", "/users/{id}/posts/**"),
        // The first segment that differs decides, and only then the others.
        ("GET", "/users/me/posts/1", "/users/me/*/{post}"),
        ("GET", "/users/me/posts/7", "/users/me/*/{post}"),
        ("POST", "/users/me/posts/7", "POST /users/me/posts/7"),
        ("GET", "/x/me/posts/7", "/*/me/posts/7"),
        // Letter case matters in paths.
        ("GET", "/Users/me", "/**"),
        // As cleaned.
        ("GET", "users//me/?x=/y#/z", "/users/me"),
    ];
    for (method, path, wanted) in table {
        assert_eq!(name(&limiter, method, path), wanted, "{method} {path}");
    }
}

// MT4
#[test]
fn what_no_pattern_matches_goes_by_its_normal_form() {
    let (_, limiter) = build(Tiered::builder().default_route(ONE).global(Quota::unlimited()));
    assert!(limiter.try_acquire(Request::new("GET", "/users/1/posts/2")).is_ok());
    // The same route.
    for path in [
        "/users/3/posts/4",
        "//users/3//posts/4/",
        "/users/3/posts/5?q=1",
        "/users/123e4567-e89b-12d3-a456-426614174000/posts/00",
    ] {
        let refusal = limiter.try_acquire(Request::new("get", path)).unwrap_err();
        assert_eq!(refusal.bucket(), "GET /users/{id}/posts/{id}", "{path}");
    }
    // Others: the method is in the key, and so is each segment as a whole.
    for (method, path) in [
        ("POST", "/users/1/posts/2"),
        ("GET", "/users/1/posts"),
        ("GET", "/users/1/posts2"),
        ("GET", "/users/a1/posts/2"),
        ("GET", "/users/%31/posts/2"),
        ("GETX", "/users/1/posts/2"),
        ("G", "/ET/users/1/posts/2"),
    ] {
        assert!(limiter.try_acquire(Request::new(method, path)).is_ok(), "{method} {path}");
    }
}

// MT3
#[test]
fn patterns_are_checked_when_the_limiter_is_built() {
    for pattern in [
        "users",
        "GET users",
        "",
        "GET  ",
        "G\u{c9}T /users",
        "/users?id=1",
        "/users#a",
        "/a b",
        "/users/{}",
        "/users/:",
        "/users/{a b}",
        "/users/{id",
        "/users/id}",
        "/users/x{id}",
        "/a*b",
        "/**/a",
        "/***",
        "/{id}/{id}",
        "/{id}/:id",
    ] {
        let error = Tiered::builder().route(pattern, ONE).build().unwrap_err();
        assert_eq!((error.component(), error.knob()), ("tiered limiter", "route"), "{pattern}");
        assert!(error.value().contains(&format!("{pattern:?}")), "{error}");
    }
    let deep = "/a".repeat(65);
    assert!(Tiered::builder().route(deep, ONE).build().is_err());
    assert!(Tiered::builder().route("/a".repeat(64), ONE).build().is_ok());
    let unnamed = Route::new("/a", ONE).majors(["a", "a"]);
    assert_eq!(Tiered::builder().route_with(unnamed).build().unwrap_err().knob(), "majors");
}

// MT3
#[test]
fn patterns_that_nothing_tells_apart_are_refused() {
    for (one, other) in [
        ("/a/{x}", "/a/*"),
        ("/a/{x}", "/a/:y"),
        ("GET /a", "get /a/"),
        ("/a", "//a"),
        ("/**", "/**"),
        ("GET /{a}/**", "GET /*/**"),
    ] {
        let error = Tiered::builder().route(one, ONE).route(other, ONE).build().unwrap_err();
        assert!(error.value().contains(one) && error.value().contains(other), "{error}");
    }
    for (one, other) in [("GET /a", "/a"), ("GET /a", "PUT /a"), ("/a", "/a/**"), ("/a/*", "/a/**")] {
        assert!(Tiered::builder().route(one, ONE).route(other, ONE).build().is_ok(), "{one} {other}");
    }
}

// MT6
#[test]
fn major_parameters_split_the_bucket_of_a_route() {
    let (_, limiter) = build(
        Tiered::builder()
            .major_parameters(["guild", "channel"])
            .global(Quota::unlimited())
            .default_route(ONE)
            .route("/channels/{channel}/messages/{message}", ONE)
            .route_with(Route::new("/hooks/{hook}/{token}", ONE).majors(["token", "hook"]))
            .route_with(Route::new("/plain/{channel}", ONE).majors([""; 0])),
    );
    let take =
        |path, majors: &[(&str, &str)]| limiter.try_acquire(Request::new("GET", path).majors(majors)).is_ok();
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
    let table: &[Row<'_>] = &[
        ("/channels/1/messages/1", &[], true),
        // Another message of the same channel; another channel.
        ("/channels/1/messages/2", &[], false),
        ("/channels/2/messages/1", &[], true),
        // One that only the request knows, in any order; and one that nobody asked for.
        ("/channels/1/messages/1", &[("guild", "1")], true),
        ("/channels/9/messages/1", &[("channel", "1"), ("guild", "1")], false),
        ("/channels/9/messages/1", &[("guild", "1"), ("channel", "1"), ("shard", "3")], false),
        // The names are in the key.
        ("/channels/1/messages/1", &[("guild", "1"), ("channel", "1")], false),
        // The names of a route of its own.
        ("/hooks/1/a", &[], true),
        ("/hooks/1/b", &[], true),
        ("/hooks/2/a", &[("channel", "7")], true),
        ("/hooks/1/a", &[("channel", "8")], false),
        ("/plain/1", &[], true),
        ("/plain/2", &[("guild", "1")], false),
        // Without a pattern there are only the request's.
        ("/other/1", &[], true),
        ("/other/2", &[("guild", "1")], true),
        ("/other/3", &[("guild", "1")], false),
        ("/other/4", &[("channel", "1")], true),
    ];
    for (at, (path, majors, admitted)) in table.iter().enumerate() {
        assert_eq!(take(path, majors), *admitted, "{at}: {path} {majors:?}");
    }
    let request = Request::new("GET", "/channels/1/messages/2").majors(&[("guild", "5")]);
    let bucket = limiter.bucket(Tier::Route, request).unwrap();
    assert_eq!(&*bucket.name(), "/channels/{channel}/messages/{message} guild=5 channel=1");
    // What stands next to each other is not the same as what stands together.
    let majors = |value: &'static [(&'static str, &'static str)]| Request::new("GET", "/other").majors(value);
    assert!(limiter.try_acquire(majors(&[("guild", "ab"), ("channel", "c")])).is_ok());
    assert!(limiter.try_acquire(majors(&[("guild", "a"), ("channel", "bc")])).is_ok());
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(&'static str),
    One,
}

/// A pattern as a plain list, to be matched in the plainest way.
#[derive(Clone, Debug)]
struct Plain {
    method: Option<&'static str>,
    parts: Vec<Part>,
    rest: bool,
}

impl Plain {
    fn text(&self) -> String {
        let mut text = self.method.map(|method| format!("{method} ")).unwrap_or_default();
        for (at, part) in self.parts.iter().enumerate() {
            text += &match part {
                Part::Literal(literal) => format!("/{literal}"),
                Part::One => format!("/{{p{at}}}"),
            };
        }
        text += if self.rest { "/**" } else { "" };
        if text.ends_with(' ') || text.is_empty() { text + "/" } else { text }
    }

    fn matches(&self, method: &str, path: &[&str]) -> bool {
        self.method.is_none_or(|known| known == method)
            && (path.len() == self.parts.len() || self.rest && path.len() > self.parts.len())
            && self.parts.iter().zip(path).all(|(part, segment)| match part {
                Part::One => true,
                Part::Literal(literal) => literal == segment,
            })
    }

    /// The smaller the more specific: literal, one, end of the path, the rest; then the method.
    fn rank(&self) -> (Vec<u8>, bool) {
        let parts = self.parts.iter().map(|part| if *part == Part::One { 1 } else { 0 });
        (parts.chain([if self.rest { 3 } else { 2 }]).collect(), self.method.is_none())
    }

    fn shape(&self) -> (Option<&str>, &[Part], bool) {
        (self.method, &self.parts, self.rest)
    }
}

fn pattern() -> impl Strategy<Value = Plain> {
    let part =
        prop_oneof![prop::sample::select(vec!["a", "b", "c"]).prop_map(Part::Literal), Just(Part::One)];
    let method = prop::option::of(prop::sample::select(vec!["GET", "PUT"]));
    (method, prop::collection::vec(part, 0..4), any::<bool>()).prop_map(|(method, parts, rest)| Plain {
        method,
        parts,
        rest,
    })
}

proptest! {
    // MT3
    #[test]
    fn the_compiled_patterns_find_what_a_plain_search_finds(
        patterns in prop::collection::vec(pattern(), 0..12),
        requests in prop::collection::vec(
            (
                prop::sample::select(vec!["GET", "PUT", "POST"]),
                prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 0..6),
            ),
            1..20,
        ),
    ) {
        let mut known: Vec<Plain> = Vec::new();
        for pattern in patterns {
            if known.iter().all(|other| other.shape() != pattern.shape()) {
                known.push(pattern);
            }
        }
        let builder = known.iter().fold(Tiered::builder(), |builder, pattern| builder.route(pattern.text(), ONE));
        let limiter = builder.build().unwrap();
        for (method, path) in requests {
            let found = known.iter().filter(|pattern| pattern.matches(method, &path)).min_by_key(|pattern| pattern.rank());
            let text = format!("/{}", path.join("/"));
            let wanted = found.map_or(format!("{method} {text}"), Plain::text);
            prop_assert_eq!(&*limiter.route_name(method, &text), &wanted);
        }
    }
}
