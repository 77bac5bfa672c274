//! Calls of Dropbox's functions, and what their errors mean.

use serde_json::Value;

use super::Dropbox;
use crate::http::{Answer, Method, Refusal, Request};
use crate::{Error, ErrorKind, Operation};

impl Dropbox {
    /// Calls a function whose arguments and result are JSON.
    pub(super) fn function(
        &self,
        function: &'static str,
        arguments: &Value,
        operation: Operation,
        object: &dyn std::fmt::Display,
    ) -> Result<Answer, Error> {
        let url = format!(
            "{}/2/{function}",
            self.http.environment.endpoints.dropbox_api
        );
        let request = Request::new(Method::Post, url, function, operation, object).json(arguments);
        self.http.call(&self.account, &request)
    }

    /// A request with arguments in a header, for content in the body of request or answer.
    pub(super) fn content(
        &self,
        method: Method,
        function: &'static str,
        arguments: &Value,
        operation: Operation,
        object: &dyn std::fmt::Display,
    ) -> Request<'static> {
        let url = format!(
            "{}/2/{function}",
            self.http.environment.endpoints.dropbox_content
        );
        Request::new(method, url, function, operation, object)
            .header("dropbox-api-arg", ascii(arguments))
    }
}

/// JSON for a header: what is not ASCII is escaped.
fn ascii(value: &Value) -> String {
    let mut text = String::new();
    for character in value.to_string().chars() {
        if character.is_ascii() && !character.is_ascii_control() {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                text += &format!("\\u{unit:04x}");
            }
        }
    }
    text
}

/// Source: Dropbox's documentation for HTTP developers, section on errors: the kind is in tags.
pub(super) fn kind_of(refusal: &Refusal) -> ErrorKind {
    let json = refusal.json();
    let mut tags = Vec::new();
    collect_tags(json.get("error").unwrap_or(&Value::Null), &mut tags, 0);
    let has = |wanted: &str| tags.iter().any(|tag| tag == wanted);
    match refusal.status {
        _ if has("too_many_write_operations")
            || has("too_many_requests")
            || has("too_many_files") =>
        {
            ErrorKind::Busy
        }
        _ if has("insufficient_space") => ErrorKind::Full,
        _ if has("conflict") || has("shared_link_already_exists") => ErrorKind::AlreadyExists,
        _ if has("not_found") || has("closed") || has("shared_link_not_found") => {
            ErrorKind::NotFound
        }
        _ if has("not_file") || has("not_folder") => ErrorKind::NotFound,
        _ if has("content_hash_mismatch") => ErrorKind::Corrupt,
        _ if has("no_write_permission")
            || has("no_permission")
            || has("missing_scope")
            || has("access_denied")
            || has("not_authorized") =>
        {
            ErrorKind::Denied
        }
        409 => ErrorKind::Invalid,
        _ => refusal.usual_kind(),
    }
}

fn collect_tags(value: &Value, tags: &mut Vec<String>, depth: u32) {
    let Some(map) = value.as_object().filter(|_| depth < 8) else {
        return;
    };
    if let Some(tag) = map.get(".tag").and_then(Value::as_str) {
        tags.push(tag.to_owned());
    }
    for value in map.values() {
        collect_tags(value, tags, depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_ascii() {
        let value = serde_json::json!({"path": "/ü/😀\u{7f}"});
        let text = ascii(&value);
        assert_eq!(text, r#"{"path":"/\u00fc/\ud83d\ude00\u007f"}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
