"""The log: what an operator, or whatever reads the log, finds about each event.

Both servers are made to do the same. For each event stands a pattern of the lines that tell of it; the words may differ. What is
compared: that both tell of it, or neither, at the same level; that ours names every fact that Apache's names; and that ours
takes no more lines for it. Beside these events nothing may appear in ours at WARN or ERROR.
"""

import collections
import re
import signal
import socket
import struct
import time

import zk
from .pair import Pair, say

LINES = (
    # Apache's, by slf4j-simple or log4j.
    re.compile(r"(?:\S+ )?\[[^\]]*\](?: \[[^\]]*\])? +(?P<level>TRACE|DEBUG|INFO|WARN|ERROR) +\S+ +-+ +(?P<text>.*)"),
    re.compile(r"\d{4}-\d\d-\d\dT\S+ +(?P<level>TRACE|DEBUG|INFO|WARN|ERROR) +(?P<text>.*)"),
)
PATIENCE_S = 20
TICK_MS = 500
# How long further lines about an event are waited for.
QUIET_S = 0.25

Line = collections.namedtuple("Line", "level text")
# `spare` lines more than Apache's are as good: how many there are is a matter of chance, or of how busy the machine is.
Event = collections.namedtuple("Event", "name cause pattern spare", defaults=(0,))


def read(lines):
    """Lines of a log; what is no line of its own (a stack trace) belongs to the one before it."""
    found = []
    for line in lines:
        if match := next((match for pattern in LINES if (match := pattern.match(line))), None):
            found.append(Line(match["level"], match["text"]))
        elif found:
            found[-1] = Line(found[-1].level, found[-1].text + "\n" + line.rstrip())
    return found


def compare(command, comparison):
    lines = ["maxSessionTimeout=60000", "minSessionTimeout=1000", "maxClientCnxns=12", "snapCount=40", "preAllocSize=1024",
             "enforceQuota=true", "4lw.commands.whitelist=ruok"]
    with Pair(command, lines, TICK_MS) as pair:
        for name, pattern, fact in STARTED:
            told = [told_of(read(side.log_lines()), pattern, fact(side)) for side in pair.sides]
            hold(comparison, name, *told, spare=1)
        for line in read(pair.sides[1].log_lines()):
            if line.level in ("WARN", "ERROR") and not comparison.of_apache:
                comparison.differs("log of a start", "%s %s" % line)
        for event in EVENTS:
            hold(comparison, event.name, *pair.both(lambda side: happen(side, event)), spare=event.spare)
        hold(comparison, "a stop", *pair.both(lambda side: happen(side, Event("a stop", stop, None))))


def stop(side):
    side.stop()


def hold(comparison, name, theirs, ours, spare=0):
    """Compares the lines about one event, each given as its level and its facts."""
    levels = [" ".join(sorted({level for level, _ in told})) or "nothing" for told in (theirs, ours)]
    comparison.values("log of " + name, *levels)
    facts = [{fact for _, facts in told for fact in facts} for told in (theirs, ours)]
    comparison.compared += 1
    if unnamed := facts[0] - facts[1]:
        comparison.differs("log of " + name, "does not name %s" % ", ".join(sorted(unnamed)))
    if len(ours) > len(theirs) + spare and theirs:
        comparison.differs("log of " + name, "%d lines, Apache has %d" % (len(ours), len(theirs)))


def happen(side, event):
    """Has it happen, and gives the lines that tell of it, with the facts that they name."""
    before = len(read(side.log_lines()))
    facts = event.cause(side) or {}
    deadline = time.monotonic() + (PATIENCE_S if event.pattern else 0)
    while True:
        told = told_of(read(side.log_lines())[before:], event.pattern, facts)
        if event.pattern and told or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    time.sleep(QUIET_S)
    return told_of(read(side.log_lines())[before:], event.pattern, facts)


def told_of(lines, pattern, facts):
    """Level and facts of each line about it. Without a pattern nothing is to be told of it: what is, at WARN or ERROR."""
    about = [line for line in lines
             if (re.search(pattern, line.text) if pattern else line.level in ("WARN", "ERROR"))]
    return [(line.level, {name for name, fact in facts.items() if fact in line.text}) for line in about]


# ----------------------------------------------------------------------------------------------------------------------
# What is made to happen. Each gives the facts that a line about it may name.


def who(client):
    session = client.session.id if client.session else 0
    return {"address": "127.0.0.1:%d" % client.sock.getsockname()[1], "session": "0x%x" % session}


def a_new_session(side):
    side.clients["kept"] = side.client(timeout_ms=30000)


def a_session_that_is_closed(side):
    side.client().close()


def a_client_that_goes(side):
    client = side.client(timeout_ms=30000)
    facts = who(client)
    client.drop()
    return facts


def a_stranger_that_goes(side):
    client = zk.Client(side.port)
    facts = who(client)
    client.drop()
    return facts


def reset(client):
    facts = who(client)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.drop()
    return facts


def a_connection_that_breaks(side):
    return reset(side.client(timeout_ms=30000))


def a_session_that_has_ended(side):
    client = side.client()
    session = client.session
    client.close()
    return refused(side, session)


def a_wrong_password(side):
    owner = side.clients["owner"] = side.client(timeout_ms=30000)
    return refused(side, owner.session._replace(password=b"x" * 16))


def refused(side, session):
    client = zk.Client(side.port)
    facts = dict(who(client), session="0x%x" % session.id)
    try:
        client.connect(resume=session)
    except (zk.Refused, zk.Closed):
        client.drop()
        return facts
    raise AssertionError("%s let it in" % side.title)


def a_zxid_of_another_server(side):
    client = zk.Client(side.port)
    facts = dict(who(client), seen="0x10000000000")
    try:
        client.connect(last_zxid_seen=1 << 40)
    except zk.Closed:
        client.drop()
        return facts
    raise AssertionError("%s let it in" % side.title)


def a_silent_client(side):
    client = side.clients["silent"] = side.client(timeout_ms=1000)
    return {"session": "0x%x" % client.session.id, "timeout": "1000"}


def sent(side, data, client=None):
    """These bytes, until the server closes the connection."""
    client = client or side.client(timeout_ms=30000)
    facts = who(client)
    client.send_raw(data)
    try:
        while True:
            client.recv_frame()
    except zk.Closed:
        client.drop()
    return facts


def a_length_that_is_too_large(side):
    return dict(sent(side, struct.pack(">i", 0x7ffffff)), length="134217727")


def a_length_that_is_negative(side):
    return dict(sent(side, struct.pack(">i", -5)), length="-5")


def a_strangers_nonsense(side):
    return dict(sent(side, b"GET / HTTP/1.1\r\n\r\n", zk.Client(side.port)), length=str(int.from_bytes(b"GET ", "big")))


def a_hundred_strangers(side):
    for _ in range(100):
        sent(side, b"GET / HTTP/1.1\r\n\r\n", zk.Client(side.port))


def a_handshake_that_is_none(side):
    return sent(side, zk.frame(b"nonsense"), zk.Client(side.port))


def a_request_that_is_none(side):
    return sent(side, zk.frame(b"gar"))


def an_operation_that_is_unknown(side):
    sent(side, zk.frame(struct.pack(">ii", 1, 77)))
    return {"operation": "77"}


def an_id(side):
    client = side.clients["user"] = side.client(timeout_ms=30000)
    client.add_auth("digest", b"user:secret")
    return dict(who(client), scheme="digest")


def an_unknown_scheme(side):
    client = side.client(timeout_ms=30000)
    try:
        client.add_auth("martian", b"x")
    except zk.ZkError:
        pass
    client.drop()
    return {"scheme": "martian"}


def a_request_that_fails(side):
    client = side.clients["kept"]
    for op in (zk.delete("/nope"), zk.create("/zookeeper"), zk.set_data("/", b"", 99)):
        try:
            client.call(op)
        except zk.ZkError:
            continue
        raise AssertionError("operation %d is to fail" % op.type)


def a_quota_that_is_exceeded(side):
    client = side.clients["kept"]
    for path in ("/q", "/zookeeper/quota/q"):
        client.call(zk.create(path))
    client.call(zk.create("/zookeeper/quota/q/zookeeper_limits", b"count=1,bytes=-1"))
    client.call(zk.create("/zookeeper/quota/q/zookeeper_stats", b"count=1,bytes=0"))
    for i in range(3):
        client.call(zk.create("/q/%d" % i))
    return {"path": "/q"}


def many_writes(side):
    client = side.clients["kept"]
    client.call_all([zk.create("/w%d" % i) for i in range(50)])
    return {"name": "snapshot."}


def a_word(side):
    _, _, port = say(side.port, b"ruok")
    return {"word": "ruok", "address": "127.0.0.1:%d" % port}


def a_word_that_is_not_listed(side):
    say(side.port, b"dump")


def too_many_connections(side):
    """A hundred beyond the limit: one of them is told of, not each."""
    clients = []
    try:
        for _ in range(112):
            try:
                clients.append(zk.Client(side.port))
            except (zk.Closed, OSError):
                pass
        # All have been looked at once the last is turned away.
        try:
            clients[-1].recv_frame()
        except zk.Closed:
            pass
    finally:
        for client in clients:
            client.drop()
    return {"address": "127.0.0.1", "limit": "max is 12"}


# What is in the log of every start.
STARTED = (
    ("the configuration", r"Reading configuration from", lambda side: {"path": str(side.home / "zoo.cfg")}),
    ("the version", r"Server environment:zookeeper.version=3\.9\.5-", lambda side: {}),
    ("the port", r"binding to port", lambda side: {"address": "127.0.0.1:%d" % side.port}),
)
EVENTS = (
    Event("a new session", a_new_session, None),
    Event("a session closed by its client", a_session_that_is_closed, None),
    Event("a connection lost", a_client_that_goes, r"session = 0x[1-9a-f]"),
    Event("a stranger's connection lost", a_stranger_that_goes, r"session = 0x0\b"),
    Event("a connection reset", a_connection_that_breaks, r"(?s)Close of session 0x[1-9a-f].*[Rr]eset"),
    Event("an ended session resumed", a_session_that_has_ended, r"Invalid session"),
    Event("a wrong password", a_wrong_password, r"Incorrect password"),
    Event("a client that has seen more", a_zxid_of_another_server, r"has seen zxid"),
    Event("a session that expires", a_silent_client, r"Expiring session"),
    Event("a length too large", a_length_that_is_too_large, r"Len error"),
    Event("a negative length", a_length_that_is_negative, r"Len error"),
    Event("a stranger's nonsense", a_strangers_nonsense, r"Len error"),
    Event("a handshake that is none", a_handshake_that_is_none, r"Close of session"),
    Event("a request that is none", a_request_that_is_none, r"Close of session"),
    Event("an unknown operation", an_operation_that_is_unknown, r"unknown type"),
    Event("an id", an_id, r"auth success"),
    Event("an unknown scheme", an_unknown_scheme, r"martian"),
    Event("requests that fail", a_request_that_fails, None),
    Event("a quota exceeded", a_quota_that_is_exceeded, r"Quota exceeded"),
    Event("snapshots", many_writes, r"snapshot\.[0-9a-f]+", spare=2),
    Event("a word", a_word, r"Processing"),
    Event("a word that is not listed", a_word_that_is_not_listed, None),
    # From here on lines about strangers are left out.
    Event("a hundred strangers' nonsense", a_hundred_strangers, r"Len error"),
    Event("too many connections", too_many_connections, r"Too many connections", spare=3),
)
