//! Text that must not reach a log, an error message or `conf`.

use std::fmt;

/// A secret from the configuration, such as the digest of `super`.
///
/// `Debug` and `Display` show `<redacted>`: whoever prints a whole [`super::Config`] prints no secret (ZooKeeper logged
/// its own: CVE-2026-24308). [`Secret::expose`] is the one way to the text, so that every use can be found by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, to compare with what a client sent; never to be formatted.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_redacted_however_it_is_formatted() {
        let secret = Secret::new("super:canary");
        for shown in [format!("{secret}"), format!("{secret:?}"), format!("{:#?}", Some(&secret))] {
            assert!(!shown.contains("canary"), "shown as {shown}");
        }
        assert_eq!(secret.expose(), "super:canary", "and yet usable");
    }
}
