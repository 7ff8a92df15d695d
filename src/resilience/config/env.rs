//! Settings from variables of the environment.

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, Visitor,
};
use std::collections::BTreeMap;
use std::fmt;

/// Reads settings from the variables of the environment whose names begin with `prefix` and two underscores: with a prefix
/// of `INVENTORY`, `breaker.failure_threshold` is `INVENTORY__BREAKER__FAILURE_THRESHOLD`. The case of letters makes no
/// difference. Where there are no such variables, everything has its default.
///
/// # Errors
/// A variable that names no setting, one that is given twice (in letters of different case), a value that cannot be read; each with
/// its name.
pub fn from_env<T: DeserializeOwned>(prefix: &str) -> Result<T, EnvError> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    from_vars(prefix, std::env::vars_os().map(|(name, value)| (text(name), text(value))))
}

/// As [`from_env`], from variables that are given.
///
/// ```
/// use cofferdam::resilience::config::{StackSettings, from_vars};
/// use std::time::Duration;
///
/// let vars = [
///     ("SEARCH__ATTEMPT_TIMEOUT", "250ms"),
///     ("SEARCH__RETRY__BACKOFF__BASE", "20ms"),
///     ("SEARCH__THROTTLE__QUOTA", "50/s burst 10"),
///     ("OTHER__THROTTLE__QUOTA", "1/s"),
/// ];
/// let settings: StackSettings = from_vars("SEARCH", vars)?;
/// assert_eq!(settings.attempt_timeout, Some(Duration::from_millis(250)));
/// assert_eq!(settings.retry.unwrap().backoff.base, Duration::from_millis(20));
///
/// let error = from_vars::<StackSettings, _, _>("SEARCH", [("SEARCH__RETRY__MAX_ATTEMPTS", "three")]).unwrap_err();
/// assert_eq!(error.to_string(), "SEARCH__RETRY__MAX_ATTEMPTS: \"three\": must be a whole number of at least 0");
/// # Ok::<(), cofferdam::resilience::config::EnvError>(())
/// ```
///
/// # Errors
/// As there.
pub fn from_vars<T: DeserializeOwned, N: AsRef<str>, V: Into<String>>(
    prefix: &str,
    vars: impl IntoIterator<Item = (N, V)>,
) -> Result<T, EnvError> {
    let mut tree = Tree::default();
    for (name, value) in vars {
        let name = name.as_ref();
        let (head, rest) = name.split_at_checked(prefix.len()).unwrap_or((name, ""));
        let Some(path) = rest.strip_prefix(SEPARATOR) else { continue };
        if head.eq_ignore_ascii_case(prefix) {
            tree.add(path, name, value.into())?;
        }
    }
    T::deserialize(Node { name: prefix.to_owned(), tree: Branch::Below(tree) })
}

const SEPARATOR: &str = "__";

/// Settings could not be read from variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvError {
    /// The variable, or what its name begins with.
    name: Option<String>,
    message: String,
}

impl EnvError {
    /// The variable, as far as it is known.
    pub fn variable(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn at(self, name: &str) -> Self {
        Self { name: self.name.or_else(|| Some(name.to_owned())), ..self }
    }
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for EnvError {}

impl Error for EnvError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { name: None, message: message.to_string() }
    }
}

/// Variables by the parts of their names.
#[derive(Default)]
struct Tree(BTreeMap<String, Node>);

struct Node {
    /// The variable as it is called, or what the names of those below begin with.
    name: String,
    tree: Branch,
}

enum Branch {
    Value(String),
    Below(Tree),
}

impl Tree {
    fn add(&mut self, path: &str, name: &str, value: String) -> Result<(), EnvError> {
        let (part, rest) = match path.split_once(SEPARATOR) {
            Some((part, rest)) => (part, Some(rest)),
            None => (path, None),
        };
        let conflict = || EnvError::custom("is both a value and the beginning of other names").at(name);
        let known = self.0.entry(part.to_ascii_lowercase());
        let Some(rest) = rest else {
            return match known {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(Node { name: name.to_owned(), tree: Branch::Value(value) });
                    Ok(())
                }
                std::collections::btree_map::Entry::Occupied(there) => Err(match &there.get().tree {
                    Branch::Below(_) => conflict(),
                    Branch::Value(_) if there.get().name == name => {
                        EnvError::custom("is given twice").at(name)
                    }
                    Branch::Value(_) => {
                        let other = &there.get().name;
                        EnvError::custom(format_args!("is given twice, as {other} too")).at(name)
                    }
                }),
            };
        };
        let begins = name.len() - rest.len() - SEPARATOR.len();
        let below = || Node {
            name: name.get(..begins).unwrap_or(name).to_owned(),
            tree: Branch::Below(Tree::default()),
        };
        match &mut known.or_insert_with(below).tree {
            Branch::Below(tree) => tree.add(rest, name, value),
            Branch::Value(_) => Err(conflict()),
        }
    }
}

impl Node {
    fn value(self, must: &'static str) -> Result<(String, String), EnvError> {
        match self.tree {
            Branch::Value(value) => Ok((self.name, value)),
            Branch::Below(_) => Err(EnvError::custom(must).at(&self.name)),
        }
    }

    fn parse<T: std::str::FromStr>(self, must: &'static str) -> Result<(String, T), EnvError> {
        let (name, value) = self.value(must)?;
        match value.trim().parse() {
            Ok(parsed) => Ok((name, parsed)),
            Err(_) => Err(EnvError::custom(format_args!("{value:?}: {must}")).at(&name)),
        }
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty, $must:literal;)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, EnvError> {
            let (name, value) = self.parse::<$type>($must)?;
            visitor.$visit(value).map_err(|error: EnvError| error.at(&name))
        })+
    };
}

impl<'de> Deserializer<'de> for Node {
    type Error = EnvError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, EnvError> {
        let Self { name, tree } = self;
        let read = match tree {
            Branch::Value(value) => visitor.visit_string(value),
            Branch::Below(tree) => visitor.visit_map(Entries { entries: tree.0.into_iter(), value: None }),
        };
        read.map_err(|error| error.at(&name))
    }

    parsed! {
        deserialize_bool visit_bool bool, "must be true or false";
        deserialize_u8 visit_u64 u64, "must be a whole number of at least 0";
        deserialize_u16 visit_u64 u64, "must be a whole number of at least 0";
        deserialize_u32 visit_u64 u64, "must be a whole number of at least 0";
        deserialize_u64 visit_u64 u64, "must be a whole number of at least 0";
        deserialize_i8 visit_i64 i64, "must be a whole number";
        deserialize_i16 visit_i64 i64, "must be a whole number";
        deserialize_i32 visit_i64 i64, "must be a whole number";
        deserialize_i64 visit_i64 i64, "must be a whole number";
        deserialize_f32 visit_f64 f64, "must be a number";
        deserialize_f64 visit_f64 f64, "must be a number";
    }

    /// What is there is something.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, EnvError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, EnvError> {
        visitor.visit_newtype_struct(self)
    }

    /// A word, or the one name below.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, EnvError> {
        let Self { name, tree } = self;
        let read = match tree {
            Branch::Value(word) => visitor.visit_enum(word.trim().to_ascii_lowercase().into_deserializer()),
            Branch::Below(tree) if tree.0.len() == 1 => {
                visitor.visit_enum(Variant(MapAccessDeserializer::new(Entries {
                    entries: tree.0.into_iter(),
                    value: None,
                })))
            }
            Branch::Below(_) => Err(EnvError::custom(format_args!("must be one of {variants:?}"))),
        };
        read.map_err(|error| error.at(&name))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// One name, and what is below it.
struct Variant(MapAccessDeserializer<Entries>);

impl<'de> EnumAccess<'de> for Variant {
    type Error = EnvError;
    type Variant = <MapAccessDeserializer<Entries> as EnumAccess<'de>>::Variant;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), EnvError> {
        self.0.variant_seed(seed)
    }
}

struct Entries {
    entries: std::collections::btree_map::IntoIter<String, Node>,
    value: Option<Node>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = EnvError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, EnvError> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        let name = node.name.clone();
        self.value = Some(node);
        let key: StringDeserializer<EnvError> = key.into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.at(&name))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, EnvError> {
        match self.value.take() {
            Some(node) => seed.deserialize(node),
            None => Err(EnvError::custom("a value was asked for before its name")),
        }
    }
}
