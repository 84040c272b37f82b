//! Requests as clients mean them; whether they succeed depends on the tree, the ids of the connection, and luck.

use gk_proto::op::{CreateMode, OpCode};

use super::acls::USERS;
use super::{Draw, Request};
use crate::model::Effect;
use crate::options::SUPER;
use crate::script::{CREATE_SESSION, DELETE_CONTAINER, Field, Frame};

/// Operations by how often they are drawn. These change the tree or look at it, and end no connection.
const PLAIN: &[(usize, OpCode)] = &[
    (150, OpCode::Create),
    (60, OpCode::Create2),
    (25, OpCode::CreateContainer),
    (25, OpCode::CreateTtl),
    (120, OpCode::Delete),
    (130, OpCode::SetData),
    (40, OpCode::SetAcl),
    (60, OpCode::Multi),
    (12, OpCode::Sync),
    (10, OpCode::Reconfig),
    (90, OpCode::Exists),
    (90, OpCode::GetData),
    (35, OpCode::GetAcl),
    (40, OpCode::GetChildren),
    (60, OpCode::GetChildren2),
    (25, OpCode::GetAllChildrenNumber),
    (20, OpCode::GetEphemerals),
    (12, OpCode::WhoAmI),
    (30, OpCode::MultiRead),
    (45, OpCode::AddWatch),
    (25, OpCode::CheckWatches),
    (25, OpCode::RemoveWatches),
    (16, OpCode::SetWatches),
    (16, OpCode::SetWatches2),
    (10, OpCode::Ping),
];

/// These end connections, overtake others, or are answered otherwise for a known reason.
const SPECIAL: &[(usize, Special)] = &[
    (30, Special::Plain(OpCode::CloseSession)),
    (40, Special::Plain(OpCode::Auth)),
    (10, Special::Plain(OpCode::Sasl)),
    (5, Special::Plain(OpCode::Check)),
    (4, Special::DeleteContainer),
    (4, Special::CreateSession),
    (4, Special::Unknown),
    (40, Special::Quota),
    (14, Special::NearLimit),
];

#[derive(Clone, Copy)]
enum Special {
    Plain(OpCode),
    DeleteContainer,
    CreateSession,
    Unknown,
    Quota,
    NearLimit,
}

/// Ops of a multi, as they are drawn.
#[derive(Clone, Copy)]
enum Part {
    Create,
    Delete,
    SetData,
    Check,
}

/// Nodes beyond which deletes outnumber creates.
const NODES_MANY: usize = 70;

impl Draw {
    /// Any request.
    pub(super) fn request(&mut self, slot: usize) -> Request {
        if self.chance.percent(88) {
            return self.plain_request(slot);
        }
        match self.chance.weighted(SPECIAL) {
            Special::Plain(op) => self.request_of(op, slot),
            // Of a node that is not there: Apache's server would delete it.
            Special::DeleteContainer => Request {
                frame: Frame { op: DELETE_CONTAINER, fields: vec![Field::text("/never")] },
                effect: Effect::None,
            },
            Special::CreateSession => {
                Request { frame: Frame { op: CREATE_SESSION, fields: vec![Field::Int(60_000)] }, effect: Effect::None }
            }
            Special::Unknown => self.unknown(),
            Special::Quota => self.quota(),
            Special::NearLimit => self.near_limit(slot),
        }
    }

    /// A request of no operation.
    pub(super) fn unknown(&mut self) -> Request {
        Request::bare(self.chance.pick(&[0, 10, 23, 99, 108, -1, -2, 1000, i32::MAX, i32::MIN]))
    }

    /// A request that can stand anywhere.
    pub(super) fn plain_request(&mut self, slot: usize) -> Request {
        let mut op = self.chance.weighted(PLAIN);
        let creates = matches!(op, OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl);
        if creates && self.model.len() > NODES_MANY && self.chance.percent(70) {
            op = OpCode::Delete;
        }
        self.request_of(op, slot)
    }

    pub(super) fn request_of(&mut self, op: OpCode, slot: usize) -> Request {
        let (fields, effect) = match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                self.create(op, slot, false)
            }
            OpCode::Delete => self.delete(),
            OpCode::SetData => self.set_data(),
            OpCode::SetAcl => self.set_acl(),
            OpCode::Multi => self.multi(slot),
            OpCode::CloseSession => {
                let session = self.slots[slot].clone().unwrap_or_default();
                (Vec::new(), Effect::EndSession(session))
            }
            OpCode::Check => self.check(),
            OpCode::Auth => (self.auth(), Effect::None),
            OpCode::Sasl => (vec![Field::Buffer((!self.chance.one_in(3)).then(Vec::new))], Effect::None),
            OpCode::Reconfig => (self.reconfig(), Effect::None),
            OpCode::DeleteContainer => (vec![Field::text("/never")], Effect::None),
            OpCode::SetWatches => (self.set_watches(3), Effect::None),
            OpCode::SetWatches2 => (self.set_watches(5), Effect::None),
            OpCode::MultiRead => (self.multi_read(), Effect::None),
            OpCode::Ping | OpCode::WhoAmI => (Vec::new(), Effect::None),
            OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::GetChildren2
            | OpCode::GetAllChildrenNumber
            | OpCode::GetEphemerals
            | OpCode::Sync
            | OpCode::AddWatch
            | OpCode::CheckWatches
            | OpCode::RemoveWatches => (self.of_a_path(op, slot), Effect::None),
        };
        Request::new(op, fields, effect)
    }

    /// What names one path, and at most one thing about it.
    fn of_a_path(&mut self, op: OpCode, slot: usize) -> Vec<Field> {
        let mut any = self.any();
        if matches!(op, OpCode::CheckWatches | OpCode::RemoveWatches)
            && !self.watched[slot].is_empty()
            && self.chance.percent(50)
        {
            any = self.chance.pick(&self.watched[slot]);
        }
        let path = match (op, self.chance.below(5)) {
            (OpCode::GetEphemerals, 0) => Field::Buffer(None),
            (OpCode::GetEphemerals, 1) => Field::text("/"),
            (OpCode::GetEphemerals, 2) => Field::text(""),
            (OpCode::GetEphemerals, 3) => Field::text("  "),
            _ => self.path(&any),
        };
        let detail = if op == OpCode::AddWatch {
            Field::Int(self.chance.pick(&[0, 1, 0, 1, 0, 1, 1, 2, -1]))
        } else if matches!(op, OpCode::CheckWatches | OpCode::RemoveWatches) {
            Field::Int(self.chance.pick(&[1, 2, 3, 3, 4, 5, 0, 6]))
        } else if matches!(op, OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2) {
            Field::Boolean(self.chance.percent(45))
        } else {
            return vec![path];
        };
        vec![path, detail]
    }

    fn reconfig(&mut self) -> Vec<Field> {
        let mut server = || match self.chance.below(2) {
            0 => Field::Buffer(None),
            _ => Field::text(self.chance.pick(&["server.1=127.0.0.1:2:3;4", "", "1"])),
        };
        vec![server(), server(), server(), Field::Long(self.chance.pick(&[-1, 0, 5]))]
    }

    /// One create, alone or within a multi, where flags that do not fit spoil the whole.
    fn create(&mut self, op: OpCode, slot: usize, is_within: bool) -> (Vec<Field>, Effect) {
        let odd = !is_within && self.chance.one_in(15);
        let flags = if op == OpCode::CreateContainer {
            if odd { self.chance.pick(&[0, 2, 5, 6, 7, -1]) } else { 4 }
        } else if op == OpCode::CreateTtl {
            if odd { self.chance.pick(&[0, 1, 2, 3, 4, 7, -1]) } else { self.chance.pick(&[5, 5, 6]) }
        } else if odd {
            self.chance.pick(&[4, 5, 6, 7, -1, i32::MAX])
        } else {
            self.chance.weighted(&[(10, 0), (6, 1), (3, 2), (2, 3)])
        };
        let mode = CreateMode::from_flags(flags);
        let is_sequential = mode.is_some_and(CreateMode::is_sequential);
        let path = match self.chance.below(100) {
            0..5 => self.existing(),
            5..7 => "/nothing/below".to_owned(),
            _ if is_sequential => self.prefix(),
            _ => self.absent(),
        };
        let (acl, is_guarded) = self.acl(88);
        let mut fields = vec![self.path(&path), self.data()];
        fields.extend(acl);
        fields.push(Field::Int(flags));
        if op == OpCode::CreateTtl {
            // Never negative with other flags: that would stop Apache's server.
            let right = self.chance.pick(&[1_000_000_000, 1_099_511_627_775, 86_400_000]);
            let wrong = self.chance.pick(&[0, -1, 1_099_511_627_776, i64::MAX]);
            let is_wrong = self.chance.one_in(10) && mode.is_some_and(CreateMode::is_ttl);
            fields.push(Field::Long(if is_wrong { wrong } else { right }));
        }
        let owner = mode.filter(|mode| mode.is_ephemeral()).and_then(|_| self.slots[slot].clone());
        (fields, Effect::Create { owner, is_guarded })
    }

    fn delete(&mut self) -> (Vec<Field>, Effect) {
        let path = match self.chance.below(20) {
            0 => self.absent(),
            1 | 2 => self.existing(),
            _ => self.leaf(),
        };
        let version = self.version(self.model.node(&path).map(|node| node.version));
        (vec![self.path(&path), version], Effect::Delete(path))
    }

    fn set_data(&mut self) -> (Vec<Field>, Effect) {
        let path = if self.chance.one_in(15) { self.absent() } else { self.existing() };
        let version = self.version(self.model.node(&path).map(|node| node.version));
        (vec![self.path(&path), self.data(), version], Effect::SetData(path))
    }

    fn set_acl(&mut self) -> (Vec<Field>, Effect) {
        let mut path = if self.chance.one_in(15) { self.absent() } else { self.existing() };
        // What is narrow is widened as often, or nobody could do anything in the end.
        let guarded = self.model.some(&mut self.chance, |_, _, node| node.is_guarded);
        let widen = self.chance.percent(55);
        if let Some(guarded) = guarded.filter(|_| widen) {
            path = guarded;
        }
        let (acl, is_guarded) = self.acl(if widen { 95 } else { 30 });
        // The root stays open: all others are below it.
        let (acl, is_guarded) = if path == "/" && is_guarded { self.acl(100) } else { (acl, is_guarded) };
        let version = self.version(self.model.node(&path).map(|node| node.aversion));
        let mut fields = vec![self.path(&path)];
        if path == "/" {
            fields = vec![Field::text("/")];
        }
        fields.extend(acl);
        fields.push(version);
        (fields, Effect::SetAcl(path, is_guarded))
    }

    fn check(&mut self) -> (Vec<Field>, Effect) {
        let path = if self.chance.one_in(20) { self.absent() } else { self.existing() };
        let version = self.version(self.model.node(&path).map(|node| node.version));
        (vec![self.path(&path), version], Effect::None)
    }

    fn multi(&mut self, slot: usize) -> (Vec<Field>, Effect) {
        let (mut fields, mut effects) = (Vec::new(), Vec::new());
        let was_alone = std::mem::replace(&mut self.is_alone, false);
        for _ in 0..self.chance.below(6) {
            let (op, part) = self.chance.weighted(&[
                (5, (OpCode::Create, Part::Create)),
                (3, (OpCode::Create2, Part::Create)),
                (1, (OpCode::CreateContainer, Part::Create)),
                (1, (OpCode::CreateTtl, Part::Create)),
                (4, (OpCode::Delete, Part::Delete)),
                (6, (OpCode::SetData, Part::SetData)),
                (3, (OpCode::Check, Part::Check)),
            ]);
            let (more, effect) = match part {
                Part::Create => self.create(op, slot, true),
                Part::Delete => self.delete(),
                Part::SetData => self.set_data(),
                Part::Check => self.check(),
            };
            fields.extend([Field::Int(op.code()), Field::Boolean(false), Field::Int(-1)]);
            fields.extend(more);
            effects.push(effect);
        }
        self.is_alone = was_alone;
        fields.extend(END);
        (fields, Effect::Multi(effects))
    }

    fn multi_read(&mut self) -> Vec<Field> {
        let mut fields = Vec::new();
        for _ in 0..self.chance.below(5) {
            let op = self.chance.pick(&[OpCode::GetData, OpCode::GetChildren]);
            let path = self.any();
            fields.extend([Field::Int(op.code()), Field::Boolean(false), Field::Int(-1)]);
            fields.extend([self.path(&path), Field::Boolean(self.chance.one_in(2))]);
        }
        fields.extend(END);
        fields
    }

    fn set_watches(&mut self, lists: usize) -> Vec<Field> {
        let less = self.chance.pick(&[0, 0, 1, 2, 5, 10, 50, 1_000_000]);
        let mut fields = vec![Field::ZxidLess(less)];
        for list in 0..lists {
            // A null behind other lists: Apache's server has done what those say by the time it finds out.
            if list == 0 && self.chance.one_in(20) {
                fields.push(Field::Int(-1));
                continue;
            }
            let count = self.chance.below(4);
            fields.push(Field::Int(i32::try_from(count).unwrap_or(0)));
            for _ in 0..count {
                let path = self.any();
                fields.push(self.path(&path));
            }
        }
        fields
    }

    fn auth(&mut self) -> Vec<Field> {
        let (scheme, auth) = match self.chance.below(30) {
            0 => ("digest", Field::text(SUPER)),
            1..4 => ("ip", Field::Buffer(None)),
            4 => (self.chance.pick(&["world", "auth", "sasl", "x509", "nobody", "", "super"]), Field::text("x")),
            5 => ("digest", Field::text(self.chance.pick(&["", "without-a-colon", "a:b:c", ":"]))),
            _ => ("digest", Field::text(self.chance.pick(USERS))),
        };
        vec![Field::Int(0), Field::text(scheme), auth]
    }

    /// Limits on a node, what keeps count of them, and the end of both. Texts always parse.
    fn quota(&mut self) -> Request {
        let target = self.existing();
        if target == "/" {
            return Request::new(OpCode::Exists, vec![Field::text("/"), Field::Boolean(false)], Effect::None);
        }
        let base = format!("/zookeeper/quota{target}");
        let (limits, stats) = (format!("{base}/zookeeper_limits"), format!("{base}/zookeeper_stats"));
        let (count, bytes) = (self.chance.below(12), self.chance.below(300));
        let limit_text = match self.chance.below(5) {
            0 => format!("count={count},bytes={bytes}"),
            1 => format!("count=-1,bytes=-1=;byteHardLimit={bytes};countHardLimit=-1"),
            2 => format!("count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit={count}"),
            _ => format!("count={count},bytes=-1=;byteHardLimit={bytes};countHardLimit={count}"),
        };
        let create = |path: &str, text: &str| {
            let mut fields = vec![Field::text(path), Field::text(text)];
            fields.extend([Field::Int(1), Field::Int(31), Field::text("world"), Field::text("anyone"), Field::Int(0)]);
            Request::new(OpCode::Create, fields, Effect::Create { owner: None, is_guarded: false })
        };
        // What stands above has to be there first.
        let above = base.char_indices().filter(|(_, letter)| *letter == '/').map(|(at, _)| &base[..at]);
        for path in above.chain([base.as_str()]).skip(3) {
            if self.model.node(path).is_none() {
                return create(path, "");
            }
        }
        if self.model.node(&limits).is_none() {
            return create(&limits, &limit_text);
        }
        if self.model.node(&stats).is_none() {
            return create(&stats, "count=0,bytes=0");
        }
        match self.chance.below(3) {
            0 => {
                let fields = vec![Field::text(&limits), Field::text(&limit_text), Field::Int(-1)];
                Request::new(OpCode::SetData, fields, Effect::SetData(limits))
            }
            1 => Request::new(OpCode::Delete, vec![Field::text(&limits), Field::Int(-1)], Effect::Delete(limits)),
            _ => Request::new(OpCode::GetData, vec![Field::text(&stats), Field::Boolean(false)], Effect::None),
        }
    }

    /// A setData whose frame is as long as a frame may be, or a byte shorter or longer.
    fn near_limit(&mut self, slot: usize) -> Request {
        let rarely = self.options.buffer_max < 100_000 || self.chance.one_in(10);
        if !rarely {
            return self.plain_request(slot);
        }
        let path = self.existing();
        let frame = |length| Frame::new(OpCode::SetData, vec![Field::text(&path), Field::Fill(length), Field::Int(-1)]);
        let mut bytes = Vec::new();
        frame(0).encode(0, 0, &mut bytes);
        let room = (self.options.buffer_max + 4).saturating_sub(bytes.len());
        let length = room + self.chance.below(3) - 1;
        Request { frame: frame(length), effect: Effect::SetData(path) }
    }

    fn version(&mut self, current: Option<i32>) -> Field {
        let current = current.unwrap_or(0);
        Field::Int(match self.chance.below(20) {
            0 => current.wrapping_add(1),
            1 => self.chance.pick(&[-2, i32::MIN, i32::MAX, current - 1]),
            2..11 => current,
            _ => -1,
        })
    }

    fn data(&mut self) -> Field {
        match self.chance.below(24) {
            0 | 1 => Field::Buffer(None),
            2 | 3 => Field::text(""),
            4 => Field::Fill(1 + self.chance.below(1500)),
            5 => Field::Buffer(Some(vec![0, 0xff, 0x80, b'\n'])),
            _ => Field::text(&"abcdefghij"[..1 + self.chance.below(10)]),
        }
    }
}

/// What ends a multi.
const END: [Field; 3] = [Field::Int(-1), Field::Boolean(true), Field::Int(-1)];
