//! Which of several sources of one key counts: lines of the file, `-D` on the command line, JVMFLAGS.

use super::error::{Notice, Place, Severity};
use super::keys::{self, Fate, Form, Key, Source};
use super::properties::Property;
use std::collections::BTreeMap;

/// A `-Dkey=value`, as a JVM takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemProperty {
    /// Where it was given.
    pub at: Place,
    /// Its name, with `zookeeper.` where it has one.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// One value that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) at: Place,
    /// As written.
    pub(super) key: String,
    pub(super) value: String,
}

/// The values that count, by the one spelling of their key, and the lines about members of the ensemble.
#[derive(Debug, Default)]
pub(super) struct Settings {
    found: BTreeMap<String, Setting>,
    pub(super) members: Vec<Setting>,
}

impl Settings {
    pub(super) fn get(&self, name: &'static str) -> Option<&Setting> {
        assert!(keys::find(name).is_some_and(|key| key.name == name), "{name} is not in the table of keys");
        self.found.get(name)
    }

    /// Sorts out the lines of `file` and the `system` properties, and remarks on each that has not its full effect.
    pub(super) fn collect(
        file: &str,
        properties: Vec<Property>,
        system: &[SystemProperty],
        notices: &mut Vec<Notice>,
    ) -> Self {
        let mut settings = Self::default();
        for property in last_of_each(file, properties, notices) {
            settings.add_line(property, notices);
        }
        for property in system {
            settings.add_system(property, notices);
        }
        settings
    }

    fn add_line(&mut self, setting: Setting, notices: &mut Vec<Notice>) {
        if is_membership(&setting.key) {
            self.members.push(setting);
            return;
        }
        match find_in_file(&setting.key) {
            Some(key) => {
                remark(key, &setting, notices);
                self.found.insert(canonical(&setting.key), setting);
            }
            None => notices.push(setting.notice(
                Severity::Warning,
                "unknown key, ignored; check its spelling (ZooKeeper would ignore it without a word)",
            )),
        }
    }

    fn add_system(&mut self, property: &SystemProperty, notices: &mut Vec<Notice>) {
        let setting = Setting { at: property.at.clone(), key: property.key.clone(), value: property.value.clone() };
        let prefixed = property.key.strip_prefix(PREFIX);
        let Some(key) = keys::find(prefixed.unwrap_or(&property.key)) else {
            // Without the prefix it is the business of the JVM or of some library in it.
            if prefixed.is_some() {
                notices.push(setting.notice(Severity::Warning, "unknown property, ignored; check its spelling"));
            }
            return;
        };
        let file_wins = match (key.source, prefixed.is_some()) {
            (Source::Property | Source::Both | Source::Bare, true) | (Source::Both, false) => true,
            (Source::Bare, false) => false,
            // `multiAddress.*` are the only native keys that ZooKeeper reads from properties as well.
            (Source::Native(_), true) if key.name.starts_with("multiAddress.") => true,
            (Source::Native(_), true) => {
                notices.push(setting.notice(Severity::Warning, "ignored: this key is read from the file only"));
                return;
            }
            (Source::Native(_) | Source::Property, false) => return,
        };
        let name = canonical(prefixed.unwrap_or(&property.key));
        match self.found.get(&name) {
            Some(line) if file_wins && matches!(line.at, Place::Line(..)) => return,
            Some(line) if matches!(line.at, Place::Line(..)) && line.value != setting.value => {
                notices.push(line.notice(
                    Severity::Warning,
                    "overridden by the -D of the same name, which is all that ZooKeeper reads",
                ));
            }
            Some(_) | None => {}
        }
        remark(key, &setting, notices);
        self.found.insert(name, setting);
    }

    /// Native keys that are set, with the form ZooKeeper requires of them.
    pub(super) fn natives(&self) -> impl Iterator<Item = (&Setting, Form)> {
        keys::all().filter_map(|key| match key.source {
            Source::Native(form) => self.found.get(key.name).map(|setting| (setting, form)),
            Source::Property | Source::Bare | Source::Both => None,
        })
    }
}

impl Setting {
    pub(super) fn notice(&self, severity: Severity, text: impl Into<String>) -> Notice {
        Notice { at: self.at.clone(), key: self.key.clone(), severity, text: text.into() }
    }

    pub(super) fn is(&self, value: &str) -> bool {
        self.value.eq_ignore_ascii_case(value)
    }
}

/// Whether a key speaks about members of the ensemble.
pub(super) fn is_membership(key: &str) -> bool {
    ["server.", "group.", "weight."].iter().any(|prefix| key.starts_with(prefix))
}

/// A plain line may carry the prefix that the property has, except for keys that are no property.
fn find_in_file(written: &str) -> Option<Key> {
    match written.strip_prefix(PREFIX) {
        Some(name) => keys::find(name).filter(|key| !matches!(key.source, Source::Native(_))),
        None => keys::find(written),
    }
}

/// The last line of each key, in the order of the file.
fn last_of_each(file: &str, properties: Vec<Property>, notices: &mut Vec<Notice>) -> Vec<Setting> {
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for property in &properties {
        last.insert(canonical(&property.key), property.line);
    }
    let mut settings = Vec::new();
    for Property { key, value, line } in properties {
        let counts = last[&canonical(&key)];
        let setting = Setting { at: Place::Line(file.to_owned(), line), key, value };
        if counts == line {
            settings.push(setting);
        } else {
            notices.push(setting.notice(Severity::Info, format!("given again on line {counts}, which counts")));
        }
    }
    settings
}

/// One spelling for keys that mean the same; members of a family keep their own names.
fn canonical(written: &str) -> String {
    let plain = written.strip_prefix(PREFIX).unwrap_or(written);
    match find_in_file(written) {
        Some(key) if keys::all().any(|listed| listed.name == key.name) => key.name.to_owned(),
        Some(_) => plain.to_owned(),
        None => written.to_owned(),
    }
}

fn remark(key: Key, setting: &Setting, notices: &mut Vec<Notice>) {
    match key.fate {
        Fate::Honoured | Fate::Ensemble => {}
        // What is switched off and what is not there are the same.
        Fate::NotOffered(_) if matches!(setting.value.to_ascii_lowercase().as_str(), "false" | "0" | "-1") => {}
        Fate::NotOffered(_) if provides_digest_or_ip(setting) || keeps_default_metrics(setting) => {}
        Fate::NotOffered(area) => {
            let text = format!("accepted, but {} not offered yet: it has no effect and opens no port", area.name());
            notices.push(setting.notice(Severity::Warning, text));
        }
        Fate::JavaOnly => {
            notices.push(setting.notice(Severity::Info, "ignored: it tunes the inside of the Java server"));
        }
    }
}

/// `authProvider.N` may name a provider that is always there.
fn provides_digest_or_ip(setting: &Setting) -> bool {
    let class = setting.value.rsplit('.').next().unwrap_or_default();
    setting.key.trim_start_matches(PREFIX).starts_with("authProvider.")
        && matches!(class, "DigestAuthenticationProvider" | "IPAuthenticationProvider")
}

fn keeps_default_metrics(setting: &Setting) -> bool {
    setting.key == "metricsProvider.className" && !setting.value.contains("Prometheus")
}

/// Before the name of nearly every system property that ZooKeeper reads.
const PREFIX: &str = "zookeeper.";
