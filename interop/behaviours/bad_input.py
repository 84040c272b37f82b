"""Frames that are none, handshakes that are none, and bodies that are not what their header says.

Every check here covers rows of the catalogue, beside a bystander who must notice nothing.
"""

import contextlib
import random
import socket
import struct
import time

import zk
from .harness import (
    ENDED, PATIENCE_S, PERSISTENT, ROOMY, Config, add_watch, check, drain, is_missing, number_of_connections,
    number_of_sessions, raw, refused, replies_until_closed, request, same, set_watches, until,
)

AUTH_FAILED = -115
SESSIONLESS = Config("nio.sessionlessCnxnTimeout=1000", "maxSessionTimeout=120000")
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(32)


def resets(client):
    """Makes the close of this connection a reset, and closes it."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.drop()


def drip(client, data, patience_s=10.0):
    """Sends one byte now and then, until the server has closed the connection; it must before they are all sent."""
    began = time.monotonic()
    client.sock.settimeout(0.05)
    with contextlib.suppress(*ENDED, ConnectionResetError):
        for byte in data:
            client.send_raw(bytes((byte,)))
            with contextlib.suppress(TimeoutError):
                same(client.sock.recv(1), b"")
                return
            assert time.monotonic() - began < patience_s, "the server still waits"
        raise AssertionError("the server took all of %d bytes" % len(data))


# ----------------------------------------------------------------------------------------------------------------------
# Frames and handshakes


@check(rows=(1, 2, 3, 9))
def what_is_no_connect_request_closes_the_connection(server):
    int_ = struct.Struct(">i").pack
    openings = [
        int_(-1), int_(-2), int_(-1 << 31), int_(0), int_((1 << 31) - 1), int_(0x100000), int_(5) + b"hello",
        int_(27) + bytes(27), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST", TLS_HELLO, b"SSH-2.0-OpenSSH_9.6\r\n", b"zzzz",
        b"\xff" * 64, request(zk.EXISTS, zk.exists("/").body), request(zk.PING), zk.frame(zk.connect_request(1, 0, None)[:20]),
        # A password longer than the frame, and one of a negative length.
        zk.frame(zk.connect_request(1)[:24] + int_(1 << 30)), zk.frame(zk.connect_request(1)[:24] + int_(-2) + bytes(17)),
    ]
    for opening in openings:
        same(drain(raw(server, opening)), [], "frames after %r" % opening[:20])


@check(ours_alone="ZooKeeper takes a first frame as long as any other", rows=(3, 13, "L1"))
def a_first_frame_is_short(server):
    same(drain(raw(server, struct.pack(">i", 4097))), [])
    same(drain(raw(server, zk.frame(zk.connect_request(1, password=bytes(100_000))))), [])


@check(rows=(1, 2, 3, 9))
def frames_without_a_header_close_the_connection(server):
    for data in (struct.pack(">i", -1), struct.pack(">i", -1 << 31), struct.pack(">i", (1 << 31) - 1),
                 zk.frame(b""), zk.frame(b"\0\0\0\1"), zk.frame(bytes(7)), TLS_HELLO):
        client = server.client()
        client.send_raw(data)
        same(drain(client), [], "frames after %r" % data[:20])
        zk.Client(server.port).connect(resume=client.session).close()


@check(ROOMY, alone=True, rows=(5,))
def requests_that_are_cut_off_are_not_executed(server):
    observer = server.client()
    home = observer.call(zk.create("/cut"))
    before = number_of_connections(server)
    whole = observer.encode(zk.create(home + "/never", b"data"), xid=1)[0]
    silent = []
    for end in (zk.Client.drop, resets, silent.append):
        for length in range(1, len(whole)):
            client = server.client(timeout_ms=1000)
            client.send_raw(whole[:length])
            end(client)
    for client in silent:
        same(drain(client), [], "frames on a connection that fell silent amid a request")
    until(lambda: number_of_connections(server) <= before, "the end of the connections that were cut off")
    same(observer.call(zk.get_children2(home))[0], [])


@check(SESSIONLESS, alone=True, rows=(5, "L1"))
def handshakes_that_are_cut_off_make_no_session(server):
    before, sessions = number_of_connections(server), number_of_sessions(server)
    whole, silent = zk.frame(zk.connect_request(30000)), []
    for end in (zk.Client.drop, resets, silent.append):
        for length in range(1, len(whole)):
            end(raw(server, whole[:length]))
    for conn in silent:
        same(drain(conn), [], "frames on a connection that fell silent amid its handshake")
    until(lambda: number_of_connections(server) <= before, "the end of the connections that were cut off")
    same(number_of_sessions(server), sessions, "sessions")


@check(rows=(6,))
def a_request_may_come_byte_by_byte(server):
    client = raw(server)
    for data in (zk.frame(zk.connect_request(30000)), client.encode(zk.create("/slowly", b"x"))[0]):
        for byte in data:
            client.send_raw(bytes((byte,)))
        client.recv_frame()
    assert not is_missing(client, "/slowly")


@check(SESSIONLESS, rows=(6, "L1"), ours_alone="in ZooKeeper every byte prolongs the time for the handshake")
def a_handshake_that_drips_in_is_not_waited_for(server):
    drip(raw(server), zk.frame(zk.connect_request(30000, password=bytes(1000))))


@check(ROOMY, rows=(6, "L3"))
def a_request_that_drips_in_does_not_keep_its_session(server):
    client, other = server.client(timeout_ms=1000), server.client()
    client.call(zk.create("/dripping", flags=zk.EPHEMERAL))
    drip(client, client.encode(zk.create("/drop", bytes(1000)))[0])
    until(lambda: is_missing(other, "/dripping"), "the end of the session")
    assert is_missing(other, "/drop")


@check(ROOMY, rows=(6,), ours_alone="in ZooKeeper only whole requests keep a session alive")
def a_request_that_comes_slowly_but_steadily_is_served(server):
    client, other = server.client(timeout_ms=1000), server.client()
    frame = client.encode(zk.create("/steady", bytes(200_000)))[0]
    began = time.monotonic()
    for at in range(0, len(frame), 4000):
        client.send_raw(frame[at:at + 4000])
        time.sleep(0.04)
    assert time.monotonic() - began > 1.5, "that was no slow client"
    same(client.recv_reply().err, 0)
    assert not is_missing(other, "/steady")


@check(rows=(8,))
def ten_thousand_pings_at_once_are_all_answered(server):
    client = server.client()
    client.send_raw(request(zk.PING, xid=zk.XID_PING) * 10_000)
    for _ in range(10_000):
        reply = client.recv_reply()
        same((reply.xid, reply.err), (zk.XID_PING, 0))


@check(ROOMY, alone=True, rows=(8,))
def pipelines_of_reads_and_writes_are_answered_in_order(server):
    client, rng = server.client(), random.Random(1)
    path = client.call(zk.create("/pipelined", b"0"))
    ops = [rng.choice((zk.get_data(path), zk.set_data(path, b"1"), zk.sync(path), zk.exists("/none"), zk.delete("/none"),
                       zk.PING_OP)) for _ in range(10_000)]
    frames = [client.encode(op) for op in ops]
    # As many at a time as ZooKeeper takes: beyond a thousand under way, the bystander's among them, it may stop for good.
    sent = b"".join(frame for frame, _ in frames)
    version, at = 0, 0
    client.sock.settimeout(PATIENCE_S)
    for number, (op, (_, xid)) in enumerate(zip(ops, frames)):
        if number % 900 == 0:
            end = sum(len(frame) for frame, _ in frames[:number + 900])
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


@check(rows=(19,))
def unknown_operations_end_the_connection(server):
    for op in (0, 10, 13, 23, 99, 108, 7777, -9, -12, -1, -5, (1 << 31) - 1, -1 << 31):
        client = server.client()
        client.send_raw(request(op, zk.check("/").body, xid=9) + request(zk.CREATE, zk.create("/unknown-op").body))
        replies = replies_until_closed(client)
        same([(r.xid, r.zxid, r.err) for r in replies[:1]], [(9, -1, zk.UNIMPLEMENTED)], "operation %d" % op)
        zk.Client(server.port).connect(resume=client.session).close()


@check(ours_alone="ZooKeeper executes these for any client", rows=(19, 20))
def operations_of_the_server_itself_are_not_for_clients(server):
    owner = server.client()
    owner.call(zk.create("/internal"))
    for op, body in ((zk.CREATE_SESSION, struct.pack(">i", 30000)), (zk.DELETE_CONTAINER, zk.Writer().string("/internal").bytes())):
        client = server.client()
        client.send_raw(request(op, body, xid=9))
        replies = replies_until_closed(client)
        same([r.err for r in replies[:1]], [zk.UNIMPLEMENTED], "operation %d" % op)
    assert not is_missing(owner, "/internal")


@check(rows=(7, 21))
def bodies_that_end_early_are_marshalling_errors(server):
    client = server.client()
    whole = {
        1: zk.create("/short", b"1"), 15: zk.create2("/short"), 19: zk.create_container("/short"),
        2: zk.delete("/short"), 3: zk.exists("/short"), 4: zk.get_data("/short"), 5: zk.set_data("/short", b"1"),
        6: zk.get_acl("/short"), 7: zk.set_acl("/short", zk.OPEN_ACL), 12: zk.get_children2("/short"), 9: zk.sync("/short"),
        14: zk.multi([zk.create("/short")]), 103: zk.get_ephemerals("/short"), 106: add_watch("/short", PERSISTENT),
        101: set_watches(1, ["/short"]), 105: set_watches(1, ["/short"], persistent=["/short"]),
    }
    for op in OPERATIONS:
        refused(client, zk.Op(op, b""), zk.MARSHALLING_ERROR)
    for op, request_ in whole.items():
        for length in range(len(request_.body)):
            refused(client, zk.Op(op, request_.body[:length]), zk.MARSHALLING_ERROR)
    assert is_missing(client, "/short")


@check(rows=(7,))
def bytes_behind_a_body_are_ignored(server):
    client = server.client()
    for op in (zk.create("/long"), zk.exists("/long"), zk.set_data("/long", b"1"), zk.get_data("/long"),
               zk.multi([zk.check("/long")]), zk.delete("/long")):
        client.call(op._replace(body=op.body + b"more"))


@check(rows=(21,))
def bodies_of_other_operations_are_what_they_look_like(server):
    client = server.client()
    client.call(zk.create("/foreign"))
    for op, body, code in (
            (zk.CREATE, zk.get_data("/foreign/x"), zk.MARSHALLING_ERROR), (zk.CREATE2, zk.delete("/foreign/x"), zk.MARSHALLING_ERROR),
            (zk.SET_DATA, zk.delete("/foreign"), zk.MARSHALLING_ERROR), (zk.SET_ACL, zk.set_data("/foreign", b"12345678"), zk.MARSHALLING_ERROR),
            (zk.ADD_WATCH, zk.exists("/foreign"), zk.MARSHALLING_ERROR),
            (zk.SET_WATCHES, zk.create("/foreign/x"), zk.MARSHALLING_ERROR), (zk.CREATE_TTL, zk.create("/foreign/x"), zk.MARSHALLING_ERROR),
            # What is longer than it need be has bytes behind it, which count for nothing.
            (zk.DELETE, zk.create("/foreign/x"), zk.NO_NODE), (zk.GET_DATA, zk.create("/foreign/x"), zk.NO_NODE)):
        refused(client, zk.Op(op, body.body), code)
    same(client.call(zk.exists("/foreign"))[4:7], (0, 0, 0), "versions of the node")


@check(rows=(21,))
def random_bodies_disturb_nobody(server):
    rng = random.Random(4)
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
# Who somebody is


@check(rows=(56, 57))
def auth_packets_that_are_none_end_the_connection(server):
    whole = zk.auth("digest", b"user:pw").body
    for length in range(len(whole)):
        client = server.client()
        client.send_raw(request(zk.AUTH, whole[:length], xid=zk.XID_AUTH) + request(zk.CREATE, zk.create("/auth-cut").body))
        same(drain(client), [], "frames after %d bytes of an auth packet" % length)
    client = server.client()
    client.send(zk.auth("digest", None), zk.XID_AUTH)
    same([(reply.xid, reply.zxid, reply.err) for reply in replies_until_closed(client)], [(zk.XID_AUTH, 0, AUTH_FAILED)])
    assert is_missing(server.client(), "/auth-cut")


@check(rows=(58,))
def sasl_tokens_change_nobodys_identity(server):
    client = server.client()
    client.add_auth("digest", b"before-sasl:1")
    who = client.call(zk.Op(zk.WHO_AM_I, b""))
    null_token = struct.pack(">i", -1)
    for token in (b"", bytes(100), b'username="super"', bytes(20_000), bytes(1_000_000)):
        client.send(zk.Op(zk.SASL, zk.Writer().buffer(token).bytes()), xid=5)
        reply = client.recv_reply()
        # This is how a server without SASL says so.
        same((reply.xid, reply.zxid, reply.err, reply.body), (5, 0, 0, null_token))
        same(client.call(zk.Op(zk.WHO_AM_I, b"")), who)
    for body in (b"", null_token, struct.pack(">i", -7), struct.pack(">i", 1 << 30), struct.pack(">i", 8) + bytes(7)):
        client = server.client()
        client.send_raw(request(zk.SASL, body))
        same(drain(client), [], "frames after the token %r" % body)
        zk.Client(server.port).connect(resume=client.session).close()
