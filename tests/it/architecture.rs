//! The house rules that ARCHITECTURE.md states, held by reading the source: who may name whom, where `unsafe` and clocks may
//! be, what no file may contain. To change a rule, change its table here and say why in the commit.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Rooms and their layers: a file names only rooms of strictly lower layers.
const LAYERS: &[(&str, u8)] = &[
    ("shim", 0),
    ("error", 0),
    ("panics", 0),
    ("time", 1),
    ("task", 1),
    ("observe", 1),
    ("wait", 2),
    ("testkit", 2),
    ("sync", 3),
    ("limit", 4),
    ("resilience", 4),
    ("pool", 5),
    ("tower", 5),
    ("stream", 5),
    ("group", 5),
    ("parallel", 5),
    ("pipeline", 5),
    ("writer", 5),
    ("schedule", 5),
    ("events", 6),
    ("distributed", 7),
    ("telemetry", 8),
    ("health", 8),
];

/// Who may name a room of its own layer.
const BESIDES: &[(&str, &str)] = &[("resilience", "limit"), ("pipeline", "stream"), ("group", "pool")];

/// What `lib.rs` re-exports at the root, and the room it is from.
const AT_THE_ROOT: &[(&str, &str)] = &[("ConfigError", "error")];

/// The only homes of `unsafe`: folders end in a slash.
const UNSAFE_HOMES: &[&str] = &[
    "src/wait/",
    "src/sync/ring.rs",
    "src/sync/oneshot.rs",
    "src/task/owned.rs",
    "src/stream/generator/tray.rs",
    "src/pool/slot/",
];

/// Paths that only some files may name: (what, where, why).
struct Reserved {
    paths: &'static [&'static str],
    homes: &'static [&'static str],
    why: &'static str,
}

const RESERVED: &[Reserved] = &[
    Reserved {
        paths: &["loom::", "shuttle::", "std::sync::atomic", "core::sync::atomic", "atomic_waker::"],
        homes: &["src/shim.rs"],
        why: "the shim alone knows whether it is the real machine or a model checker",
    },
    Reserved {
        paths: &["std::sync::Mutex", "std::sync::RwLock", "std::sync::Condvar"],
        homes: &["src/shim.rs"],
        why: "locks come from the shim, so that they are modelled",
    },
    Reserved {
        paths: &["…::Instant::now", "…::SystemTime::now", "Instant::now", "SystemTime::now"],
        homes: &["src/time/"],
        why: "only the clocks read the time: take a `Clock`",
    },
    Reserved {
        paths: &["async_io::", "tokio::", "quanta::"],
        homes: &["src/time/"],
        why: "no code path needs a runtime's own API; its timers are behind `Clock`",
    },
    Reserved {
        paths: &["smol::", "async_std::", "async_executor::", "async_global_executor::"],
        homes: &[],
        why: "no code path needs a runtime's own API",
    },
    Reserved {
        paths: &["…::thread::sleep", "thread::sleep", "…::time::sleep", "time::sleep", "Timer::after"],
        homes: &["src/time/"],
        why: "nothing sleeps in real time: use a `Clock`",
    },
];

/// Words that no source file of the crate may contain outside its unit tests, and the files that may.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("todo!", &[]),
    ("unimplemented!", &[]),
    (".unwrap()", &["src/testkit/"]),
    (".expect(", &["src/testkit/"]),
    ("panic!", &["src/testkit/"]),
    ("unreachable!", &["src/testkit/"]),
    ("dbg!", &[]),
    ("println!", &[]),
    ("eprintln!", &["src/testkit/"]),
];

const MOST_LINES: usize = 600;

/// Crates that `--no-default-features` may depend on.
const MOST_DEPENDENCIES: usize = 6;

// --- the rules ---

#[test]
fn a_file_names_only_rooms_below_its_own() {
    check(&["src"], |file| {
        let Some(room) = file.module.first() else { return Vec::new() };
        if layer(room).is_none() {
            return vec![format!("room `{room}` is not in the table of layers")];
        }
        file.paths()
            .into_iter()
            .filter_map(|path| {
                let target = path.room()?;
                (!may_name(room, &target)).then(|| {
                    format!("line {}: `{}`: `{room}` must not name `{target}`", path.line, path.text())
                })
            })
            .collect()
    });
}

#[test]
fn what_is_reserved_for_some_files_is_named_only_there() {
    check(&["src"], |file| {
        let mut found = Vec::new();
        for path in file.paths() {
            for reserved in RESERVED {
                if !is_in(&file.name, reserved.homes) && reserved.paths.iter().any(|name| path.names(name)) {
                    found.push(format!("line {}: `{}`: {}", path.line, path.text(), reserved.why));
                }
            }
        }
        found
    });
}

#[test]
fn no_test_sleeps_in_real_time_or_is_ignored() {
    check(&["tests", "loom-tests", "shuttle-tests"], |file| {
        // That the threads of an idle pool are not woken is seen in real time alone.
        let may_sleep = file.name == "tests/stress/pool.rs";
        let sleeps = ["…::thread::sleep", "thread::sleep", "…::time::sleep", "time::sleep", "Timer::after"];
        let mut found: Vec<_> = file
            .paths()
            .into_iter()
            .filter(|path| !may_sleep && sleeps.iter().any(|name| path.names(name)))
            .map(|path| format!("line {}: `{}`: virtual time does not need it", path.line, path.text()))
            .collect();
        found
            .extend(file.lines_with("#[ignore").map(|line| format!("line {line}: a test that does not run")));
        found
    });
    check(&["src"], |file| {
        file.lines_with("#[ignore").map(|line| format!("line {line}: a test that does not run")).collect()
    });
}

#[test]
fn unsafe_is_only_in_its_homes_and_forbidden_everywhere_else() {
    let forbidding: BTreeSet<String> = sources(&["src"])
        .into_iter()
        .filter(|file| file.code.contains("#![forbid(unsafe_code)]"))
        .map(|file| file.name)
        .collect();
    check(&["src"], |file| {
        if is_in(&file.name, UNSAFE_HOMES) {
            return Vec::new();
        }
        let mut found: Vec<_> = file
            .lines_with_word("unsafe")
            .into_iter()
            .map(|line| format!("line {line}: unsafe outside of its homes"))
            .collect();
        // The folder of a home cannot forbid it for all, so each other file in it does.
        let holds_a_home = file
            .name
            .strip_suffix("mod.rs")
            .or(file.name.strip_suffix("lib.rs"))
            .is_some_and(|folder| UNSAFE_HOMES.iter().any(|home| home.starts_with(folder)));
        let empty = file.code.trim().is_empty();
        let covered = forbidding.contains(&file.name)
            || Path::new(&file.name)
                .ancestors()
                .any(|folder| forbidding.contains(&*folder.join("mod.rs").to_string_lossy()));
        if !covered && !holds_a_home && !empty {
            found.push("neither it nor its room begins with #![forbid(unsafe_code)]".into());
        }
        found
    });
}

#[test]
fn what_can_panic_or_print_is_not_in_the_library() {
    check(&["src"], |file| {
        let mut found = Vec::new();
        for (word, homes) in FORBIDDEN {
            if !is_in(&file.name, homes) {
                found.extend(file.lines_with_word(word).iter().map(|line| format!("line {line}: `{word}`")));
            }
        }
        found
    });
}

#[test]
fn no_file_is_longer_than_it_can_be_read() {
    check(&["src"], |file| {
        let lines = file.text.lines().count();
        (lines > MOST_LINES)
            .then(|| format!("{lines} lines, more than {MOST_LINES}: split it by noun"))
            .into_iter()
            .collect()
    });
}

#[test]
fn every_file_says_what_it_is_for() {
    check(&["src", "tests", "loom-tests", "shuttle-tests", "benches"], |file| {
        let documented = file.text.starts_with("//!") || file.text.starts_with("#![doc");
        (!documented && !file.text.trim().is_empty())
            .then(|| "does not begin with `//!`".into())
            .into_iter()
            .collect()
    });
}

#[test]
fn every_feature_has_its_paragraph_in_the_manifest() {
    let manifest = read("Cargo.toml");
    let section = section(&manifest, "[features]");
    let mut undescribed = Vec::new();
    let mut described = false;
    for line in section.lines() {
        if line.starts_with('#') {
            described = true;
        } else if let Some((name, _)) = line.split_once(" = ") {
            if !described {
                undescribed.push(name.to_owned());
            }
            described = false;
        } else if line.trim().is_empty() {
            described = false;
        }
    }
    assert_eq!(undescribed, [""; 0], "a comment directly above each feature says what it is for");
}

#[test]
fn every_feature_is_a_row_of_a_table_of_the_readme() {
    let (manifest, readme) = (read("Cargo.toml"), read("README.md"));
    let missing: Vec<_> = features(&manifest)
        .into_iter()
        .filter(|name| name != "default")
        .filter(|name| {
            !readme.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{name}`")))
        })
        .collect();
    assert_eq!(missing, [""; 0], "each is named as `name` in some line that begins with |");
}

#[test]
fn without_its_features_the_crate_depends_on_a_handful() {
    let root = env!("CARGO_MANIFEST_DIR");
    let arguments = ["tree", "--edges", "normal", "--no-default-features", "--prefix", "none", "--offline"];
    let output = std::process::Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root)
        .output()
        .expect("cargo runs");
    let list = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates: BTreeSet<_> = list
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "cofferdam")
        .collect();
    assert!(list.starts_with("cofferdam "), "{list}");
    assert!(crates.len() <= MOST_DEPENDENCIES, "{} dependencies: {crates:?}", crates.len());
    assert!(!crates.contains("tokio") && !crates.contains("async-io"), "{crates:?}");
}

// --- reading ---

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a manifest's section, without its heading.
fn section<'a>(manifest: &'a str, heading: &str) -> &'a str {
    let start = manifest.find(heading).expect("the section") + heading.len();
    let rest = &manifest[start..];
    rest.find("\n[").map_or(rest, |end| &rest[..end])
}

fn features(manifest: &str) -> Vec<String> {
    section(manifest, "[features]")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.to_owned())
        .collect()
}

struct Source {
    /// From the root of the crate, with slashes.
    name: String,
    text: String,
    /// The text without comments, strings and unit tests; lines are where they were.
    code: String,
    /// The path of the module that the file is: `["time", "clock"]`.
    module: Vec<String>,
}

impl Source {
    fn new(name: &str, text: String) -> Self {
        let code = without_unit_tests(&without_comments(&text));
        let inner = name.strip_prefix("src/").unwrap_or(name).trim_end_matches(".rs");
        let module = inner
            .split('/')
            .filter(|part| !matches!(*part, "mod" | "lib" | "main"))
            .map(str::to_owned)
            .collect();
        Self { name: name.to_owned(), text, code, module }
    }

    fn lines_with<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.lines().enumerate().filter(move |(_, line)| line.contains(text)).map(|(at, _)| at + 1)
    }

    /// Lines that contain it as a whole word.
    fn lines_with_word(&self, word: &str) -> Vec<usize> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let whole = |line: &str| {
            line.match_indices(word).any(|(at, _)| {
                let before = line[..at].chars().next_back().is_some_and(is_word);
                let after = line[at + word.len()..].chars().next().is_some_and(is_word);
                !(before && word.starts_with(is_word) || after && word.ends_with(is_word))
            })
        };
        self.code.lines().enumerate().filter(|(_, line)| whole(line)).map(|(at, _)| at + 1).collect()
    }

    /// Every path of two segments or more, with the groups of `use` written out.
    fn paths(&self) -> Vec<NamedPath> {
        let mut reader = Reader { tokens: tokens(&self.code), at: 0, found: Vec::new() };
        reader.read(&mut self.module.clone());
        reader.found
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the crate") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).expect("inside").to_string_lossy().replace('\\', "/");
            let text = read(&name);
            Source::new(&name, text)
        })
        .collect()
}

/// Fails with everything that `rule` finds in any file.
fn check(folders: &[&str], rule: impl Fn(&Source) -> Vec<String>) {
    let mut all = String::new();
    let sources = sources(folders);
    assert!(sources.len() > folders.len(), "the rule read nothing");
    for file in &sources {
        for found in rule(file) {
            let _ = writeln!(all, "{}: {found}", file.name);
        }
    }
    assert!(all.is_empty(), "\n{all}");
}

/// Every line of code below `folder` that is not a comment, a string or a unit test, with its file.
pub(crate) fn code_lines(folder: &str) -> Vec<(String, String)> {
    let lines = |file: &Source| -> Vec<_> {
        file.code.lines().map(|line| (file.name.clone(), line.to_owned())).collect()
    };
    sources(&[folder]).iter().flat_map(lines).collect()
}

fn is_in(name: &str, homes: &[&str]) -> bool {
    homes.iter().any(|home| name == *home || (home.ends_with('/') && name.starts_with(home)))
}

fn layer(room: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == room).map(|(_, layer)| *layer)
}

fn may_name(room: &str, target: &str) -> bool {
    let target = AT_THE_ROOT.iter().find(|(item, _)| *item == target).map_or(target, |(_, room)| room);
    match (layer(room), layer(target)) {
        (Some(own), Some(other)) => room == target || other < own || BESIDES.contains(&(room, target)),
        _ => false,
    }
}

/// The text with comments, strings and characters blanked.
fn without_comments(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    while at < chars.len() {
        let begin = at;
        if !matches!(chars[at], '/' | 'r' | '"' | '\'') {
            code.push(chars[at]);
            at += 1;
            continue;
        }
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            let mut depth = 0;
            loop {
                if starts(at, "/*") {
                    depth += 1;
                    at += 2;
                } else if starts(at, "*/") {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        break;
                    }
                } else if at >= chars.len() {
                    break;
                } else {
                    at += 1;
                }
            }
        } else if chars[at] == 'r' && (starts(at, "r\"") || starts(at, "r#\"") || starts(at, "r##\"")) {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            at += 2 + hashes;
            while at < chars.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if starts(at, "'\\") {
            at += 3;
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else if chars[at] == '\'' && chars.get(at + 2) == Some(&'\'') {
            at += 3;
        } else {
            code.push(chars[at]);
            at += 1;
            continue;
        }
        let blanked = &chars[begin..at.min(chars.len())];
        code.extend(blanked.iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
    }
    code
}

/// Unit tests stand at the end of their file.
fn without_unit_tests(code: &str) -> String {
    let tests = code.match_indices("#[cfg(test)]").find(|(at, found)| {
        let next = code[at + found.len()..].trim_start();
        next.starts_with("mod tests {")
    });
    tests.map_or(code, |(at, _)| &code[..at]).to_owned()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Separator,
    Other(char),
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    for (at, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                tokens.push((at + 1, Token::Word(rest[..end].to_owned())));
                end
            } else if rest.starts_with("::") {
                tokens.push((at + 1, Token::Separator));
                2
            } else {
                if !first.is_whitespace() {
                    tokens.push((at + 1, Token::Other(first)));
                }
                first.len_utf8()
            };
            rest = &rest[length..];
        }
    }
    tokens
}

/// A path and the module in which it stands.
struct NamedPath {
    line: usize,
    segments: Vec<String>,
    module: Vec<String>,
}

impl NamedPath {
    fn text(&self) -> String {
        self.segments.join("::")
    }

    /// The room of this crate that it leads to.
    fn room(&self) -> Option<String> {
        let supers = self.segments.iter().take_while(|segment| *segment == "super").count();
        if self.segments.first().is_some_and(|first| first == "crate") {
            return self.segments.get(1).cloned();
        }
        if supers == 0 {
            return None;
        }
        match self.module.len().checked_sub(supers) {
            Some(0) | None => self.segments.get(supers).cloned(),
            Some(_) => self.module.first().cloned(),
        }
    }

    /// Whether it begins with `name`; `…::name` if it ends with it.
    fn names(&self, name: &str) -> bool {
        let text = self.text();
        if let Some(end) = name.strip_prefix("…") {
            return text.ends_with(end);
        }
        match text.strip_prefix(name) {
            Some(rest) => name.ends_with("::") || rest.is_empty() || rest.starts_with("::"),
            None => false,
        }
    }
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    at: usize,
    found: Vec<NamedPath>,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(_, token)| token)
    }

    fn is_word(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek(ahead), Some(Token::Word(found)) if found == word)
    }

    /// Reads to the end of the present block.
    fn read(&mut self, module: &mut Vec<String>) {
        while let Some(token) = self.peek(0).cloned() {
            match token {
                Token::Other('}') => {
                    self.at += 1;
                    return;
                }
                Token::Other('{') => {
                    self.at += 1;
                    self.read(module);
                }
                Token::Word(word) if word == "mod" && self.peek(2) == Some(&Token::Other('{')) => {
                    if let Some(Token::Word(name)) = self.peek(1).cloned() {
                        module.push(name);
                    }
                    self.at += 3;
                    self.read(module);
                    module.pop();
                }
                Token::Word(_) | Token::Separator => self.read_path(&mut Vec::new(), module),
                Token::Other(_) => self.at += 1,
            }
        }
    }

    fn read_path(&mut self, prefix: &mut Vec<String>, module: &[String]) {
        let length = prefix.len();
        let line = self.tokens[self.at].0;
        if self.peek(0) == Some(&Token::Separator) {
            self.at += 1;
        }
        loop {
            match self.peek(0).cloned() {
                Some(Token::Word(word)) => {
                    prefix.push(word);
                    self.at += 1;
                    if self.peek(0) == Some(&Token::Separator) {
                        self.at += 1;
                        continue;
                    }
                }
                Some(Token::Other('{')) if !prefix.is_empty() && length < prefix.len() => {
                    self.at += 1;
                    self.read_group(prefix, module);
                    prefix.truncate(length);
                    return;
                }
                Some(Token::Other('*')) => {
                    prefix.push("*".into());
                    self.at += 1;
                }
                _ => {}
            }
            break;
        }
        if prefix.len() > 1 {
            self.found.push(NamedPath { line, segments: prefix.clone(), module: module.to_vec() });
        }
        prefix.truncate(length);
    }

    fn read_group(&mut self, prefix: &mut Vec<String>, module: &[String]) {
        while let Some(token) = self.peek(0).cloned() {
            match token {
                Token::Other('}') => {
                    self.at += 1;
                    return;
                }
                // `as name`
                Token::Word(_) if self.is_word(0, "as") => self.at += 2,
                Token::Word(_) | Token::Separator | Token::Other('*') => self.read_path(prefix, module),
                Token::Other(_) => self.at += 1,
            }
        }
    }
}

/// The rules must see what they are there to see.
mod the_scanner {
    use super::*;

    fn rooms(name: &str, text: &str) -> Vec<(usize, String)> {
        let file = Source::new(name, text.to_owned());
        file.paths().iter().filter_map(|path| Some((path.line, path.room()?))).collect()
    }

    #[test]
    fn finds_rooms_in_groups_and_expressions_and_through_super() {
        let text = "use crate::{pool::{A, b::C}, time::Clock as T};\n\
                    fn f() -> crate::sync::X { super::super::limit::y::<crate::wait::Z>() }\n\
                    mod inner { use super::{K, super::super::observe::L}; fn g() { super::h() } }\n\
                    pub(crate) use super::m;\n";
        let found: Vec<_> =
            rooms("src/resilience/retry.rs", text).into_iter().map(|(l, r)| format!("{l} {r}")).collect();
        let expected = [
            "1 pool",
            "1 pool",
            "1 time",
            "2 sync",
            "2 limit",
            "2 wait",
            "3 resilience",
            "3 observe",
            "3 resilience",
            "4 resilience",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn passes_over_comments_strings_characters_and_unit_tests() {
        let text = "//! [`crate::telemetry::A`]\n/* crate::pool::B /* nested */ crate::pool::C */\n\
                    const D: &str = \"crate::pool::\\\"E\"; const F: char = '\"'; const G: &str = r#\"crate::pool::H\"#;\n\
                    const I: char = '\\''; fn j<'a>(k: &'a str) { crate::time::l(k) } // crate::pool::m\n\
                    #[cfg(test)]\nmod tests { use crate::pool::N; }\n";
        assert_eq!(rooms("src/sync/gate.rs", text), [(4, "time".to_owned())]);
    }

    #[test]
    fn knows_the_order_of_the_layers() {
        for (room, target) in
            [("sync", "wait"), ("resilience", "limit"), ("pool", "sync"), ("time", "ConfigError")]
        {
            assert!(may_name(room, target), "{room} -> {target}");
        }
        let upwards = [("limit", "resilience"), ("time", "sync"), ("time", "observe"), ("pool", "telemetry")];
        for (room, target) in upwards.into_iter().chain([("sync", "nowhere"), ("wait", "testkit")]) {
            assert!(!may_name(room, target), "{room} -> {target}");
        }
    }

    #[test]
    fn tells_reserved_paths_from_those_that_only_look_like_them() {
        let text = "use std::{sync::{Arc, atomic::{AtomicU8, Ordering}}, thread};\n\
                    fn f() { thread::sleep(x); std::time::Instant::now(); Instant::now(); ::tokio::spawn(y); clock.sleep(z) }\n\
                    use super::tokio::TokioTimer; use std::sync::MutexGuard;\n";
        let file = Source::new("src/sync/gate.rs", text.to_owned());
        let names = |name: &str| file.paths().iter().filter(|path| path.names(name)).count();
        assert_eq!(names("std::sync::atomic"), 2);
        assert_eq!((names("…::Instant::now"), names("Instant::now")), (1, 1));
        assert_eq!((names("thread::sleep"), names("…::thread::sleep")), (1, 0));
        assert_eq!((names("tokio::"), names("std::sync::Mutex")), (1, 0));
        assert_eq!(file.lines_with_word("tokio"), [2, 3]);
        assert!(
            Source::new("src/a.rs", "#![forbid(unsafe_code)]".into()).lines_with_word("unsafe").is_empty()
        );
        let unwraps = Source::new("src/a.rs", "a.unwrap();\nb.unwrap_or(c);\nnot_todo!();\ntodo!()".into());
        assert_eq!(
            (unwraps.lines_with_word(".unwrap()"), unwraps.lines_with_word("todo!")),
            (vec![1], vec![4])
        );
    }
}
