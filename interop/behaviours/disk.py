"""A full disk, on a small file system of its own."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import zk
from .harness import PATIENCE_S, Config, Skipped, check, same, until

SMALL = Config("maxSessionTimeout=120000", "preAllocSize=1024", "snapCount=1000000")
SIZE_MB = 100
SYSTEM_ERROR = -1


@contextlib.contextmanager
def small_disk(mount_point):
    """A file system of 100 MB on `mount_point`, which only processes of this mount namespace see: the command to enter
    it, and the way there from outside."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"):
        raise Skipped("only root may mount a small file system")
    script = 'mount -t tmpfs -o size=%dm gk-small "$0" && echo ready && exec cat' % SIZE_MB
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", script, str(mount_point)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        if holder.stdout.readline() != b"ready\n":
            raise Skipped("a file system cannot be mounted in a namespace here")
        yield "nsenter -m -t %d -- " % holder.pid, Path("/proc/%d/root" % holder.pid + str(mount_point))
    finally:
        holder.kill()
        holder.wait()


def large(path):
    return zk.create(path, bytes(100_000))


def refusal(client, path):
    """The error that a write gets, or 0."""
    try:
        client.call(large(path))
    except zk.ZkError as e:
        return e.code
    return 0


@check(private=True, ours_alone="ZooKeeper ends when its disk is full")
def a_full_disk_refuses_writes_and_nothing_acknowledged_is_lost(launch):
    with launch(SMALL) as server, small_disk(server.data) as (enter, inside):
        server.command = enter + server.command
        server.start()
        writer, other = server.client(timeout_ms=60000), server.client(timeout_ms=60000)
        filler = inside / "filler"
        filler.write_bytes(bytes((SIZE_MB - 20) << 20))
        # Writes until one is refused, or is left waiting: one that was accepted before the disk was full is answered
        # once there is room.
        acknowledged, code = [], 0
        writer.sock.settimeout(3)
        with contextlib.suppress(TimeoutError):
            while not code:
                waiting = "/n%05d" % len(acknowledged)
                if not (code := refusal(writer, waiting)):
                    acknowledged.append(waiting)
        writer.sock.settimeout(PATIENCE_S)
        assert 20 < len(acknowledged) < 300, "full after %d writes" % len(acknowledged)
        for path in (acknowledged[0], acknowledged[-1]):
            same(len(other.call(zk.get_data(path))[0]), 100_000)
        other.ping()
        same(refusal(other, "/refused"), SYSTEM_ERROR, "a write to a full disk")
        filler.unlink()
        until(lambda: refusal(other, "/room-again") in (0, zk.NODE_EXISTS), "writes are accepted again")
        acknowledged.append("/room-again")
        if not code:
            same(writer.recv_reply().err, 0, "the write that was left waiting")
            acknowledged.append(waiting)
        server.kill()
        server.start()
        again = server.client()
        for path in acknowledged:
            same(len(again.call(zk.get_data(path))[0]), 100_000, path)
        same(len(again.call(zk.get_children2("/"))[0]), len(acknowledged) + 1)
