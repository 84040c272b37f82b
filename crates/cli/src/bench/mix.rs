//! What is asked of the servers, and in which proportion.

use std::fmt;
use std::str::FromStr;

use gk_proto::rng::Rng;

/// One kind of work in a mix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// The data of a node.
    Read,
    /// New data for a node.
    Write,
    /// The stat of a node.
    Exists,
    /// The names of all nodes.
    Children,
    /// A node comes and goes: half of these are creates, half deletes.
    CreateDelete,
    /// The same with an ephemeral node.
    Ephemeral,
    /// A watch is set on a node, the node is written, and the event is waited for.
    Watch,
    /// A server catches up with its leader.
    Sync,
}

/// One row of the report: what was sent to the server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Operation {
    Read,
    Write,
    Exists,
    Children,
    Create,
    Delete,
    CreateEphemeral,
    DeleteEphemeral,
    Watch,
    Sync,
}

/// Kinds of work with their weights.
///
/// Invariants:
/// - No kind occurs twice, and at least one weight is not zero (`what_cannot_be_meant_is_refused_with_the_choice`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mix {
    entries: Vec<(Work, u32)>,
    total: u64,
}

/// The largest weight: enough for any proportion that a run could show.
const WEIGHT_MAX: u32 = 1_000_000;

/// Names for common proportions.
const PRESETS: &[(&str, &str)] = &[("mixed", "read=90,write=10"), ("reads", "read=100"), ("writes", "write=100")];

impl Work {
    const ALL: [Self; 8] = [
        Self::Read,
        Self::Write,
        Self::Exists,
        Self::Children,
        Self::CreateDelete,
        Self::Ephemeral,
        Self::Watch,
        Self::Sync,
    ];

    /// Its name in a mix.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exists => "exists",
            Self::Children => "children",
            Self::CreateDelete => "create-delete",
            Self::Ephemeral => "ephemeral",
            Self::Watch => "watch",
            Self::Sync => "sync",
        }
    }
}

impl Operation {
    /// How many there are.
    pub(crate) const COUNT: usize = 10;

    /// All, in the order of the report.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Read,
        Self::Write,
        Self::Exists,
        Self::Children,
        Self::Create,
        Self::Delete,
        Self::CreateEphemeral,
        Self::DeleteEphemeral,
        Self::Watch,
        Self::Sync,
    ];

    /// Its place in [`Operation::ALL`].
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::Exists => 2,
            Self::Children => 3,
            Self::Create => 4,
            Self::Delete => 5,
            Self::CreateEphemeral => 6,
            Self::DeleteEphemeral => 7,
            Self::Watch => 8,
            Self::Sync => 9,
        }
    }

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exists => "exists",
            Self::Children => "children",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::CreateEphemeral => "create-ephemeral",
            Self::DeleteEphemeral => "delete-ephemeral",
            Self::Watch => "watch",
            Self::Sync => "sync",
        }
    }
}

impl Mix {
    /// One kind of work, drawn by weight.
    pub(crate) fn pick(&self, rng: &mut Rng) -> Work {
        if let [(work, _)] = self.entries.as_slice() {
            return *work;
        }
        let mut left = rng.below(self.total);
        for (work, weight) in &self.entries {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return *work,
            }
        }
        panic!("{self}: the weights do not add up to {}", self.total)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut mix = Self { entries: Vec::new(), total: 0 };
        for part in text.split(',').map(str::trim) {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let work = Work::ALL.into_iter().find(|work| work.name() == name);
            let work = work.ok_or_else(|| format!("no operation is called \"{name}\"; {}", choice()))?;
            if mix.entries.iter().any(|(other, _)| *other == work) {
                return Err(format!("\"{name}\" is named twice"));
            }
            let weight = weight.parse().ok().filter(|weight| *weight <= WEIGHT_MAX);
            let weight = weight
                .ok_or_else(|| format!("the weight of \"{name}\" is not a whole number from 0 to {WEIGHT_MAX}"))?;
            mix.entries.push((work, weight));
            mix.total += u64::from(weight);
        }
        mix.entries.retain(|(_, weight)| *weight > 0);
        if mix.entries.is_empty() {
            return Err("all weights are 0: there is nothing to do".to_owned());
        }
        Ok(mix)
    }
}

fn choice() -> String {
    let operations: Vec<_> = Work::ALL.into_iter().map(Work::name).collect();
    let presets: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
    format!("there are {}, and the presets {}", operations.join(", "), presets.join(", "))
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let preset = PRESETS.iter().find(|(name, _)| *name == text.trim());
        Self::parse(preset.map_or(text, |(_, mix)| mix))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (work, weight)) in self.entries.iter().enumerate() {
            write!(f, "{}{}={weight}", if at == 0 { "" } else { "," }, work.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Mix>().unwrap().to_string()
    }

    #[test]
    fn operations_weights_and_presets_are_read() {
        assert_eq!(shown("mixed"), "read=90,write=10", "preset");
        assert_eq!(shown("reads"), "read=100", "preset");
        assert_eq!(shown("ephemeral"), "ephemeral=1", "one operation needs no weight");
        assert_eq!(shown("read=3, create-delete=1,sync=0"), "read=3,create-delete=1", "weight 0 is none");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_choice() {
        for (text, reason) in [
            ("", "no operation is called \"\"; there are read, write, exists"),
            ("red=90,write=10", "no operation is called \"red\""),
            ("mixed=3", "no operation is called \"mixed\""),
            ("read=90,read=10", "\"read\" is named twice"),
            ("read=-1", "weight of \"read\""),
            ("read=1000001", "weight of \"read\""),
            ("read=90%", "weight of \"read\""),
            ("read=0", "nothing to do"),
        ] {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn works_are_drawn_by_weight() {
        let mix: Mix = "read=90,write=10".parse().unwrap();
        let mut rng = Rng::new(1);
        let writes = (0..10_000).filter(|_| mix.pick(&mut rng) == Work::Write).count();
        assert!((900..1_100).contains(&writes), "{writes} of 10,000");
    }

    #[test]
    fn operations_stand_at_their_index() {
        for (at, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation.index(), at, "{operation:?}");
        }
    }
}
