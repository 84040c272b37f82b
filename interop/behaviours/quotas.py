"""Quotas: what is counted, where, and what is refused."""

import zk
from .harness import Config, check, is_missing, refused, same

QUOTA_EXCEEDED = -125
ENFORCED = Config("maxSessionTimeout=120000", "preAllocSize=1024", "enforceQuota=true")


def set_quota(client, path, limits):
    place = "/zookeeper/quota"
    for name in path.split("/")[1:]:
        place += "/" + name
        if is_missing(client, place):
            client.call(zk.create(place))
    client.call(zk.create(place + "/zookeeper_limits", limits))
    client.call(zk.create(place + "/zookeeper_stats", b"count=0,bytes=0"))
    return place + "/zookeeper_stats"


def usage(client, stats):
    data, stat = client.call(zk.get_data(stats))
    same((stat.version, stat.mzxid), (0, stat.czxid), "version and mzxid of a node that the server keeps up to date")
    return data


@check(ENFORCED)
def usage_is_counted_with_the_node_itself(server):
    client = server.client()
    client.call(zk.create("/usage", b"12345"))
    stats = set_quota(client, "/usage", b"count=-1,bytes=-1")
    same(usage(client, stats), b"count=1,bytes=5")
    client.call(zk.create("/usage/a", b"123"))
    client.call(zk.create("/usage/a/b", None))
    client.call(zk.create("/usage/e", b"1", flags=zk.EPHEMERAL))
    same(usage(client, stats), b"count=4,bytes=9")
    client.call(zk.set_data("/usage/a", b"1234567"))
    client.call(zk.set_data("/usage/a", b"1"))
    same(usage(client, stats), b"count=4,bytes=7")
    client.call(zk.delete("/usage/a/b"))
    client.call(zk.multi([zk.create("/usage/m", b"22"), zk.delete("/usage/e")]))
    same(usage(client, stats), b"count=3,bytes=8")
    client.call(zk.create("/usagex", b"a sibling with the name as a prefix"))
    same(usage(client, stats), b"count=3,bytes=8")


@check(ENFORCED)
def a_hard_limit_of_count_is_kept(server):
    client = server.client()
    client.call(zk.create("/count"))
    set_quota(client, "/count", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3")
    client.call(zk.create("/count/a"))
    client.call(zk.create("/count/b"))
    refused(client, zk.create("/count/c"), QUOTA_EXCEEDED)
    refused(client, zk.create("/count/a/deep"), QUOTA_EXCEEDED)
    refused(client, zk.create("/count/a"), zk.NODE_EXISTS)
    client.call(zk.set_data("/count/a", b"data is not counted"))
    results = client.call(zk.multi([zk.create("/elsewhere"), zk.create("/count/c"), zk.create("/count/d")]))
    same([result[1] for result in results], [0, QUOTA_EXCEEDED, zk.RUNTIME_INCONSISTENCY])
    assert is_missing(client, "/elsewhere"), "a multi that exceeds a quota took effect in part"
    # What is tested is usage as applied: a multi that makes room for itself is refused too.
    results = client.call(zk.multi([zk.delete("/count/b"), zk.create("/count/c")]))
    same([result[1] for result in results], [0, QUOTA_EXCEEDED])
    client.call(zk.delete("/count/b"))
    client.call(zk.create("/count/d"))
    refused(client, zk.create("/count/e"), QUOTA_EXCEEDED)


@check(ENFORCED)
def a_hard_limit_of_bytes_is_kept(server):
    client = server.client()
    client.call(zk.create("/bytes", b"1234"))
    set_quota(client, "/bytes", b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=-1")
    client.call(zk.create("/bytes/a", b"123456"))
    refused(client, zk.create("/bytes/b", b"1"), QUOTA_EXCEEDED)
    client.call(zk.create("/bytes/b", b""))
    refused(client, zk.set_data("/bytes/b", b"1"), QUOTA_EXCEEDED)
    refused(client, zk.set_data("/bytes/b", b"1", version=7), QUOTA_EXCEEDED)
    refused(client, zk.set_data("/bytes/b", b"", version=7), zk.BAD_VERSION)
    client.call(zk.set_data("/bytes/a", b"12345"))
    client.call(zk.set_data("/bytes/b", b"1"))
    same(client.call(zk.get_data("/bytes/b"))[0], b"1")


@check(ENFORCED)
def soft_limits_refuse_nothing(server):
    client = server.client()
    client.call(zk.create("/soft"))
    stats = set_quota(client, "/soft", b"count=1,bytes=1")
    client.call(zk.create("/soft/a", b"12345"))
    client.call(zk.set_data("/soft/a", b"1234567"))
    same(usage(client, stats), b"count=2,bytes=7")


@check()
def hard_limits_refuse_nothing_unless_enforced(server):
    client = server.client()
    client.call(zk.create("/lenient"))
    stats = set_quota(client, "/lenient", b"count=-1,bytes=-1=;byteHardLimit=1;countHardLimit=1")
    client.call(zk.create("/lenient/a", b"12345"))
    same(usage(client, stats), b"count=2,bytes=5")


@check(ENFORCED)
def the_deepest_quota_counts(server):
    client = server.client()
    client.call(zk.create("/outer"))
    client.call(zk.create("/outer/inner"))
    outer = set_quota(client, "/outer", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3")
    set_quota(client, "/outer/inner", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=10")
    before = usage(client, outer)
    for name in "abcd":
        client.call(zk.create("/outer/inner/" + name))
    same(usage(client, outer), before, "usage of the outer quota")


@check(ENFORCED)
def a_quota_that_was_taken_away_is_no_longer_enforced(server):
    client = server.client()
    client.call(zk.create("/lifted"))
    stats = set_quota(client, "/lifted", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=1")
    refused(client, zk.create("/lifted/a"), QUOTA_EXCEEDED)
    client.call(zk.delete(stats.replace("_stats", "_limits")))
    client.call(zk.delete(stats))
    client.call(zk.create("/lifted/a"))


@check(private=True)
def usage_is_counted_anew_after_a_crash(launch):
    with launch(ENFORCED) as server:
        server.start()
        client = server.client()
        client.call(zk.create("/q", b"12"))
        stats = set_quota(client, "/q", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3")
        client.call(zk.create("/q/a", b"345"))
        server.kill()
        server.start()
        client = server.client()
        same(usage(client, stats), b"count=2,bytes=5")
        client.call(zk.create("/q/b"))
        refused(client, zk.create("/q/c"), QUOTA_EXCEEDED)


@check(private=True, ours_alone="a quota on / or an unparsable zookeeper_stats stops ZooKeeper 3.9.5")
def odd_quotas_hurt_nobody(launch):
    with launch(ENFORCED) as server:
        server.start()
        client = server.client()
        for name, data in (("zookeeper_limits", b"count=1,bytes=1"), ("zookeeper_stats", b"count=0,bytes=0")):
            client.call_all([zk.create("/zookeeper/quota/" + name, data)])
        client.call(zk.create("/odd"))
        client.call(zk.create("/odd/a"))
        stats = set_quota(client, "/odd", b"count=9,bytes=9")
        for text in (b"", b"nonsense", b"count=,bytes=", b"count=99999999999999999999", b"\xff\xfe", None, b"=;=,,;"):
            client.call_all([zk.set_data(stats, text), zk.create("/odd/a/x", b"1"), zk.delete("/odd/a/x"),
                             zk.set_data(stats.replace("_stats", "_limits"), text), zk.set_data("/odd/a", b"123")])
        client.call(zk.create("/odd/b", b"1"))
        server.kill()
        server.start()
        client = server.client()
        same(sorted(client.call(zk.get_children2("/odd"))[0]), ["a", "b"])
        client.call(zk.create("/odd/c"))
