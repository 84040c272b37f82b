"""ZooKeeper's files on disk, read (and one kind written) independently of any server: transaction logs, snapshots, and the tree digest.

Only what tests look at: the log's records with header, body and digest; a snapshot's sessions, nodes and digest section.
Everything is strict except the end of a log, where ZooKeeper's own rules say what counts as the end.
"""

import collections
import contextlib
import gzip
import struct
import time
import zlib
from pathlib import Path

from zk import CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL, MULTI, ERROR, SET_DATA, Reader

CONTAINER_OWNER = -(1 << 63)
TTL_OWNER = -(1 << 56)  # plus the ttl in ms: high byte 0xff, 16 bits of zero, 40 bits of ttl
EMPTY_TREE_DIGEST = 1371985504

Txn = collections.namedtuple("Txn", "session cxid zxid wall_ms type body digest")
Snapshot = collections.namedtuple("Snapshot", "zxid sessions nodes digest_zxid digest")
StoredNode = collections.namedtuple("StoredNode", "data acl_id czxid mzxid ctime mtime version cversion aversion owner pzxid")


def files(data, kind):
    """The logs or snapshots of a data directory as (zxid, path), ascending."""
    found = []
    for path in (Path(data) / "version-2").glob(kind + ".*"):
        parts = path.name.split(".")
        if len(parts) == 2:
            found.append((int(parts[1], 16), path))
    return sorted(found)


# ----------------------------------------------------------------------------------------------------------------------
# Transaction log


def _skip_multi(r):
    for _ in range(r.count()):
        r.int()
        r.buffer()


# What follows the header, by type, to find where the digest begins.
BODIES = {
    CREATE: lambda r: (r.string(), r.buffer(), r.acl(), r.bool(), r.int()),
    CREATE2: lambda r: (r.string(), r.buffer(), r.acl(), r.bool(), r.int()),
    CREATE_TTL: lambda r: (r.string(), r.buffer(), r.acl(), r.int(), r.long()),
    CREATE_CONTAINER: lambda r: (r.string(), r.buffer(), r.acl(), r.int()),
    2: lambda r: r.string(),
    20: lambda r: r.string(),
    SET_DATA: lambda r: (r.string(), r.buffer(), r.int()),
    16: lambda r: (r.string(), r.buffer(), r.int()),
    7: lambda r: (r.string(), r.acl(), r.int()),
    MULTI: _skip_multi,
    -10: lambda r: r.int(),
    -11: lambda r: r.strings(),
    ERROR: lambda r: r.int(),
}


def read_txn(payload):
    r = Reader(payload)
    session, cxid, zxid, wall_ms, type_ = r.long(), r.int(), r.long(), r.long(), r.int()
    start = r.at
    BODIES[type_](r)
    body = payload[start:r.at]
    digest = None
    if r.left() >= 12:
        version = r.int()
        if version != 2:
            raise ValueError("digest version %d in txn %#x" % (version, zxid))
        digest = r.long() & (1 << 64) - 1
    return Txn(session, cxid, zxid, wall_ms, type_, body, digest)


def read_log(path):
    """The records of one log file, up to its end as ZooKeeper sees it."""
    raw = path.read_bytes()
    if len(raw) < 16:
        return
    if raw[:8] != b"ZKLG\0\0\0\2":
        raise ValueError("%s does not begin like a log" % path)
    at = 16
    while at + 12 <= len(raw):
        checksum, n = struct.unpack_from(">qi", raw, at)
        end = at + 12 + n
        if n <= 0 or end + 1 > len(raw) or raw[end] != 0x42:
            return
        payload = raw[at + 12:end]
        if zlib.adler32(payload) != checksum:
            return
        yield read_txn(payload)
        at = end + 1


def read_txns(data):
    """All records of a directory, in order of zxid, each once."""
    txns = {}
    for _, path in files(data, "log"):
        for txn in read_log(path):
            txns[txn.zxid] = txn
    return [txns[zxid] for zxid in sorted(txns)]


def last_digest(data):
    """(zxid, digest) of the last record that carries a digest; looks no further back than needed."""
    for _, path in reversed(files(data, "log")):
        with_digest = [t for t in read_log(path) if t.digest is not None]
        if with_digest:
            last = max(with_digest, key=lambda t: t.zxid)
            return last.zxid, last.digest
    return None


def created_owners(txn_type, body):
    """{path: owner as stored} of the containers and TTL nodes that a txn creates."""
    r = Reader(body)
    if txn_type == CREATE_CONTAINER:
        return {r.string(): CONTAINER_OWNER}
    if txn_type == CREATE_TTL:
        path, _, _, _, ttl_ms = r.string(), r.buffer(), r.acl(), r.int(), r.long()
        return {path: TTL_OWNER + ttl_ms}
    if txn_type == MULTI:
        parts = [(r.int(), r.buffer()) for _ in range(r.count())]
        return {path: owner for part in parts for path, owner in created_owners(*part).items()}
    return {}


def special_owners(data):
    """Owners of all containers and TTL nodes that the files of a directory know of, deleted ones included."""
    owners = {}
    for _, path in files(data, "snapshot"):
        with contextlib.suppress(ValueError):  # one that is being written
            owners.update((path, node.owner) for path, node in read_snapshot(path).nodes.items() if node.owner < 0)
    for txn in read_txns(data):
        owners.update(created_owners(txn.type, txn.body))
    return owners


# ----------------------------------------------------------------------------------------------------------------------
# Snapshot


def read_snapshot(path):
    """One snapshot; raises ValueError when a checksum is wrong or the file is cut."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if raw[:16] != b"ZKSN\0\0\0\2" + b"\xff" * 8:
        raise ValueError("%s does not begin like a snapshot" % path)
    r = Reader(raw, 16)
    sessions = {r.long(): r.int() for _ in range(r.count())}
    acls = {}
    for _ in range(r.count()):
        id_ = r.long()
        acls[id_] = r.acl()
    nodes = {}
    while (name := r.string()) != "/":
        data, acl_id = r.buffer(), r.long()
        czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid = struct.unpack(">qqqqiiiqq", r.take(60))
        if acl_id != -1 and acl_id not in acls:
            raise ValueError("%s: %s has the unknown ACL id %d" % (path, name, acl_id))
        nodes[name or "/"] = StoredNode(data, acl_id, czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid)
    _seal(r, path)
    digest_zxid = digest = None
    if r.left() >= 33:
        digest_zxid, version, digest = r.long(), r.int(), r.long() & (1 << 64) - 1
        if version != 2:
            raise ValueError("%s: digest version %d" % (path, version))
        _seal(r, path)
    if r.left():
        r.long()
        _seal(r, path)
    return Snapshot(int(path.name.split(".")[1], 16), sessions, nodes, digest_zxid, digest)


def _seal(r, path):
    """A seal: the checksum of all bytes before it, and the string "/"."""
    expected = zlib.adler32(r.data[:r.at])
    if r.long() != expected or r.string() != "/":
        raise ValueError("%s: wrong seal before offset %d" % (path, r.at))


# ----------------------------------------------------------------------------------------------------------------------
# Tree digest


def node_digest(path, data, czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, owner):
    """Apache's digest of one node; `cversion` and `owner` as stored, not as a client sees them."""
    if path.startswith("/zookeeper/"):
        return 0
    crc = zlib.crc32(data or b"", zlib.crc32(b"" if path == "/" else path.encode()))
    return zlib.crc32(struct.pack(">qqqqqiiiq", czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, owner), crc)


def digest_of_snapshot(snapshot):
    """Digest of the nodes in a snapshot; means something only if nobody wrote while it was taken."""
    total = 0
    for path, n in snapshot.nodes.items():
        total += node_digest(path, n.data, n.czxid, n.mzxid, n.pzxid, n.ctime, n.mtime, n.version, n.cversion, n.aversion, n.owner)
    return total & (1 << 64) - 1


def digest_of_reads(tree, owners):
    """Digest of a tree read by a client ({path: zk.Node}). Owners of containers and TTL nodes, which a client sees as 0,
    are taken from `owners`."""
    total = 0
    for path, (data, s, _) in tree.items():
        owner = s.ephemeral_owner or owners.get(path, 0)
        created = (s.cversion + s.num_children) // 2
        total += node_digest(path, data, s.czxid, s.mzxid, s.pzxid, s.ctime, s.mtime, s.version, created, s.aversion, owner)
    return total & (1 << 64) - 1


# ----------------------------------------------------------------------------------------------------------------------
# Writing


def write_big_tree(data, count, size, root="/fill", per_parent=1000):
    """Makes a data directory whose only file is a snapshot of `count` nodes of `size` bytes, `per_parent` to a parent.

    The digest section is left out, as the format allows. Returns the snapshot's zxid.
    """
    version_2 = Path(data) / "version-2"
    version_2.mkdir(parents=True, exist_ok=True)
    parents = -(-count // per_parent)
    zxid = 1 + parents + count
    now = int(time.time() * 1000)
    open_acl = struct.pack(">qiii", 1, 1, 31, 5) + b"world" + struct.pack(">i", 6) + b"anyone"
    out = bytearray(b"ZKSN\0\0\0\2" + b"\xff" * 8 + struct.pack(">ii", 0, 1) + open_acl)

    def node(path, content, created, children=0, last_child=None, stamp=now, acl=1):
        raw = path.encode()
        out.extend(struct.pack(">i", len(raw)) + raw + struct.pack(">i", len(content)) + content)
        out.extend(struct.pack(">qqqqqiiiqq", acl, created, created, stamp, stamp, 0, children, 0, 0, last_child or created))

    node("", b"", 0, 1, 1, stamp=0, acl=-1)
    node("/zookeeper", b"", 0, stamp=0, acl=-1)
    node("/zookeeper/quota", b"", 0, stamp=0, acl=-1)
    node(root, b"", 1, parents, 1 + parents)
    content = b"x" * size
    for p in range(parents):
        first, last = p * per_parent, min(count, (p + 1) * per_parent)
        parent = "%s/p%05d" % (root, p)
        node(parent, b"", 2 + p, last - first, 1 + parents + last)
        for n in range(first, last):
            node("%s/n%08d" % (parent, n), content, 2 + parents + n)
    out.extend(b"\0\0\0\1/")
    out.extend(struct.pack(">qi", zlib.adler32(out), 1) + b"/")
    (version_2 / ("snapshot.%x" % zxid)).write_bytes(out)
    return zxid


def set_created(data, path, count):
    """Makes the only snapshot of a directory from `write_big_tree` say that `count` children of `path` were ever created."""
    ((_, file),) = files(data, "snapshot")
    out = bytearray(file.read_bytes()[:-13])
    name = struct.pack(">i", len(path)) + path.encode()
    # Behind the name: no data, then the ACL, five longs and the version.
    struct.pack_into(">i", out, out.index(name) + len(name) + 4 + 5 * 8 + 4, count)
    file.write_bytes(out + struct.pack(">qi", zlib.adler32(out), 1) + b"/")
