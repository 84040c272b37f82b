"""A small client of the ZooKeeper protocol, for tests: no retries, no threads, nothing behind the caller's back.

Reading order: Reader and Writer (jute), the records of requests (functions named after the operations, each returning
an `Op`), the records of replies (`decode_*`), `Client` (one TCP connection). A test that wants to see bytes uses
`Client.send_raw` and `Client.recv_frame`; one that wants answers uses `Client.call`; one that wants pipelines uses
`Client.send` and `Client.recv_reply`.

Not done here: reconnecting, SASL, TLS, chroots.
"""

import collections
import socket
import struct

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL = 1, 2, 3, 4, 5, 6, 7
GET_CHILDREN, SYNC, PING, GET_CHILDREN2, CHECK, MULTI, CREATE2, RECONFIG = 8, 9, 11, 12, 13, 14, 15, 16
CHECK_WATCHES, REMOVE_WATCHES, CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL, MULTI_READ = 17, 18, 19, 20, 21, 22
AUTH, SET_WATCHES, SASL, GET_EPHEMERALS, GET_ALL_CHILDREN_NUMBER, SET_WATCHES2 = 100, 101, 102, 103, 104, 105
ADD_WATCH, WHO_AM_I, CREATE_SESSION, CLOSE_SESSION, ERROR = 106, 107, -10, -11, -1

XID_EVENT, XID_PING, XID_AUTH, XID_SET_WATCHES = -1, -2, -4, -8

PERSISTENT, EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER, TTL, TTL_SEQUENTIAL = range(7)

OK, RUNTIME_INCONSISTENCY, MARSHALLING_ERROR, UNIMPLEMENTED, BAD_ARGUMENTS = 0, -2, -5, -6, -8
NO_NODE, NO_AUTH, BAD_VERSION, NO_CHILDREN_FOR_EPHEMERALS, NODE_EXISTS, NOT_EMPTY = -101, -102, -103, -108, -110, -111

OPEN_ACL = ((31, "world", "anyone"),)

Stat = collections.namedtuple(
    "Stat",
    "czxid mzxid ctime mtime version cversion aversion ephemeral_owner data_length num_children pzxid",
)
STAT = struct.Struct(">qqqqiiiqiiq")

Event = collections.namedtuple("Event", "zxid type state path")
Reply = collections.namedtuple("Reply", "xid zxid err body")
Op = collections.namedtuple("Op", "type body")
Session = collections.namedtuple("Session", "timeout_ms id password read_only")


class ZkError(Exception):
    """A reply whose header carries an error code."""

    def __init__(self, code, op_type=None):
        super().__init__("error %d in reply to operation %s" % (code, op_type))
        self.code = code


class Closed(Exception):
    """The server closed the connection."""


class Refused(Exception):
    """The server answered the connect request, and refused the session."""


# ----------------------------------------------------------------------------------------------------------------------
# Jute


class Writer:
    def __init__(self):
        self.out = bytearray()

    def bytes(self):
        return bytes(self.out)

    def bool(self, v):
        self.out.append(1 if v else 0)
        return self

    def int(self, v):
        self.out += struct.pack(">i", v)
        return self

    def long(self, v):
        self.out += struct.pack(">q", v)
        return self

    def buffer(self, v):
        if v is None:
            return self.int(-1)
        self.int(len(v))
        self.out += v
        return self

    def string(self, v):
        return self.buffer(None if v is None else v.encode())

    def strings(self, values):
        self.int(len(values))
        for v in values:
            self.string(v)
        return self

    def acl(self, acl):
        self.int(len(acl))
        for perms, scheme, id_ in acl:
            self.int(perms).string(scheme).string(id_)
        return self


class Reader:
    """Reads what a server may send, strictly: a null vector, or a boolean other than 0 and 1, is an error."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError("record ends early")
        piece = self.data[self.at:self.at + n]
        self.at += n
        return bytes(piece)

    def left(self):
        return len(self.data) - self.at

    def bool(self):
        v = self.take(1)[0]
        if v > 1:
            raise ValueError("boolean of value %d" % v)
        return v == 1

    def int(self):
        return struct.unpack(">i", self.take(4))[0]

    def long(self):
        return struct.unpack(">q", self.take(8))[0]

    def buffer(self):
        n = self.int()
        if n < -1:
            raise ValueError("buffer of length %d" % n)
        return None if n == -1 else self.take(n)

    def count(self):
        n = self.int()
        if n < 0:
            raise ValueError("vector of %d elements" % n)
        return n

    def string(self):
        raw = self.buffer()
        if raw is None:
            return None
        # Java writes characters above U+FFFF as two surrogates of three bytes each.
        return raw.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16")

    def strings(self):
        return [self.string() for _ in range(self.count())]

    def acl(self):
        return tuple((self.int(), self.string(), self.string()) for _ in range(self.count()))

    def stat(self):
        return Stat(*STAT.unpack(self.take(STAT.size)))


def frame(body):
    return struct.pack(">i", len(body)) + body


# ----------------------------------------------------------------------------------------------------------------------
# Requests


def create(path, data=b"", acl=OPEN_ACL, flags=PERSISTENT, type=CREATE):
    return Op(type, Writer().string(path).buffer(data).acl(acl).int(flags).bytes())


def create2(path, data=b"", acl=OPEN_ACL, flags=PERSISTENT):
    return create(path, data, acl, flags, CREATE2)


def create_container(path, data=b"", acl=OPEN_ACL):
    return create(path, data, acl, CONTAINER, CREATE_CONTAINER)


def create_ttl(path, ttl_ms, data=b"", acl=OPEN_ACL, flags=TTL):
    return Op(CREATE_TTL, Writer().string(path).buffer(data).acl(acl).int(flags).long(ttl_ms).bytes())


def delete(path, version=-1):
    return Op(DELETE, Writer().string(path).int(version).bytes())


def set_data(path, data, version=-1):
    return Op(SET_DATA, Writer().string(path).buffer(data).int(version).bytes())


def set_acl(path, acl, version=-1):
    return Op(SET_ACL, Writer().string(path).acl(acl).int(version).bytes())


def check(path, version=-1):
    return Op(CHECK, Writer().string(path).int(version).bytes())


def _read(type, path, watch):
    return Op(type, Writer().string(path).bool(watch).bytes())


def exists(path, watch=False):
    return _read(EXISTS, path, watch)


def get_data(path, watch=False):
    return _read(GET_DATA, path, watch)


def get_children2(path, watch=False):
    return _read(GET_CHILDREN2, path, watch)


def get_acl(path):
    return Op(GET_ACL, Writer().string(path).bytes())


def get_ephemerals(prefix="/"):
    return Op(GET_EPHEMERALS, Writer().string(prefix).bytes())


def sync(path="/"):
    return Op(SYNC, Writer().string(path).bytes())


def multi(ops):
    w = Writer()
    for op in ops:
        w.int(op.type).bool(False).int(-1)
        w.out += op.body
    return Op(MULTI, w.int(-1).bool(True).int(-1).bytes())


def auth(scheme, data):
    return Op(AUTH, Writer().int(0).string(scheme).buffer(data).bytes())


CLOSE = Op(CLOSE_SESSION, b"")
PING_OP = Op(PING, b"")


def session_password(session_id):
    """The password that ZooKeeper's servers compute from a session id: four outputs of Java's Random."""
    state, out = (session_id ^ 0xB3415C00 ^ 0x5DEECE66D) & (1 << 48) - 1, b""
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & (1 << 48) - 1
        out += struct.pack("<I", state >> 16)
    return out


def connect_request(timeout_ms, session_id=0, password=b"\0" * 16, last_zxid_seen=0, read_only=False):
    w = Writer().int(0).long(last_zxid_seen).int(timeout_ms).long(session_id).buffer(password)
    return w.bytes() if read_only is None else w.bool(read_only).bytes()


# ----------------------------------------------------------------------------------------------------------------------
# Replies


def decode_multi(body):
    """Results of a multi: a list of (type, err, value), value being a path, (path, Stat), a Stat or None."""
    r, results = Reader(body), []
    while True:
        type_, done, err = r.int(), r.bool(), r.int()
        if done:
            return results
        if type_ == ERROR:
            value = r.int()
        elif type_ == CREATE:
            value = r.string()
        elif type_ == CREATE2:
            value = (r.string(), r.stat())
        elif type_ == SET_DATA:
            value = r.stat()
        elif type_ in (DELETE, CHECK):
            value = None
        else:
            raise ValueError("result of type %d in a multi" % type_)
        results.append((type_, err, value))


DECODERS = {
    CREATE: lambda r: r.string(),
    CREATE2: lambda r: (r.string(), r.stat()),
    CREATE_CONTAINER: lambda r: (r.string(), r.stat()),
    CREATE_TTL: lambda r: (r.string(), r.stat()),
    EXISTS: lambda r: r.stat(),
    GET_DATA: lambda r: (r.buffer(), r.stat()),
    SET_DATA: lambda r: r.stat(),
    GET_ACL: lambda r: (r.acl(), r.stat()),
    SET_ACL: lambda r: r.stat(),
    GET_CHILDREN: lambda r: r.strings(),
    GET_CHILDREN2: lambda r: (r.strings(), r.stat()),
    SYNC: lambda r: r.string(),
    MULTI: lambda r: decode_multi(r.data),
    GET_EPHEMERALS: lambda r: r.strings(),
    GET_ALL_CHILDREN_NUMBER: lambda r: r.int(),
    WHO_AM_I: lambda r: [(r.string(), r.string()) for _ in range(r.count())],
}


def decode(op_type, body):
    """The value in the body of a successful reply; None for operations that answer with a header only."""
    decoder = DECODERS.get(op_type)
    return decoder(Reader(body)) if decoder else None


def decode_reply(body):
    r = Reader(body)
    return Reply(r.int(), r.long(), r.int(), bytes(body[16:]))


def decode_event(reply):
    r = Reader(reply.body)
    return Event(reply.zxid, r.int(), r.int(), r.string())


# ----------------------------------------------------------------------------------------------------------------------
# One connection


class Client:
    """One TCP connection, with its session if `connect` was called. Frames that watches cause go to `events`."""

    def __init__(self, port, host="127.0.0.1", patience_s=20.0):
        try:
            self.sock = socket.create_connection((host, port), timeout=patience_s)
        except (BrokenPipeError, ConnectionResetError):  # the server ended, or turned it away, before it was looked at
            raise Closed from None
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.session = None
        self.xid = 0
        self.last_zxid = 0
        self.events = collections.deque()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()

    def connect(self, timeout_ms=30000, resume=None, last_zxid_seen=0):
        """Starts a session, or resumes `resume`. Raises Refused, or Closed when the server closes without a word."""
        known = resume or Session(0, 0, b"\0" * 16, False)
        self.send_raw(frame(connect_request(timeout_ms, known.id, known.password, last_zxid_seen)))
        r = Reader(self.recv_frame())
        r.int()
        self.session = Session(r.int(), r.long(), r.buffer(), r.bool())
        if self.session.timeout_ms <= 0:
            raise Refused("session %#x refused" % known.id)
        return self

    def send_raw(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def encode(self, op, xid=None):
        """The whole frame of a request, and its xid."""
        if xid is None:
            self.xid += 1
            xid = self.xid
        return frame(struct.pack(">ii", xid, op.type) + op.body), xid

    def send(self, op, xid=None):
        data, xid = self.encode(op, xid)
        self.send_raw(data)
        return xid

    def fill(self):
        """Waits for more bytes and takes what is there."""
        try:
            piece = self.sock.recv(1 << 18)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None
        if not piece:
            raise Closed
        self.buffer += piece

    def pop_frame(self):
        """The next whole frame that has already been received, or None."""
        if len(self.buffer) < 4:
            return None
        (n,) = struct.unpack_from(">i", self.buffer)
        if len(self.buffer) < 4 + n:
            return None
        body = bytes(self.buffer[4:4 + n])
        del self.buffer[:4 + n]
        return body

    def recv_frame(self):
        while (body := self.pop_frame()) is None:
            self.fill()
        return body

    def recv_reply(self):
        """The next reply; watch events on the way are put aside."""
        while True:
            reply = decode_reply(self.recv_frame())
            if reply.xid == XID_EVENT:
                self.events.append(decode_event(reply))
                continue
            self.last_zxid = max(self.last_zxid, reply.zxid)
            return reply

    def call(self, op, xid=None):
        """Sends one request, waits for its reply, and returns its value; raises ZkError."""
        sent = self.send(op, xid)
        reply = self.recv_reply()
        if reply.xid != sent:
            raise ValueError("reply to xid %d in place of %d" % (reply.xid, sent))
        if reply.err:
            raise ZkError(reply.err, op.type)
        return decode(op.type, reply.body)

    def call_all(self, ops, depth=256):
        """Pipelines many requests; returns (err, value) of each, in order."""
        results, sent = [], 0
        while len(results) < len(ops):
            batch = bytearray()
            while sent < len(ops) and sent - len(results) < depth:
                batch += self.encode(ops[sent])[0]
                sent += 1
            if batch:
                self.send_raw(batch)
            # Take all that has arrived, so that batches stay large.
            reply = self.recv_reply()
            while True:
                op = ops[len(results)]
                results.append((reply.err, None if reply.err else decode(op.type, reply.body)))
                if len(results) == sent or len(self.buffer) < 4:
                    break
                (n,) = struct.unpack_from(">i", self.buffer)
                if len(self.buffer) < 4 + n:
                    break
                reply = self.recv_reply()
        return results

    def add_auth(self, scheme, data):
        self.call(auth(scheme, data), XID_AUTH)
        return self

    def ping(self):
        self.call(PING_OP, XID_PING)

    def close(self):
        """Ends the session, and waits until the server has closed the connection."""
        try:
            self.call(CLOSE)
            self.recv_frame()
        except Closed:
            pass
        self.drop()

    def drop(self):
        """Ends the connection, not the session."""
        self.sock.close()


def four_letter_word(port, word, host="127.0.0.1", patience_s=5.0):
    """The answer to a four-letter word; None while nobody answers there."""
    try:
        with socket.create_connection((host, port), timeout=patience_s) as sock:
            sock.sendall(word.encode())
            answer = bytearray()
            while piece := sock.recv(65536):
                answer += piece
            return answer.decode("utf-8", "replace")
    except OSError:
        return None


# ----------------------------------------------------------------------------------------------------------------------
# A whole tree, as a client sees it


Node = collections.namedtuple("Node", "data stat acl")


def read_tree(client, root="/", skip=()):
    """Every node at and below `root` as {path: Node}. The client must be allowed to read them, and nobody may write."""
    tree, level = {}, [root]
    while level:
        ops = []
        for path in level:
            ops += [get_children2(path), get_data(path), get_acl(path)]
        results = client.call_all(ops)
        below = []
        for i, path in enumerate(level):
            for err, _ in results[3 * i:3 * i + 3]:
                if err:
                    raise ZkError(err, "read of " + path)
            (_, (names, stat1)), (_, (data, stat2)), (_, (acl, stat3)) = results[3 * i:3 * i + 3]
            if not stat1 == stat2 == stat3:
                raise ValueError("%s has three Stats: %r %r %r" % (path, stat1, stat2, stat3))
            if len(names) != len(set(names)) or len(names) != stat1.num_children:
                raise ValueError("%s: children %r, numChildren %d" % (path, names, stat1.num_children))
            tree[path] = Node(data, stat1, acl)
            below += [path.rstrip("/") + "/" + name for name in names]
        level = [path for path in below if not path.startswith(tuple(skip))] if skip else below
    return tree
