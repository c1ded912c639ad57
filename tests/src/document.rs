//! JSON documents as they are written: duplicate keys, nulls and spellings of numbers included.

use std::fmt;

/// A JSON value that remembers how it is spelled.
#[derive(Debug, Clone, PartialEq)]
pub enum Doc {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, spelled so.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Doc>),
    /// An object; a key may be there more than once.
    Object(Vec<(String, Doc)>),
}

/// One change to one value inside of a document.
#[derive(Debug, Clone)]
pub enum Change {
    /// Removes the value (with its key).
    Remove,
    /// The value (with its key) is there twice.
    Duplicate,
    /// Replaces the value.
    Replace(Doc),
    /// The key becomes another; an item of a list becomes a string.
    Rename(String),
    /// Another key or item comes behind the value.
    Add(String, Doc),
}

impl Doc {
    /// An object with these fields.
    pub fn object<K: Into<String>>(fields: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Object(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// A list of strings.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(|text| Self::Text(text.into())).collect())
    }

    /// A whole number.
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self::Number(number.to_string())
    }

    /// A string.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The number of values inside of this one, at any depth.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::List(items) => items.iter().map(|item| 1 + item.len()).sum(),
            Self::Object(fields) => fields.iter().map(|(_, value)| 1 + value.len()).sum(),
            _ => 0,
        }
    }

    /// Whether there is no value inside of this one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The first value under `key`, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter_mut().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The items of a list; none for anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The items of a list, to be changed.
    ///
    /// # Panics
    ///
    /// When this is no list.
    pub fn items_mut(&mut self) -> &mut Vec<Self> {
        match self {
            Self::List(items) => items,
            other => panic!("not a list: {other}"),
        }
    }

    /// The fields of an object, to be changed.
    ///
    /// # Panics
    ///
    /// When this is no object.
    pub fn fields_mut(&mut self) -> &mut Vec<(String, Self)> {
        match self {
            Self::Object(fields) => fields,
            other => panic!("not an object: {other}"),
        }
    }

    /// Whether the JSON pointer (RFC 6901) leads to a value, through any of several equal keys.
    #[must_use]
    pub fn has(&self, pointer: &str) -> bool {
        let Some(path) = pointer.strip_prefix('/') else {
            return pointer.is_empty();
        };
        let (token, rest) = match path.find('/') {
            Some(at) => path.split_at(at),
            None => (path, ""),
        };
        let key = token.replace("~1", "/").replace("~0", "~");
        match self {
            Self::List(items) => {
                key.parse::<usize>().ok().and_then(|at| items.get(at)).is_some_and(|item| item.has(rest))
            }
            Self::Object(fields) => fields.iter().any(|(name, value)| *name == key && value.has(rest)),
            _ => false,
        }
    }

    /// Changes the value that is number `at`, counting from the outside in and from the front; nothing when there is
    /// no such value.
    pub fn change(&mut self, mut at: usize, change: &Change) {
        match self {
            Self::List(items) => {
                for place in 0..items.len() {
                    if at == 0 {
                        change_item(items, place, change);
                        return;
                    }
                    let inside = items[place].len();
                    if at <= inside {
                        items[place].change(at - 1, change);
                        return;
                    }
                    at -= 1 + inside;
                }
            }
            Self::Object(fields) => {
                for place in 0..fields.len() {
                    if at == 0 {
                        change_field(fields, place, change);
                        return;
                    }
                    let inside = fields[place].1.len();
                    if at <= inside {
                        fields[place].1.change(at - 1, change);
                        return;
                    }
                    at -= 1 + inside;
                }
            }
            _ => {}
        }
    }

    /// The document as YAML in block style.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        self.write_yaml(&mut text, 0);
        text
    }

    fn write_yaml(&self, text: &mut String, indent: usize) {
        // Words of the policy languages, as people write them in YAML.
        const PLAIN: [&str; 5] = ["any", "archive", "expire", "tagged", "untagged"];
        let margin = format!("\n{}", " ".repeat(indent));
        match self {
            Self::List(items) if !items.is_empty() => {
                for item in items {
                    *text += &format!("{margin}- ");
                    item.write_yaml(text, indent + 2);
                }
            }
            Self::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    *text += &format!("{margin}{key}: ");
                    value.write_yaml(text, indent + 2);
                }
            }
            Self::Text(word) if PLAIN.contains(&word.as_str()) => *text += word,
            // Numbers, quoted strings and empty brackets are the same in JSON; only that JSON holds characters as they
            // are that YAML wants escaped.
            other => {
                for character in other.to_string().chars() {
                    if character.is_control() || matches!(character, '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
                        *text += &format!("\\u{:04x}", u32::from(character));
                    } else {
                        text.push(character);
                    }
                }
            }
        }
    }
}

fn change_item(items: &mut Vec<Doc>, place: usize, change: &Change) {
    match change {
        Change::Remove => drop(items.remove(place)),
        Change::Duplicate => items.insert(place, items[place].clone()),
        Change::Replace(value) => items[place] = value.clone(),
        Change::Rename(name) => items[place] = Doc::text(name.as_str()),
        Change::Add(_, value) => items.insert(place + 1, value.clone()),
    }
}

fn change_field(fields: &mut Vec<(String, Doc)>, place: usize, change: &Change) {
    match change {
        Change::Remove => drop(fields.remove(place)),
        Change::Duplicate => fields.insert(place, fields[place].clone()),
        Change::Replace(value) => fields[place].1 = value.clone(),
        Change::Rename(name) => fields[place].0.clone_from(name),
        Change::Add(name, value) => fields.insert(place + 1, (name.clone(), value.clone())),
    }
}

impl fmt::Display for Doc {
    /// Compact JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| serde_json::to_string(text).map_err(|_| fmt::Error);
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(spelling) => f.write_str(spelling),
            Self::Text(text) => f.write_str(&quoted(text)?),
            Self::List(items) => {
                f.write_str("[")?;
                for (place, item) in items.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                for (place, (key, value)) in fields.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(f, "{comma}{}:{value}", quoted(key)?)?;
                }
                f.write_str("}")
            }
        }
    }
}
