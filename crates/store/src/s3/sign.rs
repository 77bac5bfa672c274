//! Signatures of Amazon's version 4, in headers.
//!
//! The well-kept signing libraries either sign addresses in advance (then the body is not signed,
//! and a server that knows nothing of checksum headers takes damaged bytes) or come with a client
//! of their own. With the body's SHA-256 in the signature, every server since 2012 verifies what
//! it received. Hash and MAC are those of the build; what is here is the layout of the text.
//!
//! Source: AWS documentation, "Authenticating Requests: Using the Authorization Header".

use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

use crate::digest::hex;
use crate::http::Request;
use crate::{Error, ErrorKind, Secret};

/// Who signs.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: Secret,
    /// Of temporary credentials.
    pub(super) token: Option<Secret>,
}

/// SHA-256 of no bytes.
pub(super) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Adds the headers that prove who sends the request, at `now` and for `region`. The SHA-256 of
/// the body is taken from the header `x-amz-content-sha256`.
pub(super) fn sign(
    request: &mut Request<'_>,
    keys: &Keys,
    region: &str,
    now: SystemTime,
) -> Result<(), Error> {
    let invalid = |_| {
        request
            .error(ErrorKind::ClockSkew)
            .because("this machine's clock shows no usable time")
    };
    let timestamp = jiff::Timestamp::try_from(now).map_err(invalid)?;
    let time = timestamp.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = time.get(..8).unwrap_or_default();
    request.set_header("x-amz-date", time.clone());
    if let Some(token) = &keys.token {
        request.set_header("x-amz-security-token", token.expose().to_owned());
    }
    let (host, path) = split(&request.url);
    let mut headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .filter(|(name, _)| {
            name.starts_with("x-amz-") || *name == "range" || *name == "if-none-match"
        })
        .map(|(name, value)| (*name, value.trim()))
        .chain([("host", host)])
        .collect();
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let payload = request
        .headers
        .iter()
        .find(|(name, _)| *name == "x-amz-content-sha256");
    let payload = payload.map_or(EMPTY, |(_, value)| value.as_str());
    let canonical = format!(
        "{}\n{path}\n{}\n{lines}\n{names}\n{payload}",
        request.method.as_str(),
        request.query_string(),
    );
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(canonical))
    );
    let mut key = mac(format!("AWS4{}", keys.secret.expose()).as_bytes(), day);
    for part in [region, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &text));
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
        keys.id
    );
    request.set_header("authorization", value);
    Ok(())
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Host (with its port unless it is the usual one) and path.
fn split(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let usual = if scheme == "http" { ":80" } else { ":443" };
    (
        host.strip_suffix(usual).unwrap_or(host),
        if path.is_empty() { "/" } else { path },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;
    use crate::http::Method;

    /// The examples of Amazon's documentation.
    #[track_caller]
    fn check(request: Request<'_>, signature: &str) {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            token: None,
        };
        let now = jiff::Timestamp::from_second(1_369_353_600)
            .unwrap()
            .try_into()
            .unwrap();
        let mut request = request;
        if !request
            .headers
            .iter()
            .any(|(name, _)| *name == "x-amz-content-sha256")
        {
            request.set_header("x-amz-content-sha256", EMPTY.to_owned());
        }
        sign(&mut request, &keys, "us-east-1", now).unwrap();
        let (_, value) = request
            .headers
            .iter()
            .find(|(name, _)| *name == "authorization")
            .unwrap();
        assert!(
            value.ends_with(&format!("Signature={signature}")),
            "{value}"
        );
    }

    fn get(path: &str) -> Request<'static> {
        let url = format!("https://examplebucket.s3.amazonaws.com{path}");
        Request::new(Method::Get, url, "test", Operation::Read, "x")
    }

    #[test]
    fn the_examples_of_the_documentation() {
        check(
            get("/test.txt").header("range", "bytes=0-9"),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        );
        check(
            get("/").query("lifecycle", ""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        );
        check(
            get("/").query("max-keys", "2").query("prefix", "J"),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        );
    }
}
