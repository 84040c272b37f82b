//! Watch tables against a plain list of watches, searched whole for every change.

use std::collections::BTreeSet;
use std::sync::Arc;

use gk_proto::acl::{self, AclList};
use gk_proto::rng::Rng;
use gk_proto::watch::{EventType, WatcherType};
use gk_proto::{ConnId, Zxid, path};
use gk_tree::{Change, WatchKind, Watches};

use crate::for_seeds;
use crate::random::pick;

const PATHS: [&str; 7] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/b", "/b/b"];
const KINDS: [WatchKind; 4] =
    [WatchKind::Data, WatchKind::Child, WatchKind::Persistent, WatchKind::PersistentRecursive];

/// Path, connection, and place of the mode in [`KINDS`].
#[derive(Default)]
struct Model(BTreeSet<(&'static str, ConnId, usize)>);

const DATA: usize = 0;
const CHILD: usize = 1;
const PERSISTENT: usize = 2;
const RECURSIVE: usize = 3;

impl Model {
    /// Connections with one of `modes` at `at`; one-shot ones among them are used up.
    fn take(&mut self, at: &str, modes: &[usize]) -> BTreeSet<ConnId> {
        let hit = |(path, _, mode): &(&str, ConnId, usize)| *path == at && modes.contains(mode);
        let conns = self.0.iter().filter(|watch| hit(watch)).map(|(_, conn, _)| *conn).collect();
        self.0.retain(|watch| !hit(watch) || watch.2 == PERSISTENT || watch.2 == RECURSIVE);
        conns
    }

    fn fire(&mut self, kind: EventType, path: &str) -> Vec<(ConnId, EventType, String)> {
        let mut told = self.take(path, &[DATA, PERSISTENT, RECURSIVE]);
        for (at, conn, mode) in &self.0 {
            if *mode == RECURSIVE && (*at == "/" || path.starts_with(&format!("{at}/"))) {
                told.insert(*conn);
            }
        }
        if kind == EventType::NodeDeleted {
            told.extend(self.take(path, &[CHILD, PERSISTENT]));
        }
        let mut events: Vec<_> = told.into_iter().map(|conn| (conn, kind, path.to_owned())).collect();
        if let Some(parent) = path::parent(path).filter(|_| kind != EventType::NodeDataChanged) {
            let children = self.take(parent, &[CHILD, PERSISTENT]).into_iter();
            events.extend(children.map(|conn| (conn, EventType::NodeChildrenChanged, parent.to_owned())));
        }
        events
    }

    fn modes(kind: WatcherType) -> &'static [usize] {
        match kind {
            WatcherType::Data => &[DATA],
            WatcherType::Children => &[CHILD],
            WatcherType::Persistent => &[PERSISTENT],
            WatcherType::PersistentRecursive => &[RECURSIVE],
            WatcherType::Any => &[DATA, CHILD, PERSISTENT, RECURSIVE],
        }
    }

    fn remove(&mut self, conn: ConnId, path: &str, kind: WatcherType) -> bool {
        let before = self.0.len();
        self.0.retain(|(at, whose, mode)| *at != path || *whose != conn || !Self::modes(kind).contains(mode));
        self.0.len() < before
    }
}

/// Hazard 96 (Z-4466, Z-4472): whatever modes are set, fired and removed in whatever order, none touches another.
#[test]
fn watch_tables_are_as_the_model_after_every_step() {
    for_seeds(20, |rng| {
        let mut watches = Watches::new(7);
        let mut model = Model::default();
        for _ in 0..400 {
            step(rng, &mut watches, &mut model);
            watches.check_invariants();
            let pairs = |modes: &[usize]| {
                let pairs = model.0.iter().filter(|(_, _, mode)| modes.contains(mode));
                pairs.map(|(path, conn, _)| (*path, *conn)).collect::<BTreeSet<_>>()
            };
            let data = pairs(&[DATA, PERSISTENT, RECURSIVE]);
            assert_eq!(watches.len(), data.len() + pairs(&[CHILD, PERSISTENT]).len(), "watches in both tables");
            let conns: BTreeSet<ConnId> = data.iter().map(|(_, conn)| *conn).collect();
            let paths: BTreeSet<&str> = data.iter().map(|(path, _)| *path).collect();
            let summary = watches.summary();
            let counted = (summary.watches, summary.connections, summary.paths);
            assert_eq!(counted, (data.len(), conns.len(), paths.len()), "wchs");
            let by_path: BTreeSet<_> =
                watches.by_path().flat_map(|(path, conns)| conns.into_iter().map(move |conn| (path, conn))).collect();
            let by_conn: BTreeSet<_> =
                watches.by_conn().flat_map(|(conn, paths)| paths.into_iter().map(move |path| (path, conn))).collect();
            assert_eq!((by_path, by_conn), (data.clone(), data), "wchp and wchc");
        }
    });
}

fn step(rng: &mut Rng, watches: &mut Watches, model: &mut Model) {
    let conn = ConnId(rng.below(5));
    let path = *pick(rng, &PATHS);
    match rng.below(20) {
        0 => {
            watches.drop_conn(conn);
            model.0.retain(|(_, whose, _)| *whose != conn);
        }
        1..3 => {
            let kind = WatcherType::from_code(i32::try_from(1 + rng.below(5)).unwrap()).unwrap();
            let there = watches.contains(conn, path, kind);
            assert_eq!(watches.remove(conn, path, kind), there, "checkWatches and removeWatches agree");
            assert_eq!(model.remove(conn, path, kind), there, "{kind:?} of {conn:?} on {path}");
        }
        3..12 => {
            let mode = usize::try_from(rng.below(4)).unwrap();
            watches.add(conn, path, KINDS[mode]);
            model.0.insert((path, conn, mode));
        }
        _ => {
            let kinds = [EventType::NodeCreated, EventType::NodeDeleted, EventType::NodeDataChanged];
            let kind = *pick(rng, &kinds);
            let mut told = Vec::new();
            let mut deliver = |conn: ConnId, kind: EventType, path: &Arc<str>, _: &AclList| {
                told.push((conn, kind, path.to_string()));
            };
            let acl = acl::open();
            watches.fire(&Change { kind, path, acl: &acl, parent_acl: &acl, zxid: Zxid(1) }, &mut deliver);
            let mut want = model.fire(kind, path);
            let key = |event: &(ConnId, EventType, String)| (event.1, event.0, event.2.clone());
            told.sort_by_key(key);
            want.sort_by_key(key);
            assert_eq!(told, want, "{kind:?} {path}");
        }
    }
}
