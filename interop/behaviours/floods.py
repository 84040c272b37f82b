"""Clients that ask for more than they take, claim more than they send, and come in numbers: memory stays bounded.

Every check here covers rows of the catalogue, beside a bystander who must notice nothing.
"""

import contextlib
import struct
import threading
import time

import zk
from .bad_input import resets
from .harness import (
    PERSISTENT, ROOMY, Config, add_watch, check, drain, is_missing, number_of_connections, raw, refused, replies_until_closed,
    request, same, set_watches, until,
)

AUTH_FAILED = -115
SOON = Config("maxSessionTimeout=120000", "preAllocSize=1024", "nio.sessionlessCnxnTimeout=1000")
QUEUED = "ZooKeeper queues every reply in memory"


def stalled(progress, still_s=0.5):
    """Waits until a number that grows has not grown for a while."""
    seen = [progress(), time.monotonic()]

    def still():
        if (now := progress()) != seen[0]:
            seen[:] = now, time.monotonic()
        return time.monotonic() - seen[1] > still_s

    until(still, "an end of the progress", 60.0)


def send_without_reading(client, pieces):
    """A thread that sends one piece after another, for as long as the server takes them; and what it has sent."""
    client.sock.settimeout(None)
    sent = []

    def run():
        with contextlib.suppress(zk.Closed, OSError):
            for piece in pieces:
                client.send_raw(piece)
                sent.append(len(piece))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, sent


@check(ROOMY, alone=True, rows=(3, "L2"), growth_max_mib=24, ours_alone="ZooKeeper allocates what the length claims")
def memory_follows_what_came_not_what_was_claimed(server):
    clients = [server.client() for _ in range(300)]
    for client in clients:
        client.send_raw(struct.pack(">i", 0xFFFFF) + bytes(100))
    # Whoever is answered behind them was served after them.
    for _ in range(20):
        server.client().close()


@check(ROOMY, alone=True, rows=("L1",), growth_max_mib=16)
def strangers_have_few_bytes_kept(server):
    conns = [raw(server, struct.pack(">i", 4096) + bytes(4095)) for _ in range(500)]
    conns += [raw(server, struct.pack(">i", 4096) + bytes(4096) + bytes(60_000)) for _ in range(100)]
    for _ in range(20):
        server.client().close()
    for conn in conns:
        conn.drop()


@check(ROOMY, alone=True, rows=(8,), growth_max_mib=32, ours_alone=QUEUED)
def a_million_pings_take_bounded_memory(server):
    client, count = server.client(), 1_000_000
    thread, sent = send_without_reading(client, [request(zk.PING, xid=zk.XID_PING) * 10_000] * (count // 10_000))
    stalled(lambda: len(sent))
    # Not one of them is lost.
    one = zk.frame(struct.pack(">i", zk.XID_PING))[4:]
    for _ in range(count):
        same(client.recv_frame()[:4], one)
    thread.join()


@check(ROOMY, alone=True, rows=(6, "L5"), growth_max_mib=64, ours_alone=QUEUED)
def replies_that_waited_for_a_write_take_bounded_memory(server):
    writer, client = server.client(), server.client(timeout_ms=120000)
    path = writer.call(zk.create("/large", bytes(1_000_000)))
    writer.call(zk.create("/small"))
    # All in one piece: the reads are there before the write is done.
    ops = [zk.set_data("/small", b"x")] + [zk.get_data(path)] * 1000
    client.send_raw(b"".join(client.encode(op)[0] for op in ops))
    client.fill()
    writer.call_all([zk.get_data(path)] * 200)
    for xid in range(1, 1002):
        same(client.recv_reply().xid, xid)


@check(ROOMY, alone=True, rows=("L6",), growth_max_mib=200, ours_alone="ZooKeeper walks for as long as it takes")
def requests_that_walk_over_many_nodes_hold_nobody_up(server):
    walker, other = server.client(timeout_ms=120000), server.client(timeout_ms=120000)
    walker.call(zk.create("/walk"))
    for batch in range(20):
        ops = [zk.create("/walk/%d-%d" % (batch, number), flags=zk.EPHEMERAL) for number in range(10_000)]
        for at in range(0, 10_000, 1000):
            walker.call(zk.multi(ops[at:at + 1000]))
    number = zk.Op(zk.GET_ALL_CHILDREN_NUMBER, zk.Writer().string("/walk").bytes())
    for client, op in ((walker, zk.get_ephemerals("/none")), (other, number)):
        client.send_raw(b"".join(client.encode(op)[0] for _ in range(100)))
        client.sock.settimeout(60)
    # Also between writes, where reads pass through the one thread that all writes need.
    other.send_raw(b"".join(other.encode(op)[0] for op in [zk.set_data("/walk", b""), number] * 50))
    for client, count in ((walker, 100), (other, 200)):
        for _ in range(count):
            same(client.recv_reply().err, 0)
    # Their end is no concern of others either.
    walker.close()


@check(ROOMY, alone=True, rows=("L6",), growth_max_mib=150)
def events_for_a_client_that_does_not_read_take_bounded_memory(server):
    writer, sleeper = server.client(), server.client(timeout_ms=120000)
    paths = [writer.call(zk.create("/" + str(i) + "n" * 500)) for i in range(20)]
    for path in paths:
        sleeper.call(add_watch(path, PERSISTENT))
    ops = [zk.set_data(path, b"x") for path in paths] * 500
    writer.call_all(ops)
    for _ in range(15):
        writer.call_all(ops)


@check(ROOMY, alone=True, rows=("L6",), growth_max_mib=96, ours_alone="ZooKeeper queues every event in memory")
def events_of_long_paths_take_bounded_memory(server):
    writer, sleeper = server.client(), server.client(timeout_ms=120000)
    path = writer.call(zk.create("/" + "n" * 100_000))
    sleeper.call(add_watch(path, PERSISTENT))
    for _ in range(20):
        writer.call_all([zk.set_data(path, b"x")] * 100, depth=16)
    # What waits for it is made bytes when it begins to read.
    with contextlib.suppress(zk.Closed):
        for _ in range(2000):
            sleeper.recv_frame()


@check(ROOMY, alone=True, rows=(6, "L5"), growth_max_mib=64, ours_alone="ZooKeeper queues every reply in memory")
def replies_for_a_client_that_does_not_read_take_bounded_memory(server):
    writer, client = server.client(), server.client(timeout_ms=120000)
    path = writer.call(zk.create("/large", bytes(1_000_000)))
    client.send_raw(b"".join(client.encode(zk.get_data(path))[0] for _ in range(2000)))
    # Whatever the server does with two gigabytes of replies, it has begun when the first bytes are here.
    client.fill()
    writer.call_all([zk.get_data(path)] * 200)
    # Once it reads again it gets every reply, in order.
    for xid in range(1, 51):
        same(client.recv_reply().xid, xid)


@check(ROOMY, alone=True, rows=(6,), growth_max_mib=64)
def a_client_that_reads_slowly_keeps_its_session(server):
    writer, client = server.client(), server.client(timeout_ms=1000)
    path = writer.call(zk.create("/large", bytes(1_000_000)))
    client.call(zk.create("/slow", flags=zk.EPHEMERAL))
    client.send_raw(b"".join(client.encode(zk.get_data(path))[0] for _ in range(100)))
    began, pinged = time.monotonic(), 0.0
    # A piece at a time, for three times the session's timeout, with pings that wait behind what was asked for.
    while (elapsed := time.monotonic() - began) < 3:
        if elapsed - pinged > 0.3:
            client.send(zk.PING_OP, xid=zk.XID_PING)
            pinged = elapsed
        client.buffer += client.sock.recv(1 << 18)
        time.sleep(0.02)
    assert not is_missing(writer, "/slow"), "the session expired while its client was taking replies"


@check(SOON, alone=True, rows=(6, "L3"))
def a_client_that_does_not_read_is_let_go_when_its_session_expires(server):
    observer = server.client()
    path = observer.call(zk.create("/large", bytes(1_000_000)))
    before = until(lambda: number_of_connections(server), "mntr")
    client = server.client(timeout_ms=1000)
    client.call(zk.create("/sleeper", flags=zk.EPHEMERAL))
    client.send_raw(b"".join(client.encode(zk.get_data(path))[0] for _ in range(30)))
    until(lambda: is_missing(observer, "/sleeper"), "the end of the session")
    until(lambda: number_of_connections(server) <= before, "the end of its connection")


@check(SOON, alone=True, rows=(6, "L3"))
def a_client_that_takes_a_byte_at_a_time_is_let_go(server):
    observer = server.client()
    path = observer.call(zk.create("/large", bytes(1_000_000)))
    before = number_of_connections(server)
    client = server.client(timeout_ms=1000)
    client.call(zk.create("/sipper", flags=zk.EPHEMERAL))
    client.send_raw(b"".join(client.encode(zk.get_data(path))[0] for _ in range(30)))

    def gone():
        with contextlib.suppress(ConnectionResetError):
            client.sock.recv(1)
        return is_missing(observer, "/sipper") and number_of_connections(server) <= before

    until(gone, "the end of the session and its connection")


@check(ROOMY, alone=True, rows=("L5",), growth_max_mib=300, ours_alone="ZooKeeper has no bound of bytes unless told to")
def large_requests_of_many_connections_take_bounded_memory(server):
    clients = [server.client(timeout_ms=120000) for _ in range(100)]
    frame = clients[0].encode(zk.set_data("/none", bytes(1_000_000)), xid=1)[0]
    threads = [send_without_reading(client, [frame] * 20) for client in clients]
    for thread, _ in threads:
        thread.join()
    for client in clients:
        for _ in range(20):
            same(client.recv_reply().err, zk.NO_NODE)


@check(rows=("L6", "L12", 57), ours_alone="ZooKeeper keeps as many ids as anybody earns")
def ids_of_one_connection_are_bounded(server):
    few, many, long = server.client(), server.client(), server.client()
    for number in range(100):
        few.add_auth("digest", b"user%d:x" % (number % 50))
    same(len(few.call(zk.Op(zk.WHO_AM_I, b""))), 51)
    for client, users in ((many, [b"user%d:x" % number for number in range(1000)]),
                          (long, [b"%d" % number + b"u" * 100_000 for number in range(20)])):
        for user in users:
            with contextlib.suppress(zk.Closed):
                client.send(zk.auth("digest", user), zk.XID_AUTH)
        replies = replies_until_closed(client)
        assert 1 < len(replies) < len(users)
        same([reply.err for reply in replies], [0] * (len(replies) - 1) + [AUTH_FAILED])
        zk.Client(server.port).connect(resume=client.session).close()


@check(ROOMY, alone=True, rows=(45, "L6"), growth_max_mib=64, ours_alone="ZooKeeper compares every entry with every other")
def lists_as_long_as_a_frame_hold_nobody_up(server):
    """Whoever sets, reads or checks such lists again and again must not keep others from it."""
    client, stranger = server.client(), server.client()
    for number in range(30):
        client.add_auth("digest", b"user%d:x" % number)
    acl = [(1, "ip", "10.%d.%d.1" % divmod(number, 256)) for number in range(38_000)]
    for path in ("/long-acl", "/long-acl-2"):
        client.call(zk.create(path, acl=acl))
    for other in (client, stranger):
        other.sock.settimeout(60)
        other.send_raw(b"".join(other.encode(zk.get_data("/long-acl"))[0] for _ in range(300)))
    for other in (client, stranger):
        for _ in range(300):
            same(other.recv_reply().err, zk.NO_AUTH)


@check(ROOMY, alone=True, rows=(52, "L6"), growth_max_mib=700, ours_alone="ZooKeeper sets as many watches as anybody asks for")
def watches_of_long_paths_are_bounded(server):
    client = server.client()
    with contextlib.suppress(zk.Closed):
        for batch in range(1000):
            paths = ["/%d-%d-" % (batch, number) + "w" * 100_000 for number in range(10)]
            client.send(set_watches(-1, exist=paths), zk.XID_SET_WATCHES)
            client.recv_reply()
        raise AssertionError("a gigabyte of watched paths was taken")


@check(ROOMY, alone=True, rows=(5, "L4"), growth_max_mib=32)
def connections_that_come_and_go_leave_nothing(server):
    before = number_of_connections(server)
    for turn in range(300):
        conn = raw(server, (b"", b"\0", b"\0\0\0\x2d", zk.frame(zk.connect_request(1000)))[turn % 4])
        if turn % 2:
            resets(conn)
        conn.drop()
    until(lambda: number_of_connections(server) <= before, "the end of all these connections")


@check(rows=(57,))
def a_thousand_wrong_guesses_make_no_super_user(server):
    owner = server.client()
    owner.add_auth("digest", b"o:o")
    owner.call(zk.create("/guarded", acl=[(31, "auth", "")]))
    for round_ in range(20):
        client = server.client()
        for guess in range(50):
            client.send(zk.auth("digest", b"super:%d-%d" % (round_, guess)), zk.XID_AUTH)
        for _ in range(50):
            same(client.recv_reply().err, 0)
        refused(client, zk.get_data("/guarded"), zk.NO_AUTH)
        client.close()
