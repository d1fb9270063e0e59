//! The bearer token.

use super::error::ApiError;
use anyhow::{Context, Result, bail};
use axum::http::{HeaderMap, StatusCode, header};
use std::fs;
use std::path::Path;
use subtle::ConstantTimeEq;

/// Holds the token if no file does.
pub const VARIABLE: &str = "ESMM_FUNNEL_TOKEN";

/// A token, if one is asked for; its text is never shown.
pub struct Token(Option<Vec<u8>>);
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Token(…)" } else { "Token(none)" })
    }
}

impl Token {
    /// From a file, else from the environment; with what to warn of.
    ///
    /// # Errors
    /// A file that cannot be read, or no token in it.
    pub fn load(file: Option<&Path>) -> Result<(Self, Option<String>)> {
        let Some(path) = file else {
            return match std::env::var(VARIABLE) {
                Ok(text) => Ok((Self(Some(checked(&text).with_context(|| format!("the variable {VARIABLE}"))?)), None)),
                Err(std::env::VarError::NotPresent) => Ok((Self(None), None)),
                Err(std::env::VarError::NotUnicode(_)) => bail!("the variable {VARIABLE} is not text"),
            };
        };
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("`--token-file {shown}`"))?;
        Ok((Self(Some(checked(&text).with_context(|| format!("`--token-file {shown}`"))?)), open_to_others(path)))
    }

    /// Whether a token is asked for.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// # Errors
    /// A request without the token.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(token) = &self.0 else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).map(axum::http::HeaderValue::as_bytes);
        let bearer = given.filter(|g| g.len() > 7 && g[..7].eq_ignore_ascii_case(b"bearer ")).map(|g| &g[7..]);
        // Takes as long for a token that is almost right as for any other of its length.
        if bearer.is_some_and(|b| b.ct_eq(token).into()) {
            return Ok(());
        }
        let message = if given.is_some() { "the token is another" } else { "a token is needed: `Authorization: Bearer TOKEN`" };
        Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message))
    }
}

fn checked(text: &str) -> Result<Vec<u8>> {
    let token = text.trim();
    if token.is_empty() {
        bail!("the token is empty");
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        bail!("a token is one word of printable ASCII characters");
    }
    Ok(token.as_bytes().to_vec())
}

#[cfg(unix)]
fn open_to_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).ok()?.permissions().mode();
    let (shown, mode) = (path.display(), mode & 0o777);
    (mode & 0o004 != 0).then(|| format!("`--token-file {shown}` can be read by everyone (mode {mode:03o}); `chmod 600 {shown}` keeps it"))
}
#[cfg(not(unix))]
fn open_to_others(_: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_opens() {
        let token = Token(Some(b"secret".to_vec()));
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            token.check(&headers).is_ok()
        };
        assert!(with("Bearer secret") && with("bearer secret"));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "secret", "Basic secret", "Bearer  secret"] {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(token.check(&HeaderMap::new()).is_err() && Token(None).check(&HeaderMap::new()).is_ok());
        assert!(checked(" \n").is_err() && checked("a b").is_err() && checked("abc\n").is_ok());
    }
}
