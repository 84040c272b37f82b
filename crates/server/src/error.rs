//! Why a server cannot start or cannot go on.

use std::net::SocketAddr;
use std::path::PathBuf;

use gk_storage::StorageError;

/// Why a server did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The data directory could not be opened, or the disk failed under the running server.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The client port is taken or may not be used.
    #[error("cannot listen on {address}: {source}; is another server running there? choose another clientPort")]
    Listen {
        /// What was asked for.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The name of clientPortAddress means nothing here.
    #[error("cannot resolve {address}: {source}; check clientPortAddress")]
    Resolve {
        /// What was asked for.
        address: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// The secret behind session passwords cannot be read or made.
    #[error(
        "cannot use the session key {path}: {source}; if it is damaged, remove it: sessions made under it then end"
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The operating system refused something else that a server needs.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl ServeError {
    /// For `map_err`: which thing that a server needs was refused.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// How a server that served came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// A signal asked for it; its number.
    Signal(i32),
}

/// What a started server tells whoever started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Addresses on which clients are accepted.
    pub addresses: Vec<SocketAddr>,
}
