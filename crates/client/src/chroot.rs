//! The path under which a client lives: put in front of what it sends, taken off what it is told.
//!
//! Several handles with different chroots share one session; the server knows nothing of them.

use std::borrow::Cow;
use std::sync::Arc;

use gk_proto::path;

use crate::Error;

/// A chroot: empty, or a valid path other than the root.
#[derive(Clone, Debug)]
pub(crate) struct Chroot(Arc<str>);

impl Chroot {
    /// Of a connect string, which has checked it.
    pub(crate) fn new(chroot: Arc<str>) -> Self {
        Self(chroot)
    }

    /// None.
    pub(crate) fn none() -> Self {
        Self("".into())
    }

    /// One below this one.
    pub(crate) fn below(&self, inner: &str) -> Result<Self, Error> {
        let path = self.absolute(inner)?;
        Ok(Self(if path == "/" { "".into() } else { (*path).into() }))
    }

    /// As it was given, `/` if there is none.
    pub(crate) fn as_path(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }

    /// The path on the server of a path of the program's, which must be valid.
    pub(crate) fn absolute<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, Error> {
        if !path::is_valid(path) {
            return Err(Error::BadArgument { what: bad_path(path) });
        }
        Ok(self.prepend(path))
    }

    /// The same for the path of a sequential node, which may end in a slash: the number follows.
    pub(crate) fn absolute_sequential<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, Error> {
        // The number stands for the last component.
        let is_valid = if path.ends_with('/') { path::is_valid(&format!("{path}0")) } else { path::is_valid(path) };
        if !is_valid {
            return Err(Error::BadArgument { what: bad_path(path) });
        }
        Ok(self.prepend(path))
    }

    fn prepend<'a>(&self, path: &'a str) -> Cow<'a, str> {
        match (self.0.is_empty(), path) {
            (true, _) => path.into(),
            (false, "/") => self.0.to_string().into(),
            (false, _) => [&*self.0, path].concat().into(),
        }
    }

    /// The path of the program's for a path on the server; unchanged if it lies outside (as for `/zookeeper/config`).
    pub(crate) fn relative(&self, path: String) -> String {
        if self.0.is_empty() {
            return path;
        }
        match path.strip_prefix(&*self.0) {
            Some("") => "/".to_owned(),
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            Some(_) | None => path,
        }
    }
}

fn bad_path(path: &str) -> String {
    let hint = if path.is_empty() {
        "it is empty"
    } else if !path.starts_with('/') {
        "it does not begin with a slash"
    } else if path.ends_with('/') {
        "it ends with a slash"
    } else if path.contains("//") {
        "it has an empty component"
    } else {
        "`.` and `..`, control characters and some rare ones are not allowed"
    };
    format!("{path:?} is not the path of a node: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_in_and_come_out_as_the_program_knows_them() {
        let none = Chroot::none();
        let app = none.below("/app").unwrap();
        let deep = app.below("/x").unwrap();
        for (chroot, inner, outer) in [
            (&none, "/a", "/a"),
            (&none, "/", "/"),
            (&app, "/a/b", "/app/a/b"),
            (&app, "/", "/app"),
            (&deep, "/a", "/app/x/a"),
        ] {
            assert_eq!(chroot.absolute(inner).unwrap(), outer, "in");
            assert_eq!(chroot.relative(outer.to_owned()), inner, "out");
        }
        assert_eq!(none.below("/").unwrap().as_path(), "/", "the root is no chroot");
        assert_eq!(app.relative("/application".to_owned()), "/application", "a name that begins alike");
        assert_eq!(app.absolute_sequential("/q/").unwrap(), "/app/q/", "only a number as name");
    }

    #[test]
    fn bad_paths_say_what_is_wrong() {
        let chroot = Chroot::none();
        for (path, hint) in
            [("", "empty"), ("a", "slash"), ("/a/", "ends"), ("/a//b", "component"), ("/a/../b", "`..`")]
        {
            let error = chroot.absolute(path).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }
}
