"""Strings, paths, vectors, lists, multis and watches out of bounds, and requests that make no sense.

Every check here covers rows of the catalogue, beside a bystander who must notice nothing.
"""

import random
import struct

import datadir
import zk
from .bystander import bystander
from .harness import (
    CHANGED, RECURSIVE, ROOMY, Config, add_watch, check, is_missing, refused, same, set_watches, take_events,
)

INVALID_ACL, RECONFIG_DISABLED = -114, -123
LONG_FRAMES = Config("maxSessionTimeout=120000", "preAllocSize=1024", properties=("jute.maxbuffer=16777216",))
SUB = struct.Struct(">ibi").pack
END = SUB(-1, 1, -1)


# ----------------------------------------------------------------------------------------------------------------------
# Strings, paths, vectors


@check(rows=(24, 41, 42, 43, 44))
def lengths_that_lie_are_marshalling_errors(server):
    client = server.client()
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


@check(rows=(25,))
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


# All of them in a name below /{}; the edges of what Java's PathUtils refuses.
BAD_NAMES = ["/{}/", "/{}/.", "/{}/..", "/{}/a\0b", "/{}/\0", "/{}/\x01", "/{}/\n", "/{}/\x1f", "/{}/\x7f",
             "/{}/\x80", "/{}/\x9f", "/{}/\ue000", "/{}/\uf8ff", "/{}/\ufff0", "/{}/\uffff", "/{}/\U0001f600",
             "/{}/\U00010000", "/{}/\U0010ffff", "/{}/\ufffd"]
GOOD_NAMES = ["/{}/...", "/{}/.a", "/{}/a..b", "/{}/\xa0", "/{}/\ud7ff", "/{}/\uf900", "/{}/\uffef", "/{}/ ", "/{}/~", "/{}/\u3042"]


@check(rows=(26, 27, 28, 29, 30, 31, 32, 33, 34, 39))
def malformed_paths_are_refused(server):
    client = server.client()
    client.call(zk.create("/paths"))
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


@check(rows=(35,))
def malformed_utf8_is_refused(server):
    client = server.client()
    client.call(zk.create("/utf8"))
    for tail in (b"\xff", b"\xc3", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80", b"a\x80b"):
        body = zk.Writer().buffer(b"/utf8/" + tail).buffer(b"").acl(zk.OPEN_ACL).int(0).bytes()
        refused(client, zk.Op(zk.CREATE, body), zk.BAD_ARGUMENTS)
        refused(client, zk.Op(zk.GET_DATA, zk.Writer().buffer(b"/utf8/" + tail).bool(False).bytes()), zk.NO_NODE)
    same(client.call(zk.get_children2("/utf8"))[0], [])


@check(rows=(36,))
def very_long_paths_are_only_long(server):
    client = server.client()
    for name in ("n" * 65536, "m" * 1_000_000):
        path = client.call(zk.create("/" + name))
        same(client.call(zk.get_data(path))[0], b"")
        client.call(zk.delete(path))
    deep = "/a" * 100_000
    for op in (zk.create(deep), zk.get_data(deep), zk.exists(deep), zk.delete(deep), zk.set_data(deep, b"")):
        refused(client, op, zk.NO_NODE)
    client.call(add_watch(deep, 1))
    client.call(zk.exists("/"))


@check(rows=(36,))
def deep_trees_are_served(server):
    client = server.client()
    paths = ["/deep" + "/d" * depth for depth in range(1500)]
    same({err for err, _ in client.call_all([zk.create(path) for path in paths])}, {0})
    client.call(add_watch("/deep", 1))
    client.call(zk.set_data(paths[-1], b"1"))
    same(client.events.pop().path, paths[-1])
    same(client.call(zk.Op(zk.GET_ALL_CHILDREN_NUMBER, zk.Writer().string("/deep").bytes())), 1499)
    same({err for err, _ in client.call_all([zk.delete(path) for path in reversed(paths)])}, {0})


@check(rows=(37,))
def nothing_is_created_below_what_is_missing_or_ephemeral(server):
    client = server.client()
    client.call(zk.create("/parent-e", flags=zk.EPHEMERAL))
    for make in (zk.create, zk.create2, zk.create_container, lambda path: zk.create_ttl(path, 1000)):
        refused(client, make("/parent-none/x"), zk.NO_NODE)
        refused(client, make("/parent-e/x"), zk.NO_CHILDREN_FOR_EPHEMERALS)
    for flags in (zk.EPHEMERAL, zk.SEQUENTIAL, zk.EPHEMERAL_SEQUENTIAL):
        refused(client, zk.create("/parent-e/x", flags=flags), zk.NO_CHILDREN_FOR_EPHEMERALS)
    ops = [zk.create("/parent-m", flags=zk.EPHEMERAL), zk.create("/parent-m/x")]
    same([err for _, err, _ in client.call(zk.multi(ops))], [0, zk.NO_CHILDREN_FOR_EPHEMERALS])
    same(client.call(zk.get_children2("/parent-e"))[0], [])
    assert is_missing(client, "/parent-m")


@check(rows=(30, 38))
def nothing_leaves_a_subtree_by_its_name(server):
    """A chroot is the client's affair: the server sees whole paths, and takes none of them for another."""
    client, writer = server.client(), server.client()
    for path in ("/jail", "/jailx", "/jail/a"):
        writer.call(zk.create(path, path.encode()))
    client.call(add_watch("/jail", RECURSIVE))
    for path in ("/jail/../jailx", "/jail/./a", "/jail//a", "/jail/a/", "/jail/a/..", "/jail/..", "jail/a", "/jail/a/../../jailx"):
        refused(client, zk.get_data(path), zk.NO_NODE)
        refused(client, zk.get_children2(path), zk.NO_NODE)
        refused(client, zk.set_data(path, b"x"), zk.BAD_ARGUMENTS)
        same(client.call(zk.multi([zk.check(path)]))[0][1], zk.BAD_ARGUMENTS)
    writer.call(zk.set_data("/jailx", b"1"))
    writer.call(zk.create("/jailx/b"))
    same(take_events(client), [])
    writer.call(zk.set_data("/jail/a", b"1"))
    same(take_events(client), [(CHANGED, "/jail/a")])


@check(ROOMY, alone=True, rows=(39, 20))
def what_the_server_needs_is_not_for_everybody(server):
    client = server.client()
    for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
        refused(client, zk.delete(path), zk.BAD_ARGUMENTS)
        same(client.call(zk.multi([zk.delete(path)]))[0][1], zk.BAD_ARGUMENTS)
    for op in (zk.set_data("/zookeeper/config", b"server.9=x"), zk.set_acl("/zookeeper/config", zk.OPEN_ACL),
               zk.create("/zookeeper/config/x")):
        refused(client, op, zk.NO_AUTH)
    refused(client, zk.create("/"), zk.NODE_EXISTS)
    client.add_auth("digest", b"root:1")
    # As in ZooKeeper, everybody may write to these, and whoever owns / may close it.
    for path in ("/", "/zookeeper", "/zookeeper/quota"):
        client.call(zk.set_data(path, b"x"))
    client.call(zk.set_acl("/", [(1, "world", "anyone"), (31, "auth", "")]))
    refused(server.client(), zk.set_data("/", b"y"), zk.NO_AUTH)
    refused(server.client(), zk.create("/closed"), zk.NO_AUTH)
    client.call(zk.set_acl("/", zk.OPEN_ACL))


@check(private=True, rows=(40,))
def sequence_numbers_end_with_the_largest(launch):
    with launch(Config("maxSessionTimeout=120000", "preAllocSize=1024", "digest.enabled=false")) as server:
        datadir.write_big_tree(server.data, 2, 1)
        datadir.set_created(server.data, "/fill/p00000", (1 << 31) - 2)
        server.start()
        client = server.client()
        make = zk.create("/fill/p00000/s-", flags=zk.SEQUENTIAL)
        with bystander(server):
            made = [client.call(make) for _ in range(2)]
            same([path.rpartition("s-")[2] for path in made], ["2147483646", "2147483647"])
            # The counter stays where it is, so that the last name is taken from here on.
            for _ in range(3):
                refused(client, make, zk.NODE_EXISTS)
            client.call(zk.create("/fill/p00000/other"))
        server.kill()
        server.start()
        names = server.client().call(zk.get_children2("/fill/p00000"))[0]
        same(sorted(name for name in names if not name.startswith("n")), ["other", "s-2147483646", "s-2147483647"])


@check(rows=(45,))
def odd_acls_are_refused_or_kept_as_they_are(server):
    client = server.client()
    long_id = "u" * 900_000 + ":x"
    for acl in ([], [(31, None, "anyone")], [(31, "world\0", "anyone")], [(31, "\0", "\0")], [(31, "w" * 900_000, "anyone")],
                [(31, "world", "a" * 900_000)], [(31, "auth", "")], [(31, "ip", "1" * 900_000)], [(31, "x", "y")] * 30_000):
        refused(client, zk.create("/odd-acl", acl=acl), INVALID_ACL)
    for perms in (0, 32, 255, -1, -1 << 31):
        path = client.call(zk.create("/perms-", acl=[(perms, "world", "anyone"), (1, "ip", "127.0.0.1")], flags=zk.SEQUENTIAL))
        same(client.call(zk.get_acl(path))[0][0][0], perms)
    client.call(zk.create("/odd-acl", acl=[(31, "digest", long_id), (1, "world", "anyone")]))
    same(client.call(zk.get_acl("/odd-acl"))[0][0][2], "u" * 900_000 + ":x")
    client.call(zk.delete("/odd-acl"))


@check(rows=(45,))
def lists_of_ten_thousand_acl_entries_are_kept(server):
    client = server.client()
    acl = tuple((1 + number % 31, "digest", "user%d:x" % number) for number in range(10_000)) + ((31, "world", "anyone"),)
    client.call(zk.create("/many-acls", acl=acl))
    same(client.call(zk.get_acl("/many-acls"))[0], acl)


@check(rows=(61,))
def flags_and_ttls_out_of_range_are_refused(server):
    client = server.client()
    for flags in (*range(7, 256), -1, -1 << 31, (1 << 31) - 1):
        refused(client, zk.create("/flags", flags=flags), zk.BAD_ARGUMENTS)
        refused(client, zk.create2("/flags", flags=flags), zk.BAD_ARGUMENTS)
    for ttl in (0, -1, 1 << 40, -1 << 63, (1 << 63) - 1):
        refused(client, zk.create_ttl("/flags", ttl), zk.BAD_ARGUMENTS)
    refused(client, zk.create("/flags", flags=zk.TTL), zk.BAD_ARGUMENTS)
    assert is_missing(client, "/flags")


def reconfig(joining=None, leaving=None, members=None, version=-1):
    return zk.Op(zk.RECONFIG, zk.Writer().string(joining).string(leaving).string(members).long(version).bytes())


def reconfigs_change_nothing(server, code):
    client = server.client()
    before = client.call(zk.get_data("/zookeeper/config"))
    member = "server.2=127.0.0.1:%s:2:participant;3"
    for op in (reconfig(member % 1), reconfig("x" * 1_000_000), reconfig(member % 1 + "," + member % 1), reconfig(member % -1),
               reconfig("server.2=h:1:2:king;3"), reconfig(member % 1, None, member % 1), reconfig(None, "1", None, 77),
               reconfig(leaving="1"), reconfig(), reconfig("", "", "")):
        refused(client, op, code)
    for length in range(len(reconfig("a").body)):
        refused(client, zk.Op(zk.RECONFIG, reconfig("a").body[:length]), zk.MARSHALLING_ERROR)
    same(client.call(zk.get_data("/zookeeper/config")), before)


@check(rows=(20, 62))
def reconfig_is_refused_unless_it_is_enabled(server):
    reconfigs_change_nothing(server, RECONFIG_DISABLED)


@check(Config("reconfigEnabled=true", "maxSessionTimeout=120000"), rows=(20, 62))
def reconfig_of_a_standalone_server_changes_nothing(server):
    reconfigs_change_nothing(server, zk.UNIMPLEMENTED)


# ----------------------------------------------------------------------------------------------------------------------
# Multi


@check(rows=(47, 48))
def multis_of_the_wrong_shape_are_refused_whole(server):
    client = server.client()
    create = SUB(1, 0, -1) + zk.create("/shape").body
    for body in (create, create + SUB(1, 0, -1), SUB(4, 0, -1) + zk.get_data("/").body + END,
                 create + SUB(4, 0, -1) + zk.get_data("/").body + END,
                 SUB(14, 0, -1) + zk.multi([zk.create("/shape")]).body + END, SUB(99, 0, -1) + END,
                 SUB(1, 0, -1) + zk.create("/shape", flags=9).body + END,
                 create + SUB(1, 0, -1) + zk.create("/shape", flags=zk.TTL).body + END):
        refused(client, zk.Op(zk.MULTI, body), zk.MARSHALLING_ERROR)
    for body in (create + END, SUB(14, 0, -1) + END, SUB(22, 0, -1) + END, SUB(4, 0, -1) + zk.get_data("/").body):
        refused(client, zk.Op(zk.MULTI_READ, body), zk.MARSHALLING_ERROR)
    assert is_missing(client, "/shape")


@check(rows=(46, 47, 51))
def a_multi_is_what_comes_before_its_first_end(server):
    client = server.client()
    create = SUB(1, 0, -1) + zk.create("/ends").body
    for body, results in ((END, 0), (END + create + END, 0), (END + END, 0), (create + END + END, 1), (create + END + create, 1)):
        same(len(client.call(zk.Op(zk.MULTI, body))), results)
        same(is_missing(client, "/ends"), results == 0)
        if results:
            client.call(zk.delete("/ends"))
    # The error of an inner header, and the type of the last, say nothing.
    for body in (SUB(1, 0, 77) + zk.create("/ends").body + END, create + SUB(-1, 1, 55), create + SUB(7, 1, -1)):
        same(client.call(zk.Op(zk.MULTI, body)), [(zk.CREATE, 0, "/ends")])
        client.call(zk.delete("/ends"))
    for body in (SUB(2, 0, -1) + zk.create("/ends").body + END, SUB(1, 0, -1) + zk.delete("/ends").body + END,
                 SUB(-1, 0, -1) + END, SUB(14, 0, -1) + END):
        refused(client, zk.Op(zk.MULTI, body), zk.MARSHALLING_ERROR)
    assert is_missing(client, "/ends")


@check(rows=(50,))
def multis_on_one_path_do_what_a_model_says(server):
    client, rng = server.client(), random.Random(50)
    home = client.call(zk.create("/one-path"))
    model = {}
    for _ in range(150):
        ops, wanted, trial = [], [], dict(model)
        for _ in range(rng.randrange(1, 6)):
            path = home + "/" + rng.choice("ab")
            version = rng.choice((-1, trial.get(path, 0), trial.get(path, 0) + 1))
            kind = rng.choice((zk.create, zk.check, zk.set_data, zk.delete))
            ops.append({zk.create: lambda: zk.create(path), zk.check: lambda: zk.check(path, version),
                        zk.set_data: lambda: zk.set_data(path, b"", version), zk.delete: lambda: zk.delete(path, version)}[kind]())
            wanted.append(effect(trial, kind, path, version))
        failed = next((number for number, code in enumerate(wanted) if code), None)
        if failed is None:
            model = trial
        else:
            wanted = [0] * failed + [wanted[failed]] + [zk.RUNTIME_INCONSISTENCY] * (len(ops) - failed - 1)
        same([err for _, err, _ in client.call(zk.multi(ops))], wanted, "errors of %r" % (ops,))
        for name in "ab":
            path = home + "/" + name
            same(None if is_missing(client, path) else client.call(zk.exists(path)).version, model.get(path))
    twice = client.call(zk.multi([zk.create(home + "/s-", flags=zk.SEQUENTIAL)] * 2))
    first, second = (int(path.rpartition("-")[2]) for _, _, path in twice)
    same(second, first + 1, "the second sequence number")


def effect(versions, kind, path, version):
    """What one operation does to versions by path, and the error that it gives."""
    if kind is zk.create:
        if path in versions:
            return zk.NODE_EXISTS
        versions[path] = 0
        return 0
    if path not in versions:
        return zk.NO_NODE
    if version not in (-1, versions[path]):
        return zk.BAD_VERSION
    if kind is zk.delete:
        del versions[path]
    elif kind is zk.set_data:
        versions[path] += 1
    return 0


@check(LONG_FRAMES, rows=(49,))
def a_multi_of_a_hundred_thousand_operations_is_done_whole(server):
    client = server.client()
    client.sock.settimeout(60)
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


# ----------------------------------------------------------------------------------------------------------------------
# Watches


@check(LONG_FRAMES, rows=(52,))
def set_watches_of_three_hundred_thousand_paths_are_kept(server):
    client, zxid = server.client(), -1
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
