//! The modes in which one connection watches one path.

use gk_proto::watch::WatcherType;

use super::WatchKind;

/// A set of modes. Each is there or not, whatever the others do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Modes(u8);

impl Modes {
    pub(super) const NONE: Self = Self(0);
    /// One-shot, in the data table.
    const DATA: Self = Self(1);
    /// One-shot, in the child table.
    const CHILD: Self = Self(2);
    /// In both tables.
    const PERSISTENT: Self = Self(4);
    /// In the data table, fired by everything below too.
    pub(super) const RECURSIVE: Self = Self(8);

    /// What fires in the data table, at the path itself.
    pub(super) const DATA_TABLE: Self = Self(Self::DATA.0 | Self::PERSISTENT.0 | Self::RECURSIVE.0);
    /// What fires in the child table.
    pub(super) const CHILD_TABLE: Self = Self(Self::CHILD.0 | Self::PERSISTENT.0);
    /// What firing uses up.
    pub(super) const ONE_SHOT: Self = Self(Self::DATA.0 | Self::CHILD.0);

    pub(super) fn of_kind(kind: WatchKind) -> Self {
        match kind {
            WatchKind::Data => Self::DATA,
            WatchKind::Child => Self::CHILD,
            WatchKind::Persistent => Self::PERSISTENT,
            WatchKind::PersistentRecursive => Self::RECURSIVE,
        }
    }

    /// What checkWatches and removeWatches mean by a type.
    pub(super) fn of_type(kind: WatcherType) -> Self {
        match kind {
            WatcherType::Children => Self::CHILD,
            WatcherType::Data => Self::DATA,
            WatcherType::Any => Self::DATA_TABLE.with(Self::CHILD_TABLE),
            WatcherType::Persistent => Self::PERSISTENT,
            WatcherType::PersistentRecursive => Self::RECURSIVE,
        }
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn intersects(self, other: Self) -> bool {
        self.and(other) != Self::NONE
    }

    pub(super) fn in_data_table(self) -> bool {
        self.intersects(Self::DATA_TABLE)
    }

    pub(super) fn in_child_table(self) -> bool {
        self.intersects(Self::CHILD_TABLE)
    }
}
