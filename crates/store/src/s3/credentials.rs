//! Where S3's keys come from: location, variables, profile file, the machine itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::sign::Keys;
use crate::http::{Anonymous, Http, Method, Request};
use crate::{Environment, Error, ErrorKind, Operation, S3Location, Secret};

/// Temporary keys are renewed so long before they end.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// Keys, renewed when they come from the machine.
pub(super) struct Credentials {
    fixed: Option<Keys>,
    temporary: Mutex<Option<(Keys, SystemTime)>>,
}

impl Credentials {
    /// Looks in the places where S3's own tools look, in their order.
    pub(super) fn find(location: &S3Location, environment: &Environment) -> Self {
        let fixed = from_location(location, environment)
            .or_else(|| from_variables(environment))
            .or_else(|| from_profile(environment));
        Self {
            fixed,
            temporary: Mutex::new(None),
        }
    }

    /// The keys for now.
    pub(super) fn keys(&self, http: &Http) -> Result<Keys, Error> {
        if let Some(keys) = &self.fixed {
            return Ok(keys.clone());
        }
        let now = (http.environment.clock)();
        let mut kept = self
            .temporary
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((keys, _)) = kept.as_ref().filter(|(_, end)| now + MARGIN < *end) {
            return Ok(keys.clone());
        }
        let renewed = from_machine(http)?;
        let keys = renewed.0.clone();
        *kept = Some(renewed);
        Ok(keys)
    }
}

fn from_location(location: &S3Location, environment: &Environment) -> Option<Keys> {
    let (id, secret) = match (&location.server, &location.key) {
        (Some(server), _) => (server.user.as_ref()?, &server.password),
        (None, Some((id, secret))) => (id, secret),
        (None, None) => return None,
    };
    let secret = environment.password.clone().or_else(|| secret.clone())?;
    Some(Keys {
        id: id.clone(),
        secret,
        token: None,
    })
}

fn from_variables(environment: &Environment) -> Option<Keys> {
    Some(Keys {
        id: environment.variable("AWS_ACCESS_KEY_ID")?,
        secret: Secret::new(environment.variable("AWS_SECRET_ACCESS_KEY")?),
        token: environment.variable("AWS_SESSION_TOKEN").map(Secret::new),
    })
}

fn from_profile(environment: &Environment) -> Option<Keys> {
    let text = profile_file(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
    let profile = profile(environment);
    Some(Keys {
        id: setting(&text, &profile, "aws_access_key_id")?,
        secret: Secret::new(setting(&text, &profile, "aws_secret_access_key")?),
        token: setting(&text, &profile, "aws_session_token").map(Secret::new),
    })
}

/// The region of variables or of the profile.
pub(super) fn region(environment: &Environment) -> Option<String> {
    let variable = |name| environment.variable(name);
    variable("AWS_REGION")
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .or_else(|| {
            let text = profile_file(environment, "AWS_CONFIG_FILE", "config")?;
            let profile = profile(environment);
            // In this file all profiles but the default one have a word before their name.
            setting(&text, &profile, "region")
                .or_else(|| setting(&text, &format!("profile {profile}"), "region"))
        })
}

fn profile(environment: &Environment) -> String {
    environment
        .variable("AWS_PROFILE")
        .unwrap_or_else(|| "default".to_owned())
}

fn profile_file(environment: &Environment, variable: &str, file_name: &str) -> Option<String> {
    let path = match environment.variable(variable) {
        Some(path) => path.into(),
        None => environment.home.as_ref()?.join(".aws").join(file_name),
    };
    std::fs::read_to_string(path).ok()
}

/// A value from a file of `[section]`s and `key = value` lines.
fn setting(text: &str, section: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            inside = name.trim() == section;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| inside)
            && name.trim() == key
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

/// Asks the machine's own metadata service, version 2.
fn from_machine(http: &Http) -> Result<(Keys, SystemTime), Error> {
    let base = format!("{}/latest", http.environment.endpoints.instance_metadata);
    let ask = |method, path: &str| {
        Request::new(
            method,
            format!("{base}/{path}"),
            "s3 instance",
            Operation::Open,
            "credentials",
        )
    };
    let none = |cause: Error| {
        Error::new(ErrorKind::SignIn, Operation::Open)
            .on("S3 credentials")
            .because(format!(
                "there are none in the location, in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in ~/.aws/credentials, and this machine has none of its own ({cause})"
            ))
    };
    let text = |request: &Request<'_>| -> Result<String, Error> {
        let answer = http.call_once(&Anonymous, request).map_err(none)?;
        Ok(String::from_utf8_lossy(&answer.bytes()?).trim().to_owned())
    };
    let token =
        text(&ask(Method::Put, "api/token").header("x-aws-ec2-metadata-token-ttl-seconds", "300"))?;
    let ask = |path: &str| ask(Method::Get, path).header("x-aws-ec2-metadata-token", token.clone());
    let role = text(&ask("meta-data/iam/security-credentials/"))?;
    let role = role.lines().next().unwrap_or_default();
    let request = ask(&format!(
        "meta-data/iam/security-credentials/{}",
        crate::http::encode(role)
    ));
    let answer: Answer = http.call_once(&Anonymous, &request).map_err(none)?.json()?;
    let end = answer
        .expiration
        .parse::<jiff::Timestamp>()
        .map_err(|error| request.error(ErrorKind::Invalid).because(error))?;
    let keys = Keys {
        id: answer.access_key_id,
        secret: Secret::new(answer.secret_access_key),
        token: answer.token.map(Secret::new),
    };
    let end = end.try_into().map_err(|_| {
        request
            .error(ErrorKind::Invalid)
            .because("the end of the credentials is no time")
    })?;
    Ok((keys, end))
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    /// Amazon's have one; there are clouds whose keys are just short-lived.
    token: Option<String>,
    expiration: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# mine\n[default]\naws_access_key_id = A1\naws_secret_access_key=S1\n\n[work]\naws_access_key_id=A2\naws_secret_access_key = S2=\n";

    #[test]
    fn profiles_are_told_apart() {
        assert_eq!(
            setting(FILE, "default", "aws_access_key_id").as_deref(),
            Some("A1")
        );
        assert_eq!(
            setting(FILE, "work", "aws_secret_access_key").as_deref(),
            Some("S2=")
        );
        assert_eq!(setting(FILE, "work", "aws_session_token"), None);
        assert_eq!(setting(FILE, "home", "aws_access_key_id"), None);
    }

    #[test]
    fn the_location_wins_over_variables_and_variables_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".aws")).unwrap();
        std::fs::write(folder.path().join(".aws/credentials"), FILE).unwrap();
        let mut environment = Environment {
            home: Some(folder.path().into()),
            ..Environment::fixed()
        };
        let find = |text: &str, environment: &Environment| {
            let Ok(crate::Location::S3(location)) = text.parse() else {
                panic!()
            };
            Credentials::find(&location, environment)
                .fixed
                .map(|keys| keys.id)
        };
        assert_eq!(find("s3:///b", &environment).as_deref(), Some("A1"));
        environment.variable =
            std::sync::Arc::new(|name| name.starts_with("AWS_").then(|| format!("V-{name}")));
        assert_eq!(
            find("s3:///b", &environment).as_deref(),
            Some("V-AWS_ACCESS_KEY_ID")
        );
        assert_eq!(find("s3://L:x@host/b", &environment).as_deref(), Some("L"));
        // A location that names the key only: the secret comes from the configuration.
        environment.password = Some(Secret::new("x"));
        assert_eq!(find("s3://L@/b", &environment).as_deref(), Some("L"));
    }
}
