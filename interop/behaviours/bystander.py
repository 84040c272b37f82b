"""The client next door: it works while others misbehave, and must notice nothing.

It has a session, an ephemeral node and an identity of its own, a watch set before the others began, and it reads, writes,
pings and is told of changes all the time. Afterwards it must be the same connection with the same session, identity and
watch; no operation may have taken seconds, and the server's memory must have stayed within bounds.
"""

import contextlib
import itertools
import os
import threading
import time

import zk

# What counts as "seconds": far beyond what a busy machine does to a sound server. Apache's takes them for a multi of a hundred
# thousand operations.
LATENCY_MAX_S = 3.0
LATENCY_MAX_OF_APACHE_S = 15.0
# Most that a server may take in all, whatever goes on at once. A JVM takes what it was given.
RESIDENT_MAX_MIB = 1024

_numbers = itertools.count()
_present = threading.local()


@contextlib.contextmanager
def bystander(server, growth_max_mib=None):
    """Has a bystander work beside the block. With `growth_max_mib` the server, which must be the caller's alone, may not
    have grown by more, not even for a moment."""
    _present.seen = True
    memory = Memory(server, growth_max_mib)
    client = _Bystander(server)
    thread = threading.Thread(target=client.live)
    thread.start()
    try:
        yield
    finally:
        client.stop.set()
        thread.join()
    client.finish()
    memory.check()


@contextlib.contextmanager
def witnessed():
    """Asserts that a bystander was there at some time during the block."""
    _present.seen = False
    yield
    assert _present.seen, "a row of the catalogue was tried without a bystander"


class Memory:
    """How much memory a server takes, at most."""

    def __init__(self, server, growth_max_mib=None):
        self.pids = server.pids()
        self.growth_max_mib = growth_max_mib
        if growth_max_mib is not None:
            self.forget_the_peak()
        self.before = self._field("VmRSS")

    def forget_the_peak(self):
        """From here on the peak is what comes now, not what the start of the server took."""
        for pid in self.pids:
            with contextlib.suppress(OSError), open("/proc/%d/clear_refs" % pid, "w") as clear:
                clear.write("5")

    def _field(self, name):
        total = 0
        for pid in self.pids:
            with contextlib.suppress(OSError), open("/proc/%d/status" % pid) as status:
                total += sum(int(line.split()[1]) << 10 for line in status if line.startswith(name + ":"))
        return total

    def check(self):
        peak = self._field("VmHWM")
        assert peak <= RESIDENT_MAX_MIB << 20, "the server took %d MiB" % (peak >> 20)
        if self.growth_max_mib is not None:
            grown = peak - self.before
            assert grown <= self.growth_max_mib << 20, "the server took %.1f MiB more, of at most %d" % (
                grown / (1 << 20), self.growth_max_mib)


class _Bystander:
    def __init__(self, server):
        self.auth = b"bystander-%d:%d" % (next(_numbers), os.getpid())
        self.observer, self.writer = server.client(), server.client()
        for client in (self.observer, self.writer):
            client.add_auth("digest", self.auth)
        create = zk.create("/bystander-", b"0", acl=[(31, "auth", "")], flags=zk.EPHEMERAL_SEQUENTIAL)
        self.path, self.kept = self.writer.call(create), self.writer.call(create)
        self.observer.call(zk.get_data(self.kept, watch=True))
        self.identity = self.observer.call(zk.Op(zk.WHO_AM_I, b""))
        self.stop, self.trouble, self.slowest_s = threading.Event(), [], 0.0
        self.latency_max_s = LATENCY_MAX_OF_APACHE_S if server.is_apache() else LATENCY_MAX_S

    def timed(self, function, *args):
        began = time.monotonic()
        value = function(*args)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        return value

    def live(self):
        try:
            turn = 0
            while not self.stop.is_set():
                turn += 1
                version = self.timed(self.observer.call, zk.get_data(self.path, watch=True))[1].version
                assert version == turn - 1, "its node has version %d in place of %d" % (version, turn - 1)
                self.timed(self.observer.ping)
                self.timed(self.writer.call, zk.set_data(self.path, b"%d" % turn))
                self.expect_change(self.path)
                self.stop.wait(0.02)
        except Exception as e:  # whatever disturbs it is the finding
            self.trouble.append(repr(e))

    def expect_change(self, path):
        """The change of this path, and nothing else, is what comes next."""
        body = None if self.observer.events else self.timed(self.observer.recv_frame)
        event = self.observer.events.popleft() if body is None else zk.decode_event(zk.decode_reply(body))
        assert (event.type, event.path) == (3, path), "it was told %r" % (event,)

    def finish(self):
        assert not self.trouble, "a bystander noticed: " + self.trouble[0]
        assert self.slowest_s < self.latency_max_s, "a bystander waited %.1f s" % self.slowest_s
        owner = self.observer.call(zk.exists(self.kept)).ephemeral_owner
        assert owner == self.writer.session.id, "a bystander's node belongs to session %#x" % owner
        identity = self.observer.call(zk.Op(zk.WHO_AM_I, b""))
        assert sorted(identity) == sorted(self.identity), "a bystander became %r" % (identity,)
        self.writer.call(zk.set_data(self.kept, b"1"))
        self.expect_change(self.kept)
        self.observer.close()
        self.writer.close()
