//! Paths: of nodes that exist, of nodes that could, and of none.

use super::Draw;
use crate::model::Node;
use crate::script::Field;

/// Few names, so that sessions meet.
const NAMES: &[&str] = &["a", "b", "c", "d"];

/// Names that are allowed, though they do not look it.
const RARE_NAMES: &[&str] = &["ü", "日本", "...", ".x", "a b", "x\u{a0}y", "\u{d7ff}", "0000000001", "zookeeper"];

/// What is no path of a node, or of none that may be touched.
const BAD_PATHS: &[&[u8]] = &[
    b"",
    b"a",
    b"/a/",
    b"/a//b",
    b"//",
    b"/./a",
    b"/a/..",
    b"/a/../b",
    b"/a\0b",
    b"/a/\x01",
    b"/a\x7f",
    b"/\xee\x80\x80",
    b"/\xf0\x9f\x8e\x89",
    b"/\xef\xbf\xbd",
    b"/a\xff\xfe",
    b"/\xed\xa0\xbc",
    b"/nothing",
    b"/nothing/below",
    b"/zookeeper",
    b"/zookeeper/config",
    b"/zookeeper/quota",
    b"/",
];

/// Deep enough for recursive watches, low enough for sessions to meet.
const DEPTH_MAX: usize = 4;

/// Below which no node is drawn for a write, but by those who know what they do.
const RESERVED: &str = "/zookeeper/";

impl Draw {
    /// A node that is there, mostly one that everybody may use.
    pub(super) fn existing(&mut self) -> String {
        let any = self.chance.percent(15);
        self.some(|path, node| (any || !node.is_guarded) && !path.starts_with(RESERVED))
    }

    /// A node that may have children.
    fn parent(&mut self) -> String {
        let any = self.chance.percent(9);
        let may = |path: &str, node: &Node| {
            any || (node.owner.is_none() && !node.is_guarded && path.matches('/').count() < DEPTH_MAX)
        };
        if self.chance.percent(25) {
            return String::new();
        }
        let path = self.some(|path, node| may(path, node) && !path.starts_with(RESERVED));
        if path == "/" { String::new() } else { path }
    }

    /// A node without children.
    pub(super) fn leaf(&mut self) -> String {
        let any = self.chance.percent(10);
        self.model
            .some(&mut self.chance, |model, path, _| {
                !path.starts_with(RESERVED)
                    && (any || !model.has_children(path))
                    && (any || !model.node(parent_of(path)).is_some_and(|parent| parent.is_guarded))
            })
            .unwrap_or_else(|| "/a".to_owned())
    }

    /// A node that is not there, below one that is.
    pub(super) fn absent(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..6 {
            path = format!("{}/{}", self.parent(), self.name());
            if self.model.node(&path).is_none() || self.chance.percent(5) {
                return path;
            }
        }
        path
    }

    /// What a sequential node is called without its number.
    pub(super) fn prefix(&mut self) -> String {
        let name = if self.chance.percent(30) { "" } else { "n-" };
        format!("{}/{name}", self.parent())
    }

    /// Any path, there or not.
    pub(super) fn any(&mut self) -> String {
        match self.chance.below(20) {
            0..11 => self.existing(),
            11..15 => self.absent(),
            15 => "/".to_owned(),
            16 => self.some(|path, _| path.starts_with(RESERVED)),
            17 => self.chance.pick(&["/zookeeper", "/zookeeper/config", "/zookeeper/quota", "/nothing"]).to_owned(),
            _ => format!("/{}", self.name()),
        }
    }

    /// A path as a field, now and then a bad one instead.
    pub(super) fn path(&mut self, path: &str) -> Field {
        if self.chance.one_in(22) {
            return Field::Buffer(Some(self.chance.pick(BAD_PATHS).to_vec()));
        }
        Field::text(path)
    }

    fn name(&mut self) -> &'static str {
        let names = if self.chance.one_in(15) { RARE_NAMES } else { NAMES };
        self.chance.pick(names)
    }

    fn some(&mut self, suits: impl Fn(&str, &Node) -> bool) -> String {
        self.model.some(&mut self.chance, |_, path, node| suits(path, node)).unwrap_or_else(|| "/".to_owned())
    }
}

/// The path above.
fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
