"""Who a client is and what it may do: schemes, ACLs, and the check when a watch fires."""

import socket

import zk
from .harness import (
    CHANGED, CHILDREN, CREATED, DELETED, RECURSIVE, SUPER, Config, Skipped, add_watch, check, digest_id,
    is_missing, refused, replies_until_closed, same, take_events, until,
)

INVALID_ACL, AUTH_FAILED, SESSION_CLOSED_REQUIRES_AUTH = -114, -115, -124
READ, WRITE, CREATE, DELETE, ADMIN, ALL = 1, 2, 4, 8, 16, 31
ENFORCED = Config("maxSessionTimeout=120000", "enforce.auth.enabled=true", "enforce.auth.schemes=digest")


def user(server, *auths):
    client = server.client()
    for auth in auths:
        client.add_auth("digest", auth)
    return client


def only(auth, perms=ALL):
    return [(perms, "digest", digest_id(auth))]


@check()
def each_permission_opens_what_it_should_and_nothing_else(server):
    admin, guest = user(server, b"ann:1"), server.client()
    opens = {
        READ: lambda p: [zk.get_data(p), zk.exists(p), zk.get_children2(p), zk.get_acl(p)],
        WRITE: lambda p: [zk.set_data(p, b"1")],
        CREATE: lambda p: [zk.create(p + "/new")],
        DELETE: lambda p: [zk.delete(p + "/child")],
        ADMIN: lambda p: [zk.set_acl(p, zk.OPEN_ACL)],
    }
    for perm in opens:
        for other, ops in opens.items():
            path = admin.call(zk.create("/perm-%d-%d" % (perm, other), acl=only(b"ann:1") + [(perm, "world", "anyone")]))
            admin.call(zk.create(path + "/child", acl=only(b"ann:1")))
            for op in ops(path):
                # An admin may read the ACL too.
                if perm == other or (perm, op.type) == (ADMIN, zk.GET_ACL):
                    guest.call(op)
                else:
                    refused(guest, op, zk.NO_AUTH)


@check()
def digest_ids_open_what_they_own(server):
    owner, guest, both = user(server, b"bob:2"), user(server, b"bob:wrong"), user(server, b"other:x", b"bob:2")
    owner.call(zk.create("/of-bob", b"secret", acl=only(b"bob:2")))
    for op in (zk.get_data("/of-bob"), zk.exists("/of-bob"), zk.set_data("/of-bob", b""), zk.create("/of-bob/x"),
               zk.get_acl("/of-bob"), zk.set_acl("/of-bob", zk.OPEN_ACL), zk.Op(104, zk.Writer().string("/of-bob").bytes())):
        refused(guest, op, zk.NO_AUTH)
    same(both.call(zk.get_data("/of-bob"))[0], b"secret")
    same(guest.call(zk.multi([zk.check("/of-bob")])), [(zk.ERROR, zk.NO_AUTH, zk.NO_AUTH)])
    # The permission to delete is the parent's to give.
    guest.call(zk.delete("/of-bob"))


@check()
def the_super_user_passes_every_check(server):
    owner, root = user(server, b"carl:3"), user(server, SUPER)
    owner.call(zk.create("/of-carl", b"1", acl=only(b"carl:3")))
    owner.call(zk.create("/of-nobody", acl=only(b"nobody:unknown")))
    root.call(zk.set_data("/of-carl", b"2"))
    root.call(zk.create("/of-carl/child"))
    root.call(zk.delete("/of-carl/child"))
    same(root.call(zk.get_acl("/of-carl"))[0], tuple(only(b"carl:3")))
    root.call(zk.set_acl("/of-nobody", zk.OPEN_ACL))
    owner.call(zk.set_data("/of-nobody", b"1"))
    same({scheme for scheme, _ in root.call(zk.Op(zk.WHO_AM_I, b""))}, {"ip", "digest", "super"})
    refused(user(server, b"super:guess"), zk.get_data("/of-carl"), zk.NO_AUTH)


@check()
def addresses_match_by_prefix(server):
    client = server.client()
    for number, (id_, allowed) in enumerate((
            ("127.0.0.1", True), ("127.0.0.1/32", True), ("127.0.0.0/8", True), ("127.255.0.0/8", True),
            ("0.0.0.0/0", True), ("127.0.0.2", False), ("127.0.0.2/31", False), ("10.0.0.0/8", False),
            ("127.0.0.0/30", True))):
        path = client.call(zk.create("/ip-%d" % number, acl=[(ALL, "ip", id_)]))
        if allowed:
            client.call(zk.get_data(path))
        else:
            refused(client, zk.get_data(path), zk.NO_AUTH)
    for id_ in ("127.0.0", "127.0.0.1/33", "127.0.0.256", "localhost", "", "127.0.0.1/", "1.2.3.4/x", "::1/129"):
        refused(client, zk.create("/ip-invalid", acl=[(ALL, "ip", id_)]), INVALID_ACL)


@check(private=True, ours_alone="ZooKeeper knows no IPv6 prefixes")
def ipv6_addresses_match_by_prefix(launch):
    with launch(Config("clientPortAddress=::1")) as server:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as e:
            raise Skipped("no IPv6 here: %s" % e) from None
        server.spawn()
        until(lambda: zk.four_letter_word(server.port, "srvr", host="::1"), "an answer on [::1]")
        client = zk.Client(server.port, host="::1").connect()
        same(client.call(zk.Op(zk.WHO_AM_I, b"")), [("ip", "::1")])
        for number, (id_, allowed) in enumerate((
                ("::1", True), ("::1/128", True), ("::/64", True), ("::/0", True), ("0:0:0:0:0:0:0:1", True),
                ("::2", False), ("fe80::/10", False), ("127.0.0.1", False), ("0.0.0.0/0", False))):
            path = client.call(zk.create("/ip6-%d" % number, acl=[(ALL, "ip", id_)]))
            if allowed:
                client.call(zk.get_data(path))
            else:
                refused(client, zk.get_data(path), zk.NO_AUTH)


@check(rows=(45,))
def lists_are_expanded_before_they_are_stored(server):
    client, nobody = user(server, b"dora:4", b"dora:5"), server.client()
    own = {(READ, "digest", digest_id(b"dora:4")), (READ, "digest", digest_id(b"dora:5"))}
    client.call(zk.create("/expanded", acl=[(READ, "auth", "ignored"), (ALL, "world", "anyone")]))
    acl = client.call(zk.get_acl("/expanded"))[0]
    same((set(acl[:2]), acl[2:]), (own, ((ALL, "world", "anyone"),)))
    client.call(zk.set_acl("/expanded", [(ALL, "world", "anyone")] * 3 + [(READ, "world", "anyone")]))
    same(client.call(zk.get_acl("/expanded"))[0], ((ALL, "world", "anyone"), (READ, "world", "anyone")))
    refused(nobody, zk.create("/unexpanded", acl=[(ALL, "auth", "")]), INVALID_ACL)
    for acl in ([], [(ALL, "world", "somebody")], [(ALL, "unknown", "x")], [(ALL, "super", "x")], [(ALL, "", "")],
                [(ALL, "digest", "no-colon")], [(ALL, "digest", "a:b:c")], [(ALL, None, "anyone")],
                [(ALL, "world", "anyone"), (ALL, "nope", "x")]):
        refused(client, zk.create("/invalid-acl", acl=acl), INVALID_ACL)
        refused(client, zk.set_acl("/expanded", acl), INVALID_ACL)
    null = zk.Op(zk.CREATE, zk.Writer().string("/null-acl").buffer(b"").int(-1).int(0).bytes())
    refused(client, null, INVALID_ACL)


@check()
def hashes_are_masked_for_readers(server):
    owner, reader, stranger = user(server, b"eve:6"), server.client(), server.client()
    owner.call(zk.create("/masked", acl=only(b"eve:6") + [(READ, "world", "anyone")]))
    same(reader.call(zk.get_acl("/masked"))[0][0], (ALL, "digest", "eve:x"))
    same(owner.call(zk.get_acl("/masked"))[0][0], only(b"eve:6")[0])
    owner.call(zk.set_acl("/masked", only(b"eve:6") + [(ADMIN, "world", "anyone")]))
    same(stranger.call(zk.get_acl("/masked"))[0][0], only(b"eve:6")[0])
    owner.call(zk.set_acl("/masked", only(b"eve:6") + [(WRITE, "world", "anyone")]))
    refused(stranger, zk.get_acl("/masked"), zk.NO_AUTH)


@check(rows=(56, "L12"))
def unknown_schemes_are_refused_and_the_connection_ends(server):
    for scheme in ("", "unknown", "world", "auth", "super", "sasl", "x509", "\0", "digest\0", None):
        client = server.client()
        client.send(zk.auth(scheme, b"user:pw"), zk.XID_AUTH)
        client.send(zk.create("/after-failed-auth"))
        replies = replies_until_closed(client)
        same([(reply.xid, reply.zxid, reply.err) for reply in replies[:1]], [(zk.XID_AUTH, 0, AUTH_FAILED)], scheme)
        assert len(replies) <= 2, "replies after a failed auth: %r" % replies
        zk.Client(server.port).connect(resume=client.session).close()


@check()
def whoami_tells_every_id_once(server):
    client = user(server, b"fred:7", b"fred:7", b"greta:8")
    client.call(zk.auth("ip", b""), zk.XID_AUTH)
    same(sorted(client.call(zk.Op(zk.WHO_AM_I, b""))), [("digest", "fred"), ("digest", "greta"), ("ip", "127.0.0.1")])


@check(rows=(57,))
def odd_passwords_are_passwords(server):
    for auth in (b"no-colon", b"", b":", b"a:b:c", b"\xff\xfe:\x00", b"x" * 65536, "ü:ö".encode()):
        client = user(server, auth)
        client.ping()
        client.close()


@check(ENFORCED, rows=(22, "L7"))
def enforced_auth_turns_everybody_else_away(server):
    for op in (zk.get_data("/"), zk.create("/unauthenticated"), zk.PING_OP, zk.sync(), add_watch("/", RECURSIVE)):
        client = server.client()
        client.send(op, xid=7)
        client.send(zk.create("/unauthenticated"))
        replies = replies_until_closed(client)
        same((replies[0].zxid, replies[0].err), (0, SESSION_CLOSED_REQUIRES_AUTH), "the answer to operation %d" % op.type)
        assert all(reply.err == SESSION_CLOSED_REQUIRES_AUTH for reply in replies)
    client = user(server, b"hans:9")
    assert is_missing(client, "/unauthenticated")
    client.ping()
    by_address = server.client()
    by_address.call(zk.auth("ip", b""), zk.XID_AUTH)
    by_address.send(zk.get_data("/"))
    same([reply.err for reply in replies_until_closed(by_address)], [SESSION_CLOSED_REQUIRES_AUTH])


@check(rows=(55,))
def a_recursive_watcher_is_told_nothing_of_hidden_nodes(server):
    owner, spy, peer = user(server, b"ida:10"), server.client(), user(server, b"ida:10")
    owner.call(zk.create("/hidden", acl=only(b"ida:10")))
    owner.call(zk.create("/open-place"))
    for client in (spy, peer):
        client.call(add_watch("/", RECURSIVE))
        client.call(add_watch("/hidden", 0))
    owner.call(zk.create("/hidden/a", acl=only(b"ida:10")))
    owner.call(zk.set_data("/hidden/a", b"1"))
    owner.call(zk.multi([zk.create("/hidden/b", acl=only(b"ida:10")), zk.delete("/hidden/b")]))
    owner.call(zk.create("/hidden/e", acl=only(b"ida:10"), flags=zk.EPHEMERAL))
    owner.call(zk.create("/open-place/visible"))
    seen = [path for _, path in take_events(spy)]
    assert "/open-place/visible" in seen, "events that everybody may see are missing: %r" % seen
    same([path for path in seen if path.startswith("/hidden")], [])
    told = [event for event in take_events(peer) if event[1].startswith("/hidden")]
    same(told, [(CREATED, "/hidden/a"), (CHILDREN, "/hidden"), (CHANGED, "/hidden/a"), (CREATED, "/hidden/b"),
                (CHILDREN, "/hidden"), (DELETED, "/hidden/b"), (CHILDREN, "/hidden"), (CREATED, "/hidden/e"),
                (CHILDREN, "/hidden")])
    owner.close()
    same([path for _, path in take_events(spy) if path.startswith("/hidden")], [])


@check()
def a_watch_set_while_readable_is_checked_again_when_it_fires(server):
    owner, reader = user(server, b"jan:11"), server.client()
    owner.call(zk.create("/turned", acl=zk.OPEN_ACL))
    reader.call(zk.get_data("/turned", watch=True))
    reader.call(zk.get_children2("/turned", watch=True))
    owner.call(zk.set_acl("/turned", only(b"jan:11")))
    owner.call(zk.set_data("/turned", b"1"))
    owner.call(zk.create("/turned/child"))
    same(take_events(reader), [])
    # The one-shot watches were used up without a word.
    owner.call(zk.set_acl("/turned", zk.OPEN_ACL))
    owner.call(zk.set_data("/turned", b"2"))
    owner.call(zk.create("/turned/child2"))
    same(take_events(reader), [])


@check()
def auth_after_the_watch_counts_when_it_fires(server):
    owner, late = user(server, b"kim:12"), server.client()
    late.call(add_watch("/late-auth", RECURSIVE))
    owner.call(zk.create("/late-auth", acl=only(b"kim:12")))
    same(take_events(late), [])
    late.add_auth("digest", b"kim:12")
    owner.call(zk.set_data("/late-auth", b"1"))
    same(take_events(late), [(CHANGED, "/late-auth")])
