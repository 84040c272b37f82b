"""Watches: which fire, in what order, how they are removed and set again."""

import random
import threading

import zk
from .harness import (
    ANY_WATCH, CHANGED, CHILDREN, CHILDREN_WATCH, CREATED, DATA_WATCH, DELETED, NO_WATCHER, PERSISTENT, PERSISTENT_WATCH,
    RECURSIVE, RECURSIVE_WATCH, add_watch, check, check_watches, is_missing, next_event, refused, remove_watches, same,
    set_watches, take_events,
)


@check()
def each_kind_of_watch_fires_for_what_it_watches(server):
    client, writer = server.client(), server.client()
    home = writer.call(zk.create("/kinds"))
    node = home + "/n"
    is_missing(client, node)

    def expect(op, events, *setup):
        for request in setup:
            try:
                client.call(request)
            except zk.ZkError as e:
                same((e.code, request.type), (zk.NO_NODE, zk.EXISTS))
        writer.call(op)
        same(take_events(client), events)

    expect(zk.create(node), [(CREATED, node)], zk.exists(node, True))
    expect(zk.delete(node), [])
    expect(zk.create(node), [(CHILDREN, home)], zk.get_children2(home, True))
    expect(zk.set_data(node, b"1"), [(CHANGED, node)], zk.get_data(node, True), zk.get_children2(node, True))
    expect(zk.set_data(node, b"2"), [])
    expect(zk.set_acl(node, zk.OPEN_ACL), [], zk.exists(node, True))
    expect(zk.set_data(node, b"3"), [(CHANGED, node)])
    expect(zk.create(node + "/x"), [(CHILDREN, node)])
    expect(zk.delete(node + "/x"), [], zk.get_data(node, True))
    expect(zk.delete(node), [(DELETED, node), (CHILDREN, home)], zk.get_children2(node, True), zk.get_children2(home, True))
    expect(zk.create(node), [])
    # A node that goes tells a child watch as well, if no data watch of the same client was told.
    expect(zk.delete(node), [(DELETED, node)], zk.get_children2(node, True))
    # A watch on a missing node lasts until the node is there.
    expect(zk.create(home + "/other"), [], zk.exists(node, True))
    expect(zk.multi([zk.create(node), zk.set_data(node, b"1"), zk.delete(node)]), [(CREATED, node)])


@check()
def failed_writes_fire_nothing(server):
    client = server.client()
    client.call(zk.create("/unfired"))
    client.call(add_watch("/unfired", RECURSIVE))
    client.call(add_watch("/unfired", PERSISTENT))
    refused(client, zk.create("/unfired"), zk.NODE_EXISTS)
    refused(client, zk.set_data("/unfired", b"", version=5), zk.BAD_VERSION)
    refused(client, zk.delete("/unfired/none"), zk.NO_NODE)
    client.call(zk.multi([zk.create("/unfired/a"), zk.set_data("/unfired", b"1"), zk.check("/unfired", 99)]))
    same(take_events(client), [])


@check()
def watches_of_every_mode_coexist_on_one_path(server):
    client = server.client()
    path = client.call(zk.create("/modes"))
    for op in (zk.get_data(path, True), zk.get_data(path, True), zk.exists(path, True), zk.get_children2(path, True),
               add_watch(path, PERSISTENT), add_watch(path, PERSISTENT), add_watch(path, RECURSIVE)):
        client.call(op)
    client.call(zk.set_data(path, b"1"))
    client.call(zk.create(path + "/c"))
    client.call(zk.set_data(path + "/c", b"2"))
    same(take_events(client), [(CHANGED, path), (CREATED, path + "/c"), (CHILDREN, path), (CHANGED, path + "/c")])
    client.call(zk.set_data(path, b"3"))
    client.call(zk.delete(path + "/c"))
    same(take_events(client), [(CHANGED, path), (DELETED, path + "/c"), (CHILDREN, path)])
    client.call(zk.delete(path))
    client.call(zk.create(path))
    same(take_events(client), [(DELETED, path), (CREATED, path)])


@check()
def a_recursive_watch_sees_no_child_events_unless_another_watch_does(server):
    client = server.client()
    path = client.call(zk.create("/recursive"))
    client.call(add_watch(path, RECURSIVE))
    client.call(zk.create(path + "/a"))
    client.call(zk.create(path + "/a/b"))
    client.call(zk.create("/recursive-sibling"))
    same(take_events(client), [(CREATED, path + "/a"), (CREATED, path + "/a/b")])
    client.call(zk.get_children2(path, True))
    client.call(zk.create(path + "/c"))
    client.call(zk.create(path + "/d"))
    same(take_events(client), [(CREATED, path + "/c"), (CHILDREN, path), (CREATED, path + "/d")])


@check(rows=(54,))
def watches_are_removed_by_type(server):
    client = server.client()
    path = client.call(zk.create("/removed"))
    setup = [zk.get_data(path, True), zk.get_children2(path, True), add_watch(path, PERSISTENT), add_watch(path, RECURSIVE)]
    kinds = (CHILDREN_WATCH, DATA_WATCH, PERSISTENT_WATCH, RECURSIVE_WATCH)
    for op in setup:
        client.call(op)
    for kind in kinds:
        client.call(check_watches(path, kind))
        client.call(remove_watches(path, kind))
        refused(client, remove_watches(path, kind), NO_WATCHER)
        refused(client, check_watches(path, kind), NO_WATCHER)
        for other in kinds[kinds.index(kind) + 1:]:
            client.call(check_watches(path, other))
    refused(client, check_watches(path, ANY_WATCH), NO_WATCHER)
    client.call(zk.set_data(path, b"1"))
    client.call(zk.create(path + "/c"))
    same(take_events(client), [])
    for op in setup:
        client.call(op)
    client.call(remove_watches(path, ANY_WATCH))
    refused(client, check_watches(path, ANY_WATCH), NO_WATCHER)
    client.call(zk.set_data(path, b"2"))
    same(take_events(client), [])


@check()
def a_data_removal_leaves_the_persistent_watch(server):
    client = server.client()
    path = client.call(zk.create("/half-removed"))
    client.call(add_watch(path, PERSISTENT))
    refused(client, remove_watches(path, DATA_WATCH), NO_WATCHER)
    refused(client, remove_watches(path, CHILDREN_WATCH), NO_WATCHER)
    client.call(zk.get_data(path, True))
    client.call(remove_watches(path, DATA_WATCH))
    client.call(zk.set_data(path, b"1"))
    same(take_events(client), [(CHANGED, path)])


@check(rows=(54,))
def watches_of_another_connection_are_not_touched(server):
    one, two = server.client(), server.client()
    path = one.call(zk.create("/two-watchers"))
    one.call(zk.get_data(path, True))
    two.call(zk.get_data(path, True))
    one.call(remove_watches(path, DATA_WATCH))
    refused(one, check_watches(path, DATA_WATCH), NO_WATCHER)
    one.call(zk.set_data(path, b"1"))
    same((take_events(one), take_events(two)), ([], [(CHANGED, path)]))


@check()
def set_watches_tells_what_was_missed(server):
    client, writer = server.client(), server.client()
    home = writer.call(zk.create("/missed"))
    names = ["same", "changed", "deleted", "children", "children-same", "born", "unborn", "recreated"]
    paths = {name: home + "/" + name for name in names}
    for name in names:
        if name not in ("born", "unborn"):
            writer.call(zk.create(paths[name]))
    writer.ping()
    seen = writer.last_zxid
    writer.call(zk.set_data(paths["changed"], b"1"))
    writer.call(zk.delete(paths["deleted"]))
    writer.call(zk.create(paths["children"] + "/c"))
    writer.call(zk.create(paths["born"]))
    writer.call(zk.delete(paths["recreated"]))
    writer.call(zk.create(paths["recreated"]))
    for persistent in (None, [home]):
        client.send(set_watches(
            seen, data=[paths[n] for n in ("same", "changed", "deleted", "recreated")],
            exist=[paths["born"], paths["unborn"]],
            child=[paths["children"], paths["children-same"], paths["deleted"]],
            persistent=persistent, recursive=[paths["same"]]), zk.XID_SET_WATCHES)
        same(client.recv_reply()[:1] + (0,), (zk.XID_SET_WATCHES, 0))
        events = list(client.events)
        client.events.clear()
        same([(event.zxid, event.type, event.path) for event in events], [
            (-1, CHANGED, paths["changed"]), (-1, DELETED, paths["deleted"]), (-1, CHANGED, paths["recreated"]),
            (-1, CREATED, paths["born"]), (-1, CHILDREN, paths["children"]), (-1, DELETED, paths["deleted"])])
    # What was not told is watched now; what was told is not.
    for kind, name, there in ((DATA_WATCH, "same", True), (DATA_WATCH, "changed", False), (DATA_WATCH, "unborn", True),
                              (DATA_WATCH, "born", False), (CHILDREN_WATCH, "children-same", True),
                              (CHILDREN_WATCH, "children", False), (RECURSIVE_WATCH, "same", True)):
        if there:
            client.call(check_watches(paths[name], kind))
        else:
            refused(client, check_watches(paths[name], kind), NO_WATCHER)
    client.call(check_watches(home, PERSISTENT_WATCH))
    writer.call(zk.create(paths["unborn"]))
    same(take_events(client), [(CREATED, paths["unborn"]), (CHILDREN, home)])


@check(rows=(53, 54))
def bad_watch_types_and_modes_are_marshalling_errors(server):
    client = server.client()
    for code in (0, 6, -1, (1 << 31) - 1):
        refused(client, check_watches("/", code), zk.MARSHALLING_ERROR)
        refused(client, remove_watches("/", code), zk.MARSHALLING_ERROR)
    for mode in (2, -1, (1 << 31) - 1, -1 << 31):
        refused(client, add_watch("/", mode), zk.MARSHALLING_ERROR)


@check()
def watches_end_with_their_connection(server):
    client, writer = server.client(), server.client()
    path = writer.call(zk.create("/ended"))
    client.call(add_watch(path, RECURSIVE))
    again = zk.Client(server.port).connect(resume=client.session)
    refused(again, check_watches(path, ANY_WATCH), NO_WATCHER)
    writer.call(zk.set_data(path, b"1"))
    same(take_events(again), [])


@check()
def own_writes_tell_before_they_are_answered(server):
    client = server.client()
    path = client.call(zk.create("/own"))
    for turn in range(200):
        client.call(zk.get_data(path, True))
        client.call(zk.set_data(path, b"%d" % turn))
        same([(event.zxid, event.type) for event in client.events], [(client.last_zxid, CHANGED)])
        client.events.clear()


@check()
def no_reply_shows_a_change_before_its_event(server):
    """Readers poll a counter and watch it in every way, while writers raise it: at any reply, events are not behind."""
    path = server.client().call(zk.create("/fan-out", b"0"))
    stop, trouble = threading.Event(), []

    def guarded(body, *args):
        def run():
            try:
                body(*args)
            except Exception as e:  # told by the check below
                trouble.append(repr(e))
                stop.set()
        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def write(seed):
        client, rng = server.client(), random.Random(seed)
        for _ in range(150):
            client.call_all([zk.set_data(path, b"x")] * rng.randrange(1, 8))
        client.close()

    def read(mode):
        client = server.client()
        client.call(add_watch(path, mode))
        version = told = client.call(zk.get_data(path))[1].version
        client.events.clear()
        last_zxid = 0
        while not stop.is_set():
            batch = [zk.get_data(path), zk.PING_OP, zk.exists(path)]
            client.send_raw(b"".join(client.encode(op, zk.XID_PING if op is zk.PING_OP else None)[0] for op in batch))
            for op in batch:
                reply = client.recv_reply()
                while client.events:
                    event = client.events.popleft()
                    assert event.zxid > last_zxid, "events out of order"
                    last_zxid, told = event.zxid, told + 1
                if op is zk.PING_OP:
                    continue
                value = zk.decode(op.type, reply.body)
                stat = value[1] if op.type == zk.GET_DATA else value
                assert stat.version >= version, "a reader went back in time"
                version = stat.version
                same(told, version, "changes told before a reply that shows them")
        client.close()

    readers = [guarded(read, mode) for mode in (PERSISTENT, RECURSIVE, PERSISTENT, RECURSIVE)]
    writers = [guarded(write, seed) for seed in range(2)]
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not trouble, trouble[0]


@check()
def everybody_is_told_of_one_change_once(server):
    watchers, writer = [server.client() for _ in range(100)], server.client()
    path = writer.call(zk.create("/crowd"))
    for client in watchers:
        client.call(zk.get_data(path, True))
    writer.call(zk.set_data(path, b"1"))
    writer.call(zk.set_data(path, b"2"))
    zxids = {next_event(client).zxid for client in watchers}
    same(len(zxids), 1, "zxids of one change")
    for client in watchers:
        same(take_events(client), [])
        client.close()
