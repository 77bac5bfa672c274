//! Reading one TOML table at a time: each key is asked for by name, and what nobody asked for
//! is a mistake. All mistakes are collected; reading goes on with a stand-in value.

use std::cell::RefCell;
use std::ops::Range;

use toml_edit::{Item, TableLike, Value};

use super::mistake::{Fault, Mistake, nearest};

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It stands in the file, on this line.
    Line(usize),
    /// It is not in the file.
    Default,
}

/// One setting as it is in effect, for `config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key as a dotted path: `layer.disk.store`.
    pub key: String,
    /// The value in TOML.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// The text of a configuration with what was found in it so far.
pub(super) struct Reader<'a> {
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
    settings: RefCell<Vec<Setting>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            mistakes: RefCell::default(),
            settings: RefCell::default(),
        }
    }

    /// The table that is the whole file.
    pub(super) fn root<'r>(&'r self, table: &'r dyn TableLike) -> Section<'r> {
        Section::new(self, String::new(), 1, table)
    }

    pub(super) fn mistake(&self, line: usize, key: &str, fault: Fault) {
        self.mistakes.borrow_mut().push(Mistake {
            line,
            key: key.to_owned(),
            fault,
        });
    }

    /// The line, from 1, on which a byte stands.
    pub(super) fn line(&self, span: Option<Range<usize>>) -> usize {
        let start = span.map_or(0, |span| span.start).min(self.text.len());
        let before = self.text.as_bytes().get(..start).unwrap_or_default();
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// Everything that was read: the settings in effect, or the mistakes by line.
    pub(super) fn finish(self) -> Result<Vec<Setting>, Vec<Mistake>> {
        let mut mistakes = self.mistakes.into_inner();
        if mistakes.is_empty() {
            return Ok(self.settings.into_inner());
        }
        mistakes.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
        Err(mistakes)
    }
}

/// One table of the file.
pub(super) struct Section<'r> {
    reader: &'r Reader<'r>,
    path: String,
    line: usize,
    table: &'r dyn TableLike,
    asked: RefCell<Vec<&'static str>>,
}

impl<'r> Section<'r> {
    fn new(reader: &'r Reader<'r>, path: String, line: usize, table: &'r dyn TableLike) -> Self {
        Self {
            reader,
            path,
            line,
            table,
            asked: RefCell::default(),
        }
    }

    /// The line on which the table begins.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The dotted path of a key of this table; of the table itself for an empty key.
    pub(super) fn key(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// Notes a mistake about a key of this table.
    pub(super) fn mistake(&self, key: &str, fault: Fault) {
        let line = self.line_of(key).unwrap_or(self.line);
        self.reader.mistake(line, &self.key(key), fault);
    }

    /// Whether the file sets a key.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.item(key).is_some()
    }

    fn line_of(&self, key: &str) -> Option<usize> {
        let (key, item) = self.table.get_key_value(key)?;
        Some(self.reader.line(key.span().or_else(|| item.span())))
    }

    fn item(&self, key: &'static str) -> Option<&'r Item> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table.get(key).filter(|item| !item.is_none())
    }

    /// Whether the file sets a key to a string.
    pub(super) fn is_string(&self, key: &'static str) -> bool {
        self.item(key).is_some_and(Item::is_str)
    }

    /// Records the value in effect, for `config show`.
    pub(super) fn settled(&self, key: &'static str, value: impl Into<Value>) {
        let mut value = value.into();
        value.decor_mut().clear();
        self.settled_as_written(key, value.to_string());
    }

    /// Records the value in effect, given in TOML.
    pub(super) fn settled_as_written(&self, key: &'static str, value: String) {
        let origin = self.line_of(key).map_or(Origin::Default, Origin::Line);
        self.reader.settings.borrow_mut().push(Setting {
            key: self.key(key),
            value,
            origin,
        });
    }

    fn wrong_type(&self, key: &'static str, expected: &'static str, item: &Item) {
        let found = article(item.type_name());
        self.mistake(key, Fault::WrongType { expected, found });
    }

    /// A string, when the key is set.
    pub(super) fn string(&self, key: &'static str) -> Option<&'r str> {
        let item = self.item(key)?;
        match item.as_str() {
            Some("") => self.mistake(key, Fault::Empty),
            Some(text) => return Some(text),
            None => self.wrong_type(key, "a string", item),
        }
        None
    }

    /// A string that must be there.
    pub(super) fn required_string(&self, key: &'static str) -> Option<&'r str> {
        if !self.has(key) {
            self.mistake(key, Fault::Missing);
        }
        self.string(key)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let value = self.item(key).and_then(|item| {
            let flag = item.as_bool();
            if flag.is_none() {
                self.wrong_type(key, "true or false", item);
            }
            flag
        });
        let value = value.unwrap_or(default);
        self.settled(key, value);
        value
    }

    /// A count, when the key is set.
    pub(super) fn count(&self, key: &'static str) -> Option<u32> {
        let item = self.item(key)?;
        let Some(number) = item.as_integer() else {
            self.wrong_type(key, "a whole number", item);
            return None;
        };
        let count = u32::try_from(number).ok();
        if count.is_none() {
            self.mistake(
                key,
                Fault::BadValue {
                    value: number.to_string(),
                    expected: "a count of 0 or more",
                },
            );
        }
        count
    }

    /// A list of strings; a single string stands for a list of one.
    pub(super) fn strings(&self, key: &'static str) -> Vec<&'r str> {
        let Some(item) = self.item(key) else {
            return Vec::new();
        };
        if let Some(text) = item.as_str() {
            return vec![text];
        }
        let Some(array) = item.as_array() else {
            self.wrong_type(key, "a list of strings", item);
            return Vec::new();
        };
        let strings: Vec<&str> = array.iter().filter_map(Value::as_str).collect();
        if strings.len() != array.len() {
            let found = "a list with other values";
            let expected = "a list of strings";
            self.mistake(key, Fault::WrongType { expected, found });
        }
        strings
    }

    /// A value that is written as a string and read by `read`; `expected` says what it is, with
    /// its article and an example.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let item = self.item(key)?;
        if item.as_str().is_none() {
            self.wrong_type(key, expected, item);
            return None;
        }
        let text = self.string(key)?;
        let value = read(text);
        if value.is_none() {
            let value = text.to_owned();
            self.mistake(key, Fault::BadValue { value, expected });
        }
        value
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            self.unknown_word(key, text, words.iter().map(|&(word, _)| word));
        }
        found.map(|&(_, value)| value)
    }

    /// Notes that a word is none of those that may stand here.
    pub(super) fn unknown_word<'w>(
        &self,
        key: &'static str,
        value: &str,
        allowed: impl Iterator<Item = &'w str> + Clone,
    ) {
        self.mistake(
            key,
            Fault::UnknownWord {
                value: value.to_owned(),
                nearest: nearest(value, allowed.clone()),
                allowed: allowed.map(str::to_owned).collect(),
            },
        );
    }

    /// A table below this one, when the key is set.
    pub(super) fn table(&self, key: &'static str) -> Option<Self> {
        let item = self.item(key)?;
        let Some(table) = item.as_table_like() else {
            self.wrong_type(key, "a table", item);
            return None;
        };
        let line = self.line_of(key).unwrap_or(self.line);
        Some(Section::new(self.reader, self.key(key), line, table))
    }

    /// The tables of a `[[key]]` list.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Self> {
        let Some(item) = self.item(key) else {
            return Vec::new();
        };
        let tables: Vec<(&dyn TableLike, Option<Range<usize>>)> = match item {
            Item::ArrayOfTables(list) => list
                .iter()
                .map(|table| (table as &dyn TableLike, table.span()))
                .collect(),
            Item::Value(Value::Array(list)) if list.iter().all(Value::is_inline_table) => list
                .iter()
                .filter_map(Value::as_inline_table)
                .map(|table| (table as &dyn TableLike, table.span()))
                .collect(),
            _ => {
                self.wrong_type(key, "a list of tables", item);
                return Vec::new();
            }
        };
        let path = |index: usize| format!("{}[{}]", self.key(key), index + 1);
        tables
            .into_iter()
            .enumerate()
            .map(|(index, (table, span))| {
                Section::new(self.reader, path(index), self.reader.line(span), table)
            })
            .collect()
    }

    /// The tables whose names the user chose: each name with its table.
    pub(super) fn named_tables(&self) -> Vec<(&'r str, Self)> {
        let mut sections = Vec::new();
        for (name, item) in self.table.iter() {
            let line = self.line_of(name).unwrap_or(self.line);
            if let Some(table) = item.as_table_like() {
                let section = Section::new(self.reader, self.key(name), line, table);
                sections.push((name, section));
            } else {
                let found = article(item.type_name());
                let expected = "a table";
                self.mistake(name, Fault::WrongType { expected, found });
            }
        }
        sections
    }

    /// Records what a key says that has no other value in effect than what is written. Of an address, also
    /// of one in a list, only the kind: it may hold a password or a token.
    fn settle_rest(&self, key: &'static str, item: &Item) {
        let path = self.key(key);
        let settings = self.reader.settings.borrow();
        let is_settled = settings.iter().any(|setting| setting.key == path);
        drop(settings);
        let shown = match item {
            _ if is_settled => return,
            Item::Value(Value::String(text)) => Value::from(without_address(text.value())),
            Item::Value(Value::Array(list)) if list.iter().any(Value::is_inline_table) => return,
            Item::Value(Value::Array(list)) if list.iter().all(Value::is_str) => {
                let words = list.iter().filter_map(Value::as_str);
                Value::Array(words.map(without_address).collect())
            }
            // Tables are read key by key.
            Item::Value(Value::InlineTable(_)) => return,
            Item::Value(value) => value.clone(),
            _ => return,
        };
        self.settled(key, shown);
    }

    /// Ends the reading of this table: keys that nobody asked for are mistakes, and what those that were
    /// asked for say is recorded. Keys of `elsewhere` are known, but belong to layers of the kind that
    /// stands beside them.
    pub(super) fn end(self, elsewhere: &[(&'static str, &'static str)]) {
        for (key, item) in self.table.iter() {
            let asked = self.asked.borrow();
            if let Some(&key) = asked.iter().find(|&&known| known == key) {
                self.settle_rest(key, item);
            }
        }
        self.end_of_secret(elsewhere);
    }

    /// The same of a table that says where a secret is: it is one value.
    pub(super) fn end_of_secret(self, elsewhere: &[(&'static str, &'static str)]) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.iter() {
            if asked.contains(&key) {
                continue;
            }
            let fault = match elsewhere.iter().find(|&&(other, _)| other == key) {
                Some(&(_, kind)) => Fault::OtherKind { kind },
                None => Fault::UnknownKey {
                    nearest: nearest(key, asked.iter().copied()),
                },
            };
            self.mistake(key, fault);
        }
    }
}

/// A text; of an address in it only the kind, and whether a password stands there.
fn without_address(text: &str) -> String {
    match text.split_once("://") {
        Some((kind, _)) if super::has_password(text) => format!("{kind}://***:***@***"),
        Some((kind, _)) => format!("{kind}://***"),
        None => text.to_owned(),
    }
}

fn article(type_name: &str) -> &'static str {
    match type_name {
        "string" => "a string",
        "integer" => "a whole number",
        "float" => "a number with a point",
        "boolean" => "true or false",
        "datetime" => "a date",
        "array" => "a list",
        "inline table" | "table" => "a table",
        "array of tables" => "a list of tables",
        _ => "nothing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_nothing_is_shown_but_that_a_password_stands_in_it() {
        for (text, shown) in [
            ("pg_dump", "pg_dump"),
            ("https://example.org/TOKEN", "https://***"),
            ("https://me:secret@example.org/x", "https://***:***@***"),
        ] {
            assert_eq!(without_address(text), shown);
            assert_eq!(super::super::has_password(shown), shown.contains('@'));
        }
    }
}
