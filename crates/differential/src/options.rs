//! How both servers of a run are configured.

use std::fmt;

use crate::chance::Chance;

/// The digest user whom both servers let do anything.
pub(crate) const SUPER: &str = "super:suite";

/// `super:` and the digest of [`SUPER`], as `DigestAuthenticationProvider.superDigest` wants it.
const SUPER_DIGEST: &str = "super:byqk9J+vIAxISordpK5TdXrJG2w=";

/// Shortest and longest session timeout: nothing expires within a run, however busy the machine.
pub(crate) const SESSION_TIMEOUTS_MS: (i32, i32) = (1_200_000, 2_400_000);

/// `jute.maxbuffer` unless it is set.
const BUFFER_MAX: usize = 0xf_ffff;

/// What differs from run to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(crate) enforces_quota: bool,
    pub(crate) has_extended_types: bool,
    pub(crate) is_reconfig_enabled: bool,
    /// Whether only who is known by `digest` may ask for anything.
    pub(crate) enforces_auth: bool,
    pub(crate) skips_acl: bool,
    /// `jute.maxbuffer`
    pub(crate) buffer_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enforces_quota: false,
            has_extended_types: true,
            is_reconfig_enabled: false,
            enforces_auth: false,
            skips_acl: false,
            buffer_max: BUFFER_MAX,
        }
    }
}

impl Options {
    /// Those of a seed; seeds next to each other mostly share them, as servers start slowly.
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed / SEEDS_A_CONFIGURATION);
        Self {
            enforces_quota: chance.percent(60),
            has_extended_types: chance.percent(80),
            is_reconfig_enabled: chance.percent(30),
            // Each of these two changes nearly everything: a few seeds of two hundred, but always a few.
            enforces_auth: (seed / SEEDS_A_CONFIGURATION) % 8 == 3,
            skips_acl: (seed / SEEDS_A_CONFIGURATION) % 8 == 6,
            buffer_max: if chance.percent(40) { SMALL_BUFFER_MAX } else { BUFFER_MAX },
        }
    }

    /// Reads `NAME=VALUE`.
    pub(crate) fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').ok_or("an option is NAME=VALUE")?;
        let flag = || value.parse().map_err(|_| format!("{name} is true or false"));
        match name {
            "enforceQuota" => self.enforces_quota = flag()?,
            "extendedTypesEnabled" => self.has_extended_types = flag()?,
            "enforce.auth" => self.enforces_auth = flag()?,
            "skipACL" => self.skips_acl = flag()?,
            "reconfigEnabled" => self.is_reconfig_enabled = flag()?,
            "jute.maxbuffer" => self.buffer_max = value.parse().map_err(|_| "no number")?,
            _ => return Err("unknown option".to_owned()),
        }
        Ok(())
    }

    /// The lines of a `zoo.cfg` but for ports and directories. Nothing is reaped within a run, and txns are not forced to
    /// the disk: durability is not at issue here.
    pub(crate) fn lines(&self) -> String {
        let (shortest, longest) = SESSION_TIMEOUTS_MS;
        format!(
            "tickTime=2000\nminSessionTimeout={shortest}\nmaxSessionTimeout={longest}\nmaxClientCnxns=0\n\
             4lw.commands.whitelist=*\nadmin.enableServer=false\nforceSync=no\nsnapCount=10000000\n\
             DigestAuthenticationProvider.superDigest={SUPER_DIGEST}\nenforceQuota={}\nextendedTypesEnabled={}\n\
             reconfigEnabled={}\n\
             enforce.auth.enabled={}\n{}{}",
            self.enforces_quota,
            self.has_extended_types,
            self.is_reconfig_enabled,
            self.enforces_auth,
            if self.enforces_auth { "enforce.auth.schemes=digest\n" } else { "" },
            if self.skips_acl { "skipACL=yes\n" } else { "" },
        )
    }

    /// Properties that ZooKeeper takes from no configuration file.
    pub(crate) fn properties(&self) -> String {
        format!("-Dznode.container.checkIntervalMs=86400000 -Djute.maxbuffer={}", self.buffer_max)
    }
}

/// How many seeds share one configuration, and so servers.
const SEEDS_A_CONFIGURATION: u64 = 8;

/// Requests near it are common, and it does not hold up the rest.
const SMALL_BUFFER_MAX: usize = 5_000;

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let flags = [
            ("enforceQuota", self.enforces_quota, default.enforces_quota),
            ("extendedTypesEnabled", self.has_extended_types, default.has_extended_types),
            ("enforce.auth", self.enforces_auth, default.enforces_auth),
            ("skipACL", self.skips_acl, default.skips_acl),
            ("reconfigEnabled", self.is_reconfig_enabled, default.is_reconfig_enabled),
        ];
        for (name, value, _) in flags.iter().filter(|(_, value, default)| value != default) {
            writeln!(f, "option {name}={value}")?;
        }
        if self.buffer_max != default.buffer_max {
            writeln!(f, "option jute.maxbuffer={}", self.buffer_max)?;
        }
        Ok(())
    }
}
