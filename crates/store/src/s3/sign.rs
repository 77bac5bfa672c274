//! Signatures of Amazon's version 4, in headers, made by Amazon's own library for it.
//!
//! The smaller libraries sign addresses in advance: then the body is not signed, and a server that
//! knows nothing of checksum headers takes damaged bytes. With the body's SHA-256 in the signature,
//! every server verifies what it received.
//!
//! Source: AWS documentation, "Authenticating Requests: Using the Authorization Header".

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningInstructions, SigningSettings, UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;

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
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Adds the headers that prove who sends the request, at `now` and for `region`. The SHA-256 of
/// the body is taken from the header `x-amz-content-sha256`.
pub(super) fn sign(
    request: &mut Request<'_>,
    keys: &Keys,
    region: &str,
    now: SystemTime,
) -> Result<(), Error> {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let payload = request
        .header_value("x-amz-content-sha256")
        .unwrap_or(EMPTY);
    let body = SignableBody::Precomputed(payload.to_owned());
    let instructions = instructions(request, body, settings, keys, region, now)?;
    let (proof, _) = instructions.into_parts();
    for header in proof {
        request.set_header(header.name(), header.value().to_owned());
    }
    Ok(())
}

/// The address of the request, with what proves that whoever holds the keys gave it away: from
/// `now`, for `life`.
///
/// Source: AWS documentation, "Authenticating Requests: Using Query Parameters".
pub(super) fn presign(
    request: &Request<'_>,
    keys: &Keys,
    region: &str,
    now: SystemTime,
    life: Duration,
) -> Result<String, Error> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(life);
    let body = SignableBody::UnsignedPayload;
    let instructions = instructions(request, body, settings, keys, region, now)?;
    let (_, proof) = instructions.into_parts();
    let mut address = request.uri();
    for (name, value) in proof {
        address.push(if address.contains('?') { '&' } else { '?' });
        address.push_str(name);
        address.push('=');
        address.extend(percent_encoding::utf8_percent_encode(&value, QUERY));
    }
    Ok(address)
}

fn instructions(
    request: &Request<'_>,
    body: SignableBody<'_>,
    mut settings: SigningSettings,
    keys: &Keys,
    region: &str,
    now: SystemTime,
) -> Result<SigningInstructions, Error> {
    // What the library says may hold the address, and the address a session key.
    let invalid = || {
        request
            .error(ErrorKind::Invalid)
            .because("the request cannot be signed")
    };
    // The library makes a date of it, and panics over years without a name.
    if jiff::Timestamp::try_from(now).is_err() {
        return Err(request
            .error(ErrorKind::ClockSkew)
            .because("this machine's clock shows no usable time"));
    }
    let token = keys.token.as_ref().map(|token| token.expose().to_owned());
    let identity = Credentials::new(&keys.id, keys.secret.expose(), token, None, "ravelin").into();
    // The address is what is sent: S3 normalises nothing.
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("s3")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|_| invalid())?
        .into();
    // A proxy may change the others, and a former try may have set those of the signature.
    let signed = |name: &str| {
        matches!(name, "range" | "if-none-match" | "x-amz-copy-source")
            || name.starts_with("x-amz-checksum-")
    };
    let headers = request.headers.iter().filter(|(name, _)| signed(name));
    let signable = SignableRequest::new(
        request.method.as_str(),
        request.uri(),
        headers.map(|(name, value)| (*name, value.as_str())),
        body,
    )
    .map_err(|_| invalid())?;
    let output = aws_sigv4::http_request::sign(signable, &params).map_err(|_| invalid())?;
    Ok(output.into_parts().0)
}

/// All signs but those that need no quoting in a query.
const QUERY: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;
    use crate::http::Method;

    /// Keys and time of the examples in Amazon's documentation.
    fn documented() -> (Keys, SystemTime) {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            token: None,
        };
        let now = jiff::Timestamp::from_second(1_369_353_600).unwrap();
        (keys, now.try_into().unwrap())
    }

    /// The examples of Amazon's documentation.
    #[track_caller]
    fn check(request: Request<'_>, signature: &str) {
        let (keys, now) = documented();
        let mut request = request;
        sign(&mut request, &keys, "us-east-1", now).unwrap();
        let value = request.header_value("authorization").unwrap();
        assert!(
            value.ends_with(&format!("Signature={signature}")),
            "{value}"
        );
    }

    #[test]
    fn the_example_of_an_address_in_the_documentation() {
        let (keys, now) = documented();
        let life = Duration::from_secs(86_400);
        let address = presign(&get("/test.txt"), &keys, "us-east-1", now, life).unwrap();
        let signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(
            address.contains(&format!("X-Amz-Signature={signature}")),
            "{address}"
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
