"""What particular client libraries do, and depend on."""

import zk
from .harness import (
    CHANGED, DATA_WATCH, Config, check, check_watches, is_missing, raw, refused, same, set_watches,
)


def connect(server, body):
    client = raw(server, zk.frame(body))
    return client, client.recv_frame()


@check(rows=(11,))
def a_connect_without_the_read_only_byte_gets_a_response_without_it(server):
    client, response = connect(server, zk.connect_request(30000, read_only=None))
    same(len(response), 36)
    reader = zk.Reader(response)
    same((reader.int(), reader.int()), (0, 30000))
    session = zk.Session(30000, reader.long(), reader.buffer(), False)
    client.ping()
    again, response = connect(server, zk.connect_request(30000, session.id, session.password, read_only=None))
    same(len(response), 36)
    again.ping()
    _, response = connect(server, zk.connect_request(30000, session.id, b"wrong", read_only=None))
    same(response, bytes(16) + (16).to_bytes(4, "big") + bytes(16))


@check(rows=(11, 13))
def connects_of_every_shape_are_accepted(server):
    usual = zk.connect_request(30000)
    shapes = {
        "another version": (9).to_bytes(4, "big") + usual[4:],
        "bytes at the end": usual + b"more",
        "no password": zk.connect_request(30000, password=None),
        "empty password": zk.connect_request(30000, password=b""),
        "short password": zk.connect_request(30000, password=b"x" * 15),
        "long password": zk.connect_request(30000, password=b"x" * 1000),
        "read-only welcome": zk.connect_request(30000, read_only=True),
        "a boolean of 7": usual[:-1] + b"\x07",
    }
    for name, body in shapes.items():
        client, response = connect(server, body)
        same((len(response), response[-1], response[:8]), (37, 0, bytes(4) + (30000).to_bytes(4, "big")), name)
        same(response[16:20], (16).to_bytes(4, "big"), name)
        client.call(zk.CLOSE)


@check()
def requests_sent_together_with_the_connect_are_served(server):
    body = zk.frame(zk.connect_request(30000))
    maker = zk.Client(server.port)
    ops = [(zk.auth("digest", b"early:1"), zk.XID_AUTH), (set_watches(0, exist=["/early"]), zk.XID_SET_WATCHES),
           (zk.create("/early", acl=[(31, "auth", "")]), 1), (zk.get_data("/early"), 2), (zk.PING_OP, zk.XID_PING)]
    maker.send_raw(body + b"".join(maker.encode(op, xid)[0] for op, xid in ops))
    assert len(maker.recv_frame()) == 37
    replies = [maker.recv_reply() for _ in ops]
    same([(reply.xid, reply.err) for reply in replies], [(xid, 0) for _, xid in ops])
    same([event.type for event in maker.events], [1])


@check()
def auth_and_set_watches_may_have_ordinary_xids(server):
    client = server.client()
    client.call(zk.create("/go"))
    zxid = client.last_zxid
    client.call(zk.set_data("/go", b"1"))
    client.call(zk.auth("digest", b"go:zk"), xid=77)
    client.call(set_watches(zxid, data=["/go"]), xid=78)
    same([event.type for event in client.events], [CHANGED])
    client.call(set_watches(client.last_zxid, data=["/go"], persistent=[]), xid=79)
    client.call(check_watches("/go", DATA_WATCH))


@check(rows=(18,))
def any_xid_is_echoed_but_for_pings(server):
    client = server.client()
    for xid in (0, 5, 5, 3, -7, -1 << 31, (1 << 31) - 1, -1, -2, -4, -8):
        client.call(zk.exists("/"), xid=xid) if xid != -1 else None
        reply_to = client.send(zk.PING_OP, xid=xid)
        same((client.recv_reply().xid, reply_to), (zk.XID_PING, xid))


@check(rows=(44,))
def null_and_empty_data_are_different(server):
    client = server.client()
    for data in (None, b"", b"x"):
        path = client.call(zk.create("/data-", data, flags=zk.SEQUENTIAL))
        value, stat = client.call(zk.get_data(path))
        same((value, stat.data_length), (data, len(data or b"")))
        for other in (None, b"", b"yy"):
            client.call(zk.set_data(path, other))
            same(client.call(zk.get_data(path))[0], other)


@check()
def a_failed_multi_has_its_errors_in_the_results(server):
    client = server.client()
    ops = [zk.create("/multi-failed"), zk.check("/none"), zk.create("/multi-failed/x"), zk.delete("/multi-failed")]
    same(client.call(zk.multi(ops)), [(-1, 0, 0), (-1, -101, -101), (-1, -2, -2), (-1, -2, -2)])
    assert is_missing(client, "/multi-failed")


@check(Config("extendedTypesEnabled=false", "maxSessionTimeout=120000"), ours_alone="the peer script turns TTL on", rows=(61,))
def ttl_nodes_need_the_extended_types(server):
    client = server.client()
    refused(client, zk.create_ttl("/ttl", 1000), zk.UNIMPLEMENTED)
    refused(client, zk.create("/ttl", flags=zk.TTL), zk.UNIMPLEMENTED)
