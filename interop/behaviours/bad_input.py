"""Nonsense of every kind, with a bystander who must notice nothing.

Frames that are none, bodies that are not what their header says, strings, vectors and paths out of bounds, clients that send
too much, read nothing, or go away in the middle.
"""

import random
import socket
import struct
import time

import zk
from .harness import (
    PATIENCE_S, PERSISTENT, Config, add_watch, bystander, check, drain, is_missing, raw, refused, replies_until_closed,
    request, resident_bytes, same, set_watches, until,
)

INVALID_ACL = -114
SESSIONLESS = Config("nio.sessionlessCnxnTimeout=1000", "maxSessionTimeout=120000")
LONG_FRAMES = Config("maxSessionTimeout=120000", "preAllocSize=1024", properties=("jute.maxbuffer=16777216",))
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(32)


def resets(client):
    """Makes the close of this connection a reset."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def number_of_connections(server):
    return int(server.monitor()["zk_num_alive_connections"])


# ----------------------------------------------------------------------------------------------------------------------
# Frames


@check()
def what_is_no_connect_request_closes_the_connection(server):
    int_ = struct.Struct(">i").pack
    openings = [
        int_(-1), int_(-2), int_(-1 << 31), int_(0), int_((1 << 31) - 1), int_(0x100000), int_(5) + b"hello",
        int_(27) + bytes(27), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST", TLS_HELLO, b"SSH-2.0-OpenSSH_9.6\r\n", b"zzzz",
        b"\xff" * 64, request(zk.EXISTS, zk.exists("/").body), request(zk.PING), zk.frame(zk.connect_request(1, 0, None)[:20]),
        # A password longer than the frame, and one of a negative length.
        zk.frame(zk.connect_request(1)[:24] + int_(1 << 30)), zk.frame(zk.connect_request(1)[:24] + int_(-2) + bytes(17)),
    ]
    with bystander(server):
        for opening in openings:
            same(drain(raw(server, opening)), [], "frames after %r" % opening[:20])


@check(ours_alone="ZooKeeper takes a first frame as long as any other")
def a_first_frame_is_short(server):
    with bystander(server):
        conn = raw(server, struct.pack(">i", 4097))
        same(drain(conn), [])
        same(drain(raw(server, zk.frame(zk.connect_request(1, password=bytes(100_000))))), [])


@check()
def frames_without_a_header_close_the_connection(server):
    with bystander(server):
        for data in (struct.pack(">i", -1), struct.pack(">i", -1 << 31), struct.pack(">i", (1 << 31) - 1),
                     zk.frame(b""), zk.frame(b"\0\0\0\1"), zk.frame(bytes(7)), TLS_HELLO):
            client = server.client()
            client.send_raw(data)
            same(drain(client), [], "frames after %r" % data[:20])
            zk.Client(server.port).connect(resume=client.session).close()


@check(Config("maxSessionTimeout=120000", "preAllocSize=1024"))
def requests_that_are_cut_off_are_not_executed(server):
    observer = server.client()
    home = observer.call(zk.create("/cut"))
    before = number_of_connections(server)
    with bystander(server):
        for reset in (False, True):
            whole = observer.encode(zk.create(home + "/never", b"data"), xid=1)[0]
            for length in range(1, len(whole)):
                client = server.client(timeout_ms=1000)
                client.send_raw(whole[:length])
                if reset:
                    resets(client)
                client.drop()
        until(lambda: number_of_connections(server) <= before + 2, "the end of the connections that were cut off")
        same(observer.call(zk.get_children2(home))[0], [])


@check()
def a_request_may_come_byte_by_byte(server):
    with bystander(server):
        client = raw(server)
        for data in (zk.frame(zk.connect_request(30000)), client.encode(zk.create("/slowly", b"x"))[0]):
            for byte in data:
                client.send_raw(bytes((byte,)))
            client.recv_frame()
        assert not is_missing(client, "/slowly")


@check(SESSIONLESS, ours_alone="in ZooKeeper every byte prolongs the time for the handshake")
def a_handshake_that_drips_in_is_not_waited_for(server):
    conn, body = raw(server), zk.frame(zk.connect_request(30000))[:40]
    began = time.monotonic()
    conn.sock.settimeout(0.1)
    sent = 0
    with bystander(server):
        while True:
            try:
                if sent < len(body):
                    conn.send_raw(body[sent:sent + 1])
                    sent += 1
                same(conn.sock.recv(1), b"")
                break
            except TimeoutError:
                assert time.monotonic() - began < 10, "the server still waits"
            except (zk.Closed, ConnectionResetError):
                break


@check()
def ten_thousand_pings_at_once_are_all_answered(server):
    client = server.client()
    with bystander(server):
        client.send_raw(request(zk.PING, xid=zk.XID_PING) * 10_000)
        for _ in range(10_000):
            reply = client.recv_reply()
            same((reply.xid, reply.err), (zk.XID_PING, 0))


@check()
def pipelines_of_reads_and_writes_are_answered_in_order(server):
    client, rng = server.client(), random.Random(1)
    path = client.call(zk.create("/pipelined", b"0"))
    ops = [rng.choice((zk.get_data(path), zk.set_data(path, b"1"), zk.sync(path), zk.exists("/none"), zk.delete("/none"),
                       zk.PING_OP)) for _ in range(10_000)]
    with bystander(server):
        frames = [client.encode(op) for op in ops]
        # More than the server is willing to hold: it stops reading until the answers have been taken.
        sent = b"".join(frame for frame, _ in frames)
        version, at = 0, 0
        client.sock.settimeout(PATIENCE_S)
        for number, (op, (_, xid)) in enumerate(zip(ops, frames)):
            if number % 1000 == 0:
                end = sum(len(frame) for frame, _ in frames[:number + 1000])
                client.send_raw(sent[at:end])
                at = end
            reply = client.recv_reply()
            same(reply.xid, zk.XID_PING if op is zk.PING_OP else xid)
            if op.type == zk.SET_DATA:
                version += 1
            if op.type == zk.GET_DATA:
                same(zk.decode(op.type, reply.body)[1].version, version, "the version a read shows")


# ----------------------------------------------------------------------------------------------------------------------
# Operations and bodies

OPERATIONS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 19, 21, 22, 101, 103, 104, 105, 106)


@check()
def unknown_operations_end_the_connection(server):
    with bystander(server):
        for op in (0, 10, 13, 23, 99, 108, 7777, -1, -5, (1 << 31) - 1, -1 << 31):
            client = server.client()
            client.send_raw(request(op, zk.check("/").body, xid=9) + request(zk.CREATE, zk.create("/unknown-op").body))
            replies = replies_until_closed(client)
            same([(r.xid, r.zxid, r.err) for r in replies[:1]], [(9, -1, zk.UNIMPLEMENTED)], "operation %d" % op)
            zk.Client(server.port).connect(resume=client.session).close()


@check(ours_alone="ZooKeeper executes these for any client")
def operations_of_the_server_itself_are_not_for_clients(server):
    with bystander(server):
        owner = server.client()
        owner.call(zk.create("/internal"))
        for op, body in ((zk.CREATE_SESSION, struct.pack(">i", 30000)), (zk.DELETE_CONTAINER, zk.Writer().string("/internal").bytes())):
            client = server.client()
            client.send_raw(request(op, body, xid=9))
            replies = replies_until_closed(client)
            same([r.err for r in replies[:1]], [zk.UNIMPLEMENTED], "operation %d" % op)
        assert not is_missing(owner, "/internal")


@check()
def bodies_that_end_early_are_marshalling_errors(server):
    client = server.client()
    whole = {
        1: zk.create("/short", b"1"), 15: zk.create2("/short"), 19: zk.create_container("/short"),
        2: zk.delete("/short"), 3: zk.exists("/short"), 4: zk.get_data("/short"), 5: zk.set_data("/short", b"1"),
        6: zk.get_acl("/short"), 7: zk.set_acl("/short", zk.OPEN_ACL), 12: zk.get_children2("/short"), 9: zk.sync("/short"),
        14: zk.multi([zk.create("/short")]), 103: zk.get_ephemerals("/short"), 106: add_watch("/short", PERSISTENT),
        101: set_watches(1, ["/short"]), 105: set_watches(1, ["/short"], persistent=["/short"]),
    }
    with bystander(server):
        for op in OPERATIONS:
            refused(client, zk.Op(op, b""), zk.MARSHALLING_ERROR)
        for op, request_ in whole.items():
            for length in range(len(request_.body)):
                refused(client, zk.Op(op, request_.body[:length]), zk.MARSHALLING_ERROR)
        assert is_missing(client, "/short")


@check()
def bytes_behind_a_body_are_ignored(server):
    client = server.client()
    for op in (zk.create("/long"), zk.exists("/long"), zk.set_data("/long", b"1"), zk.get_data("/long"),
               zk.multi([zk.check("/long")]), zk.delete("/long")):
        client.call(op._replace(body=op.body + b"more"))


@check()
def random_bodies_disturb_nobody(server):
    rng = random.Random(4)
    with bystander(server):
        for _ in range(60):
            client = server.client(timeout_ms=1000)
            frames = []
            for _ in range(30):
                op = rng.choice(OPERATIONS + (100, 107, 11, 16))
                piece = rng.choice((rng.randbytes(rng.randrange(80)), bytes(rng.randrange(80)), b"\xff" * rng.randrange(80),
                                    struct.pack(">i", rng.randrange(-3, 50)) + rng.randbytes(40)))
                frames.append(request(op, piece, xid=rng.randrange(-10, 100)))
            client.sock.settimeout(PATIENCE_S)
            try:
                client.send_raw(b"".join(frames) + request(zk.CLOSE_SESSION))
            except zk.Closed:
                continue
            drain(client)


# ----------------------------------------------------------------------------------------------------------------------
# Strings, paths, vectors


@check()
def lengths_that_lie_are_marshalling_errors(server):
    client = server.client()
    with bystander(server):
        for length in (-2, -1 << 31, (1 << 31) - 1, 0x1000000, 100):
            lie = struct.pack(">i", length)
            refused(client, zk.Op(zk.GET_DATA, lie + b"/x\0"), zk.MARSHALLING_ERROR)
            refused(client, zk.Op(zk.CREATE, lie + zk.create("/x").body[4:]), zk.MARSHALLING_ERROR)
            refused(client, zk.Op(zk.SET_DATA, zk.Writer().string("/x").bytes() + lie + bytes(5)), zk.MARSHALLING_ERROR)
            refused(client, zk.Op(zk.MULTI, struct.pack(">ibi", 5, 0, -1) + lie), zk.MARSHALLING_ERROR)
        # A vector that claims two thousand million elements must cost nothing.
        many = struct.pack(">i", (1 << 31) - 1)
        refused(client, zk.Op(zk.CREATE, zk.Writer().string("/x").buffer(b"").bytes() + many), zk.MARSHALLING_ERROR)
        refused(client, zk.Op(zk.SET_WATCHES, struct.pack(">q", 0) + many), zk.MARSHALLING_ERROR)
        refused(client, zk.Op(zk.SET_WATCHES2, struct.pack(">q", 0) + many * 5), zk.MARSHALLING_ERROR)
        for negative in (-1, -2, -1 << 31):
            body = zk.Writer().string("/x").buffer(b"").int(negative).int(0).bytes()
            refused(client, zk.Op(zk.CREATE, body), INVALID_ACL)
        refused(client, zk.Op(zk.SET_WATCHES, struct.pack(">qiii", 0, -1, 0, 0)), zk.MARSHALLING_ERROR)


@check()
def null_paths_are_errors(server):
    client = server.client()
    refused(client, zk.set_data(None, b""), zk.BAD_ARGUMENTS)
    refused(client, zk.create(None), zk.MARSHALLING_ERROR)
    refused(client, zk.exists(None), zk.MARSHALLING_ERROR)
    refused(client, zk.get_data(None), zk.MARSHALLING_ERROR)
    refused(client, zk.get_children2(None), zk.MARSHALLING_ERROR)
    same(client.call(zk.sync(None)), None)
    for op in (zk.delete(None), zk.set_acl(None, zk.OPEN_ACL), zk.get_acl(None)):
        try:
            client.call(op)
        except zk.ZkError as e:
            assert e.code in (zk.MARSHALLING_ERROR, zk.BAD_ARGUMENTS), "error %d" % e.code


BAD_NAMES = ["/{}/", "/{}/.", "/{}/..", "/{}/a\0b", "/{}/\x01", "/{}/\x1f", "/{}/\x7f", "/{}/\x9f", "/{}/\ue000",
             "/{}/\uf8ff", "/{}/\ufff0", "/{}/\uffff", "/{}/\U0001f600", "/{}/\U00010000", "/{}/\ufffd"]
GOOD_NAMES = ["/{}/...", "/{}/.a", "/{}/a..b", "/{}/\xa0", "/{}/\ud7ff", "/{}/\uf900", "/{}/\uffef", "/{}/ ", "/{}/\u3042"]


@check()
def malformed_paths_are_refused(server):
    client = server.client()
    client.call(zk.create("/paths"))
    with bystander(server):
        for name in BAD_NAMES:
            refused(client, zk.create(name.format("paths")), zk.BAD_ARGUMENTS)
            refused(client, zk.set_data(name.format("paths"), b""), zk.BAD_ARGUMENTS)
        for name in GOOD_NAMES:
            path = name.format("paths")
            same(client.call(zk.create(path)), path)
            client.call(zk.delete(path))
        for path in ("", "paths", "paths/x"):
            refused(client, zk.create(path), zk.BAD_ARGUMENTS if "/" not in path else zk.NO_NODE)
            refused(client, zk.set_data(path, b""), zk.BAD_ARGUMENTS)
        for path, code in (("/", zk.NODE_EXISTS), ("//", None), ("/paths//x", zk.NO_NODE), ("/none/x", zk.NO_NODE),
                           ("/../x", zk.NO_NODE), ("/paths/../x", zk.NO_NODE)):
            if code is not None:
                refused(client, zk.create(path), code)
            refused(client, zk.get_data(path if path != "/" else "/none"), zk.NO_NODE)
        for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "", "none"):
            refused(client, zk.delete(path), zk.BAD_ARGUMENTS)


@check()
def malformed_utf8_is_refused(server):
    client = server.client()
    client.call(zk.create("/utf8"))
    for tail in (b"\xff", b"\xc3", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80", b"a\x80b"):
        body = zk.Writer().buffer(b"/utf8/" + tail).buffer(b"").acl(zk.OPEN_ACL).int(0).bytes()
        refused(client, zk.Op(zk.CREATE, body), zk.BAD_ARGUMENTS)
        refused(client, zk.Op(zk.GET_DATA, zk.Writer().buffer(b"/utf8/" + tail).bool(False).bytes()), zk.NO_NODE)
    same(client.call(zk.get_children2("/utf8"))[0], [])


@check()
def very_long_paths_are_only_long(server):
    client = server.client()
    with bystander(server):
        for name in ("n" * 65536, "m" * 1_000_000):
            path = client.call(zk.create("/" + name))
            same(client.call(zk.get_data(path))[0], b"")
            client.call(zk.delete(path))
        deep = "/a" * 100_000
        for op in (zk.create(deep), zk.get_data(deep), zk.exists(deep), zk.delete(deep), zk.set_data(deep, b"")):
            refused(client, op, zk.NO_NODE)
        client.call(add_watch(deep, 1))
        client.call(zk.exists("/"))


@check()
def deep_trees_are_served(server):
    client = server.client()
    paths = ["/deep" + "/d" * depth for depth in range(1500)]
    same({err for err, _ in client.call_all([zk.create(path) for path in paths])}, {0})
    with bystander(server):
        client.call(add_watch("/deep", 1))
        client.call(zk.set_data(paths[-1], b"1"))
        same(client.events.pop().path, paths[-1])
        same(client.call(zk.Op(zk.GET_ALL_CHILDREN_NUMBER, zk.Writer().string("/deep").bytes())), 1499)
        same({err for err, _ in client.call_all([zk.delete(path) for path in reversed(paths)])}, {0})


@check()
def lists_of_ten_thousand_acl_entries_are_kept(server):
    client = server.client()
    acl = tuple((1 + number % 31, "digest", "user%d:x" % number) for number in range(10_000)) + ((31, "world", "anyone"),)
    client.call(zk.create("/many-acls", acl=acl))
    same(client.call(zk.get_acl("/many-acls"))[0], acl)
    for perms in (0, 255, -1):
        path = client.call(zk.create("/perms-", acl=[(perms, "world", "anyone"), (1, "ip", "127.0.0.1")], flags=zk.SEQUENTIAL))
        same(client.call(zk.get_acl(path))[0][0][0], perms)


@check()
def flags_and_ttls_out_of_range_are_refused(server):
    client = server.client()
    for flags in (7, 8, 255, -1, -1 << 31):
        refused(client, zk.create("/flags", flags=flags), zk.BAD_ARGUMENTS)
        refused(client, zk.create2("/flags", flags=flags), zk.BAD_ARGUMENTS)
    for ttl in (0, -1, 1 << 40, -1 << 63, (1 << 63) - 1):
        refused(client, zk.create_ttl("/flags", ttl), zk.BAD_ARGUMENTS)
    refused(client, zk.create("/flags", flags=zk.TTL), zk.BAD_ARGUMENTS)
    assert is_missing(client, "/flags")


# ----------------------------------------------------------------------------------------------------------------------
# Multi

SUB = struct.Struct(">ibi").pack
END = SUB(-1, 1, -1)


@check()
def multis_of_the_wrong_shape_are_refused_whole(server):
    client = server.client()
    create = SUB(1, 0, -1) + zk.create("/shape").body
    same(client.call(zk.multi([])), [])
    with bystander(server):
        for body in (create, create + SUB(1, 0, -1), SUB(4, 0, -1) + zk.get_data("/").body + END,
                     create + SUB(4, 0, -1) + zk.get_data("/").body + END,
                     SUB(14, 0, -1) + zk.multi([zk.create("/shape")]).body + END, SUB(99, 0, -1) + END,
                     SUB(1, 0, -1) + zk.create("/shape", flags=9).body + END,
                     create + SUB(1, 0, -1) + zk.create("/shape", flags=zk.TTL).body + END):
            refused(client, zk.Op(zk.MULTI, body), zk.MARSHALLING_ERROR)
        for body in (create + END, SUB(14, 0, -1) + END, SUB(22, 0, -1) + END, SUB(4, 0, -1) + zk.get_data("/").body):
            refused(client, zk.Op(zk.MULTI_READ, body), zk.MARSHALLING_ERROR)
        assert is_missing(client, "/shape")


@check(LONG_FRAMES)
def a_multi_of_a_hundred_thousand_operations_is_done_whole(server):
    client = server.client()
    client.sock.settimeout(60)
    with bystander(server):
        results = client.call(zk.multi([zk.check("/")] * 100_000))
        same((len(results), {err for _, err, _ in results}), (100_000, {0}))
        client.call(zk.create("/many"))
        results = client.call(zk.multi([zk.create("/many/%d" % i) for i in range(100_000)] + [zk.check("/none")]))
        same((len(results), results[-1][1]), (100_001, zk.NO_NODE))
        same(client.call(zk.get_children2("/many"))[1].cversion, 0)
        client.call(zk.multi([zk.create("/many/%d" % i) for i in range(100_000)]))
        same(client.call(zk.get_children2("/many"))[1].num_children, 100_000)
        client.call(zk.multi([zk.delete("/many/%d" % i) for i in range(100_000)]))
        client.call(zk.delete("/many"))


@check(LONG_FRAMES)
def set_watches_of_three_hundred_thousand_paths_are_kept(server):
    client, zxid = server.client(), -1
    with bystander(server):
        for zxid in (-1, (1 << 63) - 1):
            lists = [["/w%s%d" % (kind, i) for i in range(100_000)] for kind in "dec"]
            client.sock.settimeout(60)
            reply = client.send(set_watches(zxid, *lists), zk.XID_SET_WATCHES)
            same(client.recv_reply()[0], reply)
            same(len(client.events), 200_000, "events for what is missing")
            client.events.clear()
        client.call(zk.create("/we99999"))
        same([event.path for event in client.events], ["/we99999"])
    client.close()


# ----------------------------------------------------------------------------------------------------------------------
# Clients that ask for more than they take


@check(private=True)
def events_for_a_client_that_does_not_read_take_bounded_memory(launch):
    with launch(Config("maxSessionTimeout=120000", "preAllocSize=1024")) as server:
        server.start()
        writer, sleeper = server.client(), server.client(timeout_ms=120000)
        paths = [writer.call(zk.create("/" + str(i) + "n" * 500)) for i in range(20)]
        for path in paths:
            sleeper.call(add_watch(path, PERSISTENT))
        ops = [zk.set_data(path, b"x") for path in paths] * 500
        writer.call_all(ops)
        before = resident_bytes(server)
        with bystander(server):
            for _ in range(15):
                writer.call_all(ops)
        grown = resident_bytes(server) - before
        assert grown < 150 << 20, "%d MiB more for events that nobody reads" % (grown >> 20)


@check(private=True, ours_alone="ZooKeeper queues every reply in memory")
def replies_for_a_client_that_does_not_read_take_bounded_memory(launch):
    with launch(Config("maxSessionTimeout=120000", "preAllocSize=1024")) as server:
        server.start()
        writer, client = server.client(), server.client(timeout_ms=120000)
        path = writer.call(zk.create("/large", bytes(1_000_000)))
        writer.call(zk.get_data(path))
        before = resident_bytes(server)
        with bystander(server):
            client.send_raw(b"".join(client.encode(zk.get_data(path))[0] for _ in range(2000)))
            # Whatever the server does with two gigabytes of replies, it has begun when the first bytes are here.
            client.fill()
            writer.call_all([zk.get_data(path)] * 200)
            grown = resident_bytes(server) - before
        assert grown < 64 << 20, "%d MiB more for replies that nobody reads" % (grown >> 20)
        # Once it reads again it gets every reply, in order.
        for xid in range(1, 51):
            same(client.recv_reply().xid, xid)


@check(private=True)
def a_client_that_reads_slowly_keeps_its_session(launch):
    with launch(Config("maxSessionTimeout=120000", "preAllocSize=1024")) as server:
        server.start()
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


@check(private=True)
def a_client_that_does_not_read_is_let_go_when_its_session_expires(launch):
    with launch(Config("maxSessionTimeout=120000", "preAllocSize=1024", "nio.sessionlessCnxnTimeout=1000")) as server:
        server.start()
        observer = server.client()
        path = observer.call(zk.create("/large", bytes(1_000_000)))
        before = until(lambda: number_of_connections(server), "mntr")
        client = server.client(timeout_ms=1000)
        client.call(zk.create("/sleeper", flags=zk.EPHEMERAL))
        client.send_raw(b"".join(client.encode(zk.get_data(path))[0] for _ in range(30)))
        until(lambda: is_missing(observer, "/sleeper"), "the end of the session")
        until(lambda: number_of_connections(server) <= before, "the end of its connection")


@check()
def a_thousand_wrong_guesses_make_no_super_user(server):
    owner, client = server.client(), server.client()
    owner.add_auth("digest", b"o:o")
    owner.call(zk.create("/guarded", acl=[(31, "auth", "")]))
    with bystander(server):
        for guess in range(1000):
            client.send(zk.auth("digest", b"super:%d" % guess), zk.XID_AUTH)
        for _ in range(1000):
            same(client.recv_reply().err, 0)
        refused(client, zk.get_data("/guarded"), zk.NO_AUTH)


@check(Config("maxSessionTimeout=120000", "preAllocSize=1024"))
def connections_that_come_and_go_leave_nothing(server):
    before = number_of_connections(server)
    with bystander(server):
        for turn in range(300):
            conn = raw(server, (b"", b"\0", b"\0\0\0\x2d", zk.frame(zk.connect_request(1000)))[turn % 4])
            if turn % 2:
                resets(conn)
            conn.drop()
        until(lambda: number_of_connections(server) <= before + 2, "the end of all these connections")
