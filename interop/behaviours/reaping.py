"""Containers and nodes with a time to live, and who removes them."""

import time

import zk
from .harness import CHILDREN, DELETED, RECURSIVE, Config, add_watch, check, is_missing, next_event, same, until

OFTEN = ("znode.container.checkIntervalMs=150",)
REAPING = Config("maxSessionTimeout=120000", "preAllocSize=1024", "extendedTypesEnabled=true", properties=OFTEN)
NEVER_USED = Config("maxSessionTimeout=120000", "preAllocSize=1024",
                    properties=OFTEN + ("znode.container.maxNeverUsedIntervalMs=500",))


def scans_pass(client, name, count=2):
    """Waits until containers that were emptied one after the other have been reaped: so many searches have passed."""
    for turn in range(count):
        path = client.call(zk.create_container("/scan-%s-%d" % (name, turn)))[0]
        client.call(zk.create(path + "/child"))
        client.call(zk.delete(path + "/child"))
        until(lambda: is_missing(client, path), "an emptied container is reaped")


@check(REAPING)
def an_emptied_container_goes_and_watches_tell(server):
    client = server.client()
    home = client.call(zk.create("/reap-home"))
    path, stat = client.call(zk.create_container(home + "/c", b"data"))
    same(stat.ephemeral_owner, 0, "owner that a client sees")
    client.call(zk.create(path + "/1"))
    client.call(zk.create(path + "/2"))
    client.call(zk.delete(path + "/1"))
    client.call(zk.exists(path, watch=True))
    client.call(zk.get_children2(home, watch=True))
    client.call(zk.get_children2(path, watch=True))
    client.call(zk.delete(path + "/2"))
    events = [next_event(client) for _ in range(3)]
    same([(event.type, event.path) for event in events], [(CHILDREN, path), (DELETED, path), (CHILDREN, home)])
    same(events[1].zxid, events[2].zxid, "zxid of both events of a reaped node")
    same(client.call(zk.exists(home)).pzxid, events[1].zxid, "pzxid of the parent")


@check(REAPING)
def containers_in_use_and_never_used_stay(server):
    client = server.client()
    used, _ = client.call(zk.create_container("/container-used"))
    client.call(zk.create(used + "/child"))
    never, _ = client.call(zk.create_container("/container-never-used"))
    scans_pass(client, "stay", 3)
    assert not is_missing(client, used) and not is_missing(client, never)


@check(NEVER_USED)
def a_container_never_used_goes_if_so_configured(server):
    client = server.client()
    began = time.monotonic()
    path, _ = client.call(zk.create_container("/container-never-used"))
    until(lambda: is_missing(client, path), "a container that was never used is reaped")
    assert time.monotonic() - began > 0.45, "too soon"


@check(REAPING)
def nested_containers_go_from_the_inside(server):
    client = server.client()
    for path in ("/nest", "/nest/a", "/nest/a/b"):
        client.call(zk.create_container(path))
    client.call(zk.create("/nest/a/b/leaf"))
    client.call(add_watch("/nest", RECURSIVE))
    client.call(zk.delete("/nest/a/b/leaf"))
    same([next_event(client).path for _ in range(4)], ["/nest/a/b/leaf", "/nest/a/b", "/nest/a", "/nest"])


@check(REAPING)
def ephemerals_keep_a_container_until_their_session_ends(server):
    client, owner = server.client(), server.client()
    path, _ = client.call(zk.create_container("/container-of-ephemerals"))
    owner.call(zk.create(path + "/e", flags=zk.EPHEMERAL))
    scans_pass(client, "ephemerals")
    assert not is_missing(client, path)
    owner.close()
    until(lambda: is_missing(client, path), "the container goes after its last ephemeral")


@check(REAPING)
def a_ttl_node_goes_after_its_time(server):
    client = server.client()
    began = time.monotonic()
    path, stat = client.call(zk.create_ttl("/ttl-plain", 600, b"x"))
    same(stat.ephemeral_owner, 0, "owner that a client sees")
    sequential, _ = client.call(zk.create_ttl("/ttl-seq-", 600, flags=zk.TTL_SEQUENTIAL))
    same(len(sequential), len("/ttl-seq-") + 10)
    client.call(zk.exists(path, watch=True))
    same(next_event(client)[1:], (DELETED, 3, path))
    assert time.monotonic() - began > 0.55, "too soon"
    until(lambda: is_missing(client, sequential), "the sequential one goes too")


@check(REAPING)
def writes_to_a_ttl_node_give_it_more_time(server):
    client = server.client()
    began = time.monotonic()
    written, _ = client.call(zk.create_ttl("/ttl-written", 800))
    idle, _ = client.call(zk.create_ttl("/ttl-idle", 800))
    last = began

    def idle_is_gone():
        nonlocal last
        if time.monotonic() - last > 0.1:
            client.call(zk.set_data(written, b"x"))
            last = time.monotonic()
        return time.monotonic() - began > 1.2 and is_missing(client, idle)

    until(idle_is_gone, "the node without writes goes")
    assert not is_missing(client, written)
    until(lambda: is_missing(client, written), "the other one goes once writes have ended")
    assert time.monotonic() - last > 0.7, "too soon after the last write"


@check(REAPING)
def a_ttl_node_with_children_stays_until_it_is_empty(server):
    client = server.client()
    path, _ = client.call(zk.create_ttl("/ttl-parent", 100))
    client.call(zk.create(path + "/child"))
    twin, _ = client.call(zk.create_ttl("/ttl-twin", 100))
    until(lambda: is_missing(client, twin), "the childless twin goes")
    scans_pass(client, "ttl")
    assert not is_missing(client, path)
    client.call(zk.delete(path + "/child"))
    until(lambda: is_missing(client, path), "the emptied node goes")


@check(private=True)
def reaping_goes_on_after_a_restart(launch):
    with launch(REAPING) as server:
        server.start()
        client = server.client()
        client.call(zk.create_container("/c"))
        client.call(zk.create("/c/child"))
        client.call(zk.create_ttl("/t", 1 << 39))
        client.call(zk.create_ttl("/short", 100))
        client.call(zk.create("/short/child"))
        server.kill()
        server.start()
        client = server.client()
        client.call(zk.delete("/c/child"))
        client.call(zk.delete("/short/child"))
        until(lambda: is_missing(client, "/c"), "a container from before the restart is reaped")
        until(lambda: is_missing(client, "/short"), "a TTL node from before the restart is reaped")
        assert not is_missing(client, "/t")
