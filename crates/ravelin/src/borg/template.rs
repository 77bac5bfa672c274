//! Patterns with `{keys}`: formats of lists, names of archives with placeholders.
//!
//! The form is that of Python's `str.format`, as far as Borg's documentation uses it: a key, and
//! behind a colon how wide it is and where it stands, or for a time a pattern of `strftime`.

use jiff::civil::DateTime;

use super::text;

/// A pattern, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Field { key: String, how: String },
}

/// What stands for a key.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Bytes(Vec<u8>),
    Text(String),
    Number(i64),
    /// Of the local clock, shown by this pattern unless the field says another one.
    Time(DateTime, &'static str),
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn number(number: impl TryInto<i64>) -> Self {
        Self::Number(number.try_into().unwrap_or(i64::MAX))
    }
}

impl Template {
    /// Takes a pattern apart; the error says what is wrong with it.
    pub(crate) fn parse(pattern: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '{' if characters.next_if_eq(&'{').is_some() => literal.push('{'),
                '}' if characters.next_if_eq(&'}').is_some() => literal.push('}'),
                '{' => {
                    let mut field = String::new();
                    loop {
                        match characters.next() {
                            Some('}') => break,
                            Some(character) => field.push(character),
                            None => return Err("expected '}' before end of string".into()),
                        }
                    }
                    let (key, how) = field.split_once(':').unwrap_or((&field, ""));
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Field {
                        key: key.into(),
                        how: how.into(),
                    });
                }
                '}' => return Err("Single '}' encountered in format string".into()),
                character => literal.push(character),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// The keys in it.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Field { key, .. } => Some(key.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Puts values in the place of keys. The error is a key that has none.
    pub(crate) fn fill<E: From<String>>(
        &self,
        mut value: impl FnMut(&str) -> Result<Option<Value>, E>,
    ) -> Result<Vec<u8>, E> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Field { key, how } => match value(key)? {
                    Some(value) => value.write(how, &mut out),
                    None => return Err(key.clone().into()),
                },
            }
        }
        Ok(out)
    }
}

/// What a field says about how it is written.
#[derive(Default)]
struct How {
    fill: Option<char>,
    align: Option<char>,
    plus: bool,
    thousands: bool,
    width: usize,
    precision: Option<usize>,
    kind: Option<char>,
}

impl How {
    fn parse(text: &str) -> Self {
        let mut how = Self::default();
        let all: Vec<char> = text.chars().collect();
        let is_align = |c: Option<&char>| c.is_some_and(|c| "<>^=".contains(*c));
        let mut at = 0;
        if is_align(all.get(1)) {
            how.fill = all.first().copied();
            how.align = all.get(1).copied();
            at = 2;
        } else if is_align(all.first()) {
            how.align = all.first().copied();
            at = 1;
        }
        if let Some('+' | '-' | ' ') = all.get(at) {
            how.plus = all.get(at) == Some(&'+');
            at += 1;
        }
        if all.get(at) == Some(&'0') && how.fill.is_none() {
            how.fill = Some('0');
            how.align = how.align.or(Some('='));
        }
        let number = |at: &mut usize| {
            let mut number = 0usize;
            while let Some(digit) = all.get(*at).and_then(|c| c.to_digit(10)) {
                number = number.saturating_mul(10).saturating_add(digit as usize);
                *at += 1;
            }
            number.min(1 << 16)
        };
        how.width = number(&mut at);
        if all.get(at) == Some(&',') {
            how.thousands = true;
            at += 1;
        }
        if all.get(at) == Some(&'.') {
            at += 1;
            how.precision = Some(number(&mut at));
        }
        how.kind = all.get(at).copied();
        how
    }
}

impl Value {
    fn write(&self, how: &str, out: &mut Vec<u8>) {
        let (body, is_number) = match self {
            Self::Bytes(bytes) if how.is_empty() => return out.extend_from_slice(bytes),
            Self::Bytes(bytes) => (text::path(bytes), false),
            Self::Text(text) => (text.clone(), false),
            Self::Time(time, pattern) => {
                let pattern = if how.is_empty() { pattern } else { how };
                return out.extend_from_slice(text::strftime(*time, pattern).as_bytes());
            }
            Self::Number(number) => (number.to_string(), true),
        };
        let how = How::parse(how);
        let body = match (self, how.kind) {
            (Self::Number(number), Some('x')) => format!("{number:x}"),
            (Self::Number(number), Some('o')) => format!("{number:o}"),
            (Self::Number(_), _) if how.thousands => grouped(&body),
            (Self::Number(number), _) if how.plus && *number >= 0 => format!("+{body}"),
            (Self::Number(_), _) => body,
            _ => match how.precision {
                Some(precision) => body.chars().take(precision).collect(),
                None => body,
            },
        };
        let missing = how.width.saturating_sub(body.chars().count());
        let fill = how.fill.unwrap_or(' ');
        let (left, right) = match how.align {
            Some('<') => (0, missing),
            Some('^') => (missing / 2, missing - missing / 2),
            Some('>' | '=') => (missing, 0),
            _ if is_number => (missing, 0),
            _ => (0, missing),
        };
        let pad = |count: usize| std::iter::repeat_n(fill, count).collect::<String>();
        out.extend_from_slice(pad(left).as_bytes());
        out.extend_from_slice(body.as_bytes());
        out.extend_from_slice(pad(right).as_bytes());
    }
}

fn grouped(digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let mut out = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Keys that stand for characters.
pub(crate) fn character(key: &str) -> Option<Value> {
    let text = match key {
        "LF" | "NEWLINE" | "NL" => "\n",
        "SPACE" => " ",
        "TAB" => "\t",
        "CR" => "\r",
        "NUL" => "\0",
        _ => return None,
    };
    Some(Value::text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pattern: &str) -> String {
        let filled = Template::parse(pattern).unwrap().fill(|key| {
            Ok::<_, String>(match key {
                "name" => Some(Value::text("ada")),
                "size" => Some(Value::Number(12345)),
                _ => character(key),
            })
        });
        String::from_utf8(filled.unwrap_or_else(|key| format!("no {key}").into_bytes())).unwrap()
    }

    #[test]
    fn fields_are_written_as_python_does() {
        for (pattern, text) in [
            ("{name}{NL}", "ada\n"),
            ("{name:<6}|", "ada   |"),
            ("{name:>6}|", "   ada|"),
            ("{name:*^7}|", "**ada**|"),
            ("{name:6}|", "ada   |"),
            ("{name:.2}|", "ad|"),
            ("{size:8d}|", "   12345|"),
            ("{size:<8}|", "12345   |"),
            ("{size:08}|", "00012345|"),
            ("{size:,}", "12,345"),
            ("{{{name}}}", "{ada}"),
            ("{unknown}", "no unknown"),
        ] {
            assert_eq!(filled(pattern), text, "{pattern}");
        }
        assert!(Template::parse("{name").is_err());
        assert!(Template::parse("a}b").is_err());
    }
}
