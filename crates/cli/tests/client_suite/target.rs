//! Which servers the suite runs against, by the environment variable `CLIENT_SUITE`.

use std::path::PathBuf;

/// The servers of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One Gamekeeper.
    Gamekeeper,
    /// One Apache ZooKeeper, standalone.
    Apache,
    /// Three Apache ZooKeepers, an ensemble.
    ApacheThree,
}

impl Target {
    /// The target that the environment names.
    ///
    /// # Errors
    ///
    /// A name that stands for none.
    pub(crate) fn from_environment() -> Result<Self, String> {
        match std::env::var("CLIENT_SUITE").as_deref() {
            Err(_) | Ok("" | "gamekeeper") => Ok(Self::Gamekeeper),
            Ok("apache") => Ok(Self::Apache),
            Ok("apache-3") => Ok(Self::ApacheThree),
            Ok(other) => Err(format!("CLIENT_SUITE is {other:?}; known are gamekeeper, apache and apache-3")),
        }
    }

    /// How many servers make up an ensemble of this target.
    pub(crate) fn members(self) -> usize {
        match self {
            Self::Gamekeeper | Self::Apache => 1,
            Self::ApacheThree => 3,
        }
    }

    /// How many ensembles for tests that do harm run side by side. A JVM takes a second of processor time to start, so
    /// more of them would only make each other miss their deadlines.
    pub(crate) fn ensembles_max(self) -> usize {
        match self {
            Self::Gamekeeper => 8,
            Self::Apache => 3,
            Self::ApacheThree => 2,
        }
    }

    /// The command line of one server with `{config}` in place of its configuration's path. `CLIENT_SUITE_SERVER`
    /// replaces the one for [`Target::Gamekeeper`], so that another build can be tried.
    pub(crate) fn command(self) -> Vec<String> {
        match self {
            Self::Gamekeeper => match std::env::var("CLIENT_SUITE_SERVER") {
                Ok(command) if !command.is_empty() => command.split_whitespace().map(str::to_owned).collect(),
                Ok(_) | Err(_) => [env!("CARGO_BIN_EXE_gamekeeper"), "serve", "{config}"].map(str::to_owned).to_vec(),
            },
            Self::Apache | Self::ApacheThree => {
                let script = workspace().join("interop/peers/apache-zookeeper");
                vec![script.display().to_string(), "server".to_owned(), "{config}".to_owned()]
            }
        }
    }
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
