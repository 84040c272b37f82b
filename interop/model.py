"""A model of the tree, kept by the clients of a test: what it must look like after the writes that they know of.

The tree is divided into branches, one for each session. A session writes below a root of its own, and into the directory
`SHARED`, where its nodes carry its name; so the state of a branch follows from the writes of its session alone, however
the server interleaved them, and only the Stat of `SHARED` itself is everybody's.

A node keeps references to the writes that made it what it is. Their zxids and times become known from replies, or, for a
write that was in flight when the server was killed, from the first read after it: `Write.learn` then holds the tree to it.
"""

import collections

import datadir
import zk

SHARED = "/shared"

Create = collections.namedtuple("Create", "path data acl owner")  # owner as stored: 0, session, container, TTL
Delete = collections.namedtuple("Delete", "path")
Set = collections.namedtuple("Set", "path data")
SetAcl = collections.namedtuple("SetAcl", "path acl")


class Write:
    """One request: what it changes if it takes effect, and what it must answer.

    - `zxid` and `time` are None until known, and never change afterwards.
    """

    def __init__(self, request, changes=(), error=0, expect=None):
        self.request, self.changes, self.error = request, changes, error
        self.expect = expect  # checks the decoded value of a successful reply
        self.zxid = self.time = None

    def learn(self, what, value, where):
        known = getattr(self, what)
        assert known in (None, value), "%s: %s of its write is %s, was %s" % (where, what, value, known)
        setattr(self, what, value)


class ModelNode:
    def __init__(self, data, acl, owner, write):
        self.data, self.acl, self.owner = data, acl, owner
        self.created = self.modified = self.children_changed = write
        self.version = self.aversion = self.creates = self.children = 0

    def copy(self):
        twin = object.__new__(ModelNode)
        twin.__dict__.update(self.__dict__)
        return twin

    def shape(self):
        """All that a client sees of it except zxids and times, as `shape_of` gives it."""
        visible_owner = self.owner if self.owner > 0 else 0
        return (self.data, self.acl, self.version, 2 * self.creates - self.children, self.aversion, visible_owner,
                len(self.data or b""), self.children)

    def learn(self, path, stat):
        self.created.learn("zxid", stat.czxid, path)
        self.created.learn("time", stat.ctime, path)
        self.modified.learn("zxid", stat.mzxid, path)
        self.modified.learn("time", stat.mtime, path)
        self.children_changed.learn("zxid", stat.pzxid, path)

    def digest(self, path):
        return datadir.node_digest(
            path, self.data, self.created.zxid, self.modified.zxid, self.children_changed.zxid, self.created.time,
            self.modified.time, self.version, self.creates, self.aversion, self.owner)


def shape_of(node):
    s = node.stat
    return (node.data, node.acl, s.version, s.cversion, s.aversion, s.ephemeral_owner, s.data_length, s.num_children)


def parent_of(path):
    return path.rpartition("/")[0]


class Branch:
    """The nodes of one session, with its part in the counters of SHARED."""

    def __init__(self):
        self.nodes = {}
        self.shared_creates = self.shared_children = 0
        self.shared_changed = None  # the last write that created or deleted in SHARED

    def copy(self):
        twin = Branch()
        twin.nodes = {path: node.copy() for path, node in self.nodes.items()}
        twin.shared_creates, twin.shared_children = self.shared_creates, self.shared_children
        twin.shared_changed = self.shared_changed
        return twin

    def apply(self, write):
        for change in write.changes:
            if isinstance(change, Create):
                self.nodes[change.path] = ModelNode(change.data, change.acl, change.owner, write)
                self._child(change.path, write, creates=1, children=1)
            elif isinstance(change, Delete):
                del self.nodes[change.path]
                self._child(change.path, write, creates=0, children=-1)
            elif isinstance(change, Set):
                node = self.nodes[change.path]
                node.data, node.modified, node.version = change.data, write, node.version + 1
            elif isinstance(change, SetAcl):
                node = self.nodes[change.path]
                node.acl, node.aversion = change.acl, node.aversion + 1
            else:
                raise TypeError(change)

    def _child(self, path, write, creates, children):
        parent = parent_of(path)
        if parent == SHARED:
            self.shared_creates += creates
            self.shared_children += children
            self.shared_changed = write
        elif parent in self.nodes:  # the root of the branch has its parent elsewhere
            node = self.nodes[parent]
            node.creates += creates
            node.children += children
            node.children_changed = write

    def difference(self, seen):
        """None if the nodes have the shapes of `seen` ({path: shape}), else a sentence."""
        missing = sorted(self.nodes.keys() - seen.keys())
        extra = sorted(seen.keys() - self.nodes.keys())
        other = ["%s is %r, not %r" % (path, seen[path], node.shape())
                 for path, node in self.nodes.items() if path in seen and seen[path] != node.shape()]
        if not missing and not extra and not other:
            return None
        return "missing %s; too much %s; different %s" % (missing[:5], extra[:5], other[:3])

    def settle(self, in_flight, seen):
        """Finds how many of the writes in flight took effect, in order; applies and returns them.

        Two different numbers never look alike, except for writes that change nothing: each other write leaves a node, a
        version, or a count of children of its own.
        """
        tried = [self.difference(seen)]
        survivors = []
        while tried[-1] is not None:
            assert len(survivors) < len(in_flight), "no prefix of %d writes in flight fits; after none: %s; after all: %s" % (
                len(in_flight), tried[0], tried[-1])
            survivors.append(in_flight[len(survivors)])
            self.apply(survivors[-1])
            tried.append(self.difference(seen))
        return survivors

    def learn(self, tree):
        for path, node in self.nodes.items():
            node.learn(path, tree[path].stat)

    def ephemerals(self, session_id):
        return sorted(path for path, node in self.nodes.items() if node.owner == session_id)


def check_order(acked, survivors_of):
    """zxids: rising within a session, and no two writes with the same one.

    `acked` is the set of all zxids that were acknowledged, `survivors_of` pairs of a session's last acknowledged zxid and
    its survivors.
    """
    seen = set()
    for last, survivors in survivors_of:
        for zxid in (w.zxid for w in survivors if w.zxid is not None):
            assert zxid > last, "a write in flight took effect at %#x, after an answer at %#x" % (zxid, last)
            assert zxid not in acked and zxid not in seen, "two writes at zxid %#x" % zxid
            seen.add(zxid)
            last = zxid


def check_shared(stat, branches):
    """The Stat of SHARED against the sum of all branches, those of ended sessions included."""
    creates = sum(b.shared_creates for b in branches)
    children = sum(b.shared_children for b in branches)
    assert (stat.num_children, stat.cversion) == (children, 2 * creates - children), "%s: %r, of %d creates" % (
        SHARED, stat, creates)
    last = [b.shared_changed for b in branches if b.shared_changed]
    known = max((w.zxid for w in last if w.zxid is not None), default=0)
    if stat.pzxid != known:
        assert stat.pzxid > known and any(w.zxid is None for w in last), "%s: pzxid %#x, expected %#x" % (
            SHARED, stat.pzxid, known)
    # What nobody learnt is older than this Stat, and says nothing about the next one.
    for branch in branches:
        if branch.shared_changed and branch.shared_changed.zxid is None:
            branch.shared_changed = None
