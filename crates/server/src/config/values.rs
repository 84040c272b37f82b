//! Typed reading of settings, with ZooKeeper's idea of a number, a flag and a size.

use super::error::{ConfigError, Notice, Problem, Severity};
use super::settings::{Setting, Settings};
use gk_proto::Millis;

/// Reads settings by name; remarks go to `notices`.
pub(super) struct Values<'a> {
    pub(super) settings: &'a Settings,
    pub(super) notices: &'a mut Vec<Notice>,
}

impl Values<'_> {
    /// The text of a key, unless it is absent or empty.
    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.settings.get(name).map(|setting| setting.value.as_str()).filter(|text| !text.is_empty())
    }

    /// A whole number between `min` and `max`.
    pub(super) fn number(&self, name: &'static str, min: i64, max: i64) -> Result<Option<i64>, ConfigError> {
        self.settings.get(name).map(|setting| number(setting, min, max)).transpose()
    }

    /// A number of anything, of which a value below 1 means "off": `None` is absent, `Some(None)` is off.
    pub(super) fn limit<T: TryFrom<i64>>(&self, name: &'static str) -> Result<Option<Option<T>>, ConfigError> {
        let found = self.number(name, i64::from(i32::MIN), i64::from(i32::MAX))?;
        Ok(found.map(|value| if value < 1 { None } else { T::try_from(value).ok() }))
    }

    /// A size given in KB, in bytes; below 1 means "off" as with [`Values::limit`].
    pub(super) fn kilobytes(&self, name: &'static str) -> Result<Option<Option<u64>>, ConfigError> {
        let found = self.number(name, i64::MIN / 1024, i64::MAX / 1024)?;
        Ok(found.map(|value| u64::try_from(value).ok().filter(|value| *value > 0).map(|value| value * 1024)))
    }

    /// Milliseconds, not negative.
    pub(super) fn millis(&self, name: &'static str) -> Result<Option<Millis>, ConfigError> {
        let found = self.number(name, 0, i64::from(i32::MAX))?;
        Ok(found.map(|value| Millis(value.unsigned_abs())))
    }

    /// A count that is at least `min` and fits 31 bits, as in Java.
    pub(super) fn count(&self, name: &'static str, min: i64) -> Result<Option<u32>, ConfigError> {
        let found = self.number(name, min, i64::from(i32::MAX))?;
        Ok(found.and_then(|value| u32::try_from(value).ok()))
    }

    /// A native flag: anything but `true` and `false` is fatal.
    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, ConfigError> {
        self.settings.get(name).map(boolean).transpose()
    }

    /// A flag among the properties: ZooKeeper takes all that is not `true` for false, so we do, but say so.
    pub(super) fn property_flag(&mut self, name: &'static str, default: bool) -> bool {
        let Some(setting) = self.settings.get(name) else {
            return default;
        };
        if !setting.is("true") && !setting.is("false") {
            let text = "neither true nor false, taken for false as in ZooKeeper; write true or false";
            self.notices.push(setting.notice(Severity::Warning, text));
        }
        setting.is("true")
    }
}

impl Setting {
    /// This setting is wrong: `problem`.
    pub(super) fn wrong(&self, problem: Problem) -> ConfigError {
        ConfigError { at: self.at.clone(), problem }
    }
}

/// A whole number, decimal or with `0x` (which Java takes for `jute.maxbuffer`).
pub(super) fn number(setting: &Setting, min: i64, max: i64) -> Result<i64, ConfigError> {
    let text = setting.value.as_str();
    let parsed = match text.strip_prefix("0x") {
        Some(digits) if setting.key.contains("jute.") => i64::from_str_radix(digits, 16).ok(),
        Some(_) | None => text.parse().ok(),
    };
    parsed.filter(|value| (min..=max).contains(value)).ok_or_else(|| {
        setting.wrong(Problem::NotANumber { key: setting.key.clone(), value: setting.value.clone(), min, max })
    })
}

/// `true` or `false` in any case of letters.
pub(super) fn boolean(setting: &Setting) -> Result<bool, ConfigError> {
    if setting.is("true") || setting.is("false") {
        return Ok(setting.is("true"));
    }
    Err(setting.wrong(Problem::NotABoolean { key: setting.key.clone(), value: setting.value.clone() }))
}
