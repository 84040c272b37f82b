"""What the checks are made of: the register, servers to run against, and ways to wait for what must come.

A check is a function with `@check(config)`: it gets a running server of that configuration, shared with all other checks of
the same configuration, so that it keeps to a subtree of its own. With `alone=True` the server is started for it; a check
that stops or breaks its server takes `@check(private=True)` and gets a function that makes one. Nothing sleeps for a fixed
time where there is a condition to wait for; `PATIENCE_S` is how long anything may take on a busy machine before it counts as
missing.

A check that covers `rows` of the catalogue runs beside a bystander; a private one brings its own.
"""

import base64
import collections
import contextlib
import hashlib
import os
import threading
import time

import zk
from server import Server
from .bystander import bystander, witnessed

PATIENCE_S = 20.0

Check = collections.namedtuple("Check", "name run config private alone ours_alone rows growth_max_mib")

CHECKS = []
# How a socket tells that the other side has closed it.
ENDED = (zk.Closed, BrokenPipeError)


class Skipped(Exception):
    """Raised by a check that cannot run here; says why."""


class Config:
    """Lines of a zoo.cfg. `properties` are settings that ZooKeeper reads as Java system properties only."""

    def __init__(self, *lines, tick_ms=200, properties=()):
        self.lines, self.tick_ms, self.properties = tuple(lines), tick_ms, tuple(properties)

    def server(self, command, data=None):
        flags = " ".join("-D" + setting for setting in self.properties)
        env = {"JAVA_TOOL_OPTIONS": flags, "ZK_HEAP": "256m"}
        return Server(command, self.lines + self.properties, data=data, tick_ms=self.tick_ms, env=env)


def digest_id(auth):
    """The id of scheme `digest` that `user:password` earns."""
    return auth.split(b":")[0].decode() + ":" + base64.b64encode(hashlib.sha1(auth).digest()).decode()


# Short ticks, so that sessions expire soon; long sessions for whoever does not ask for a short one.
SUPER = b"super:behaviour"
QUICK = Config(
    "maxSessionTimeout=120000", "preAllocSize=1024",
    "DigestAuthenticationProvider.superDigest=" + digest_id(SUPER),
)

# For what takes much of a server's memory, or counts its connections.
ROOMY = Config("maxSessionTimeout=120000", "preAllocSize=1024")


def check(config=QUICK, private=False, alone=False, ours_alone=None, rows=(), growth_max_mib=None):
    """Registers a check. `ours_alone` says why the behaviour is not ZooKeeper's; `growth_max_mib`, for `alone`, is how much
    more memory our server may take meanwhile."""

    def register(function):
        name = function.__module__.rsplit(".", 1)[-1] + ": " + function.__name__.replace("_", " ")
        CHECKS.append(Check(name, function, config, private, alone, ours_alone, tuple(rows), growth_max_mib))
        return function

    return register


def carry_out(chosen, fleet):
    """Runs one check with what it asked for."""
    if chosen.private:
        with witnessed() if chosen.rows else contextlib.nullcontext():
            chosen.run(fleet.private)
    elif chosen.alone:
        with fleet.private(chosen.config) as server:
            # A JVM grows to the size it was given, whatever it is asked.
            accompanied(chosen, server.start(), None if server.is_apache() else chosen.growth_max_mib)
    else:
        accompanied(chosen, fleet.server(chosen.config), None)


def accompanied(chosen, server, growth_max_mib):
    with bystander(server, growth_max_mib) if chosen.rows else contextlib.nullcontext():
        chosen.run(server)


class Fleet:
    """The servers of one run. Each shared one is started by the first check that wants it."""

    def __init__(self, command):
        self.command = command
        self.guard = threading.Lock()
        self.shared = {}

    def server(self, config):
        with self.guard:
            slot = self.shared.setdefault(config, [threading.Lock(), None])
        with slot[0]:
            if slot[1] is None:
                slot[1] = config.server(self.command).start()
            return slot[1]

    def private(self, config=QUICK, data=None):
        return config.server(self.command, data)

    def close(self):
        """Ends every shared server; yields for each how it ended and what it had logged."""
        for _, server in self.shared.values():
            if server is None:
                continue
            alive = server.process.poll() is None
            status = server.stop() if alive else server.process.poll()
            yield alive, status, server.log_lines()
            server.process = None
            server.__exit__(None)


def until(condition, what, patience_s=PATIENCE_S):
    """Waits until `condition` holds, and returns what it gave."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "not within %.0f s: %s" % (patience_s, what)
        time.sleep(0.01)
    return value


def same(got, wanted, what=""):
    assert got == wanted, "%s%s%r in place of %r" % (what, ": " if what else "", got, wanted)


def refused(client, op, code):
    """Asks for something that must be answered with this error, the connection going on."""
    try:
        value = client.call(op)
    except zk.ZkError as e:
        same(e.code, code, "error of operation %d" % op.type)
        return
    raise AssertionError("operation %d gave %r in place of error %d" % (op.type, value, code))


def is_missing(client, path):
    try:
        client.call(zk.exists(path))
    except zk.ZkError as e:
        same(e.code, zk.NO_NODE)
        return True
    return False


def drain(client):
    """All frames until the server closes the connection, which it must."""
    frames = []
    with contextlib.suppress(*ENDED):
        while True:
            frames.append(client.recv_frame())
    return frames


def replies_until_closed(client):
    return [zk.decode_reply(body) for body in drain(client)]


def next_event(client):
    """The next watch event; a reply in its place is an error."""
    if client.events:
        return client.events.popleft()
    reply = zk.decode_reply(client.recv_frame())
    same(reply.xid, zk.XID_EVENT, "xid of an event")
    return zk.decode_event(reply)


def take_events(client):
    """Events so far, as (type, path). A read comes first: every event of what it shows must have come before it."""
    client.call(zk.exists("/"))
    events = [(event.type, event.path) for event in client.events]
    client.events.clear()
    return events


def raw(server, data=b""):
    """A connection without a handshake, after `data` was sent on it."""
    client = zk.Client(server.port, patience_s=PATIENCE_S)
    if data:
        client.send_raw(data)
    return client


def request(type, body=b"", xid=1):
    return zk.frame(xid.to_bytes(4, "big", signed=True) + type.to_bytes(4, "big", signed=True) + body)


def number_of_connections(server):
    return int(server.monitor()["zk_num_alive_connections"])


def number_of_sessions(server):
    return int(server.monitor()["zk_global_sessions"])


def resident_bytes(server):
    total = 0
    for pid in server.pids():
        with contextlib.suppress(OSError), open("/proc/%d/statm" % pid) as statm:
            total += int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


# ----------------------------------------------------------------------------------------------------------------------
# Requests about watches

CREATED, DELETED, CHANGED, CHILDREN = 1, 2, 3, 4
PERSISTENT, RECURSIVE = 0, 1
CHILDREN_WATCH, DATA_WATCH, ANY_WATCH, PERSISTENT_WATCH, RECURSIVE_WATCH = 1, 2, 3, 4, 5
NO_WATCHER = -121


def add_watch(path, mode):
    return zk.Op(zk.ADD_WATCH, zk.Writer().string(path).int(mode).bytes())


def check_watches(path, kind):
    return zk.Op(zk.CHECK_WATCHES, zk.Writer().string(path).int(kind).bytes())


def remove_watches(path, kind):
    return zk.Op(zk.REMOVE_WATCHES, zk.Writer().string(path).int(kind).bytes())


def set_watches(zxid, data=(), exist=(), child=(), persistent=None, recursive=()):
    w = zk.Writer().long(zxid).strings(data).strings(exist).strings(child)
    if persistent is None:
        return zk.Op(zk.SET_WATCHES, w.bytes())
    return zk.Op(zk.SET_WATCHES2, w.strings(persistent).strings(recursive).bytes())
