"""Sessions: negotiation, expiry, resuming, closing; local sessions."""

import contextlib
import time

import zk
from .harness import (
    DELETED, CHILDREN, QUICK, Config, check, drain, is_missing, next_event, raw, refused, replies_until_closed, same, take_events, until,
)

USUAL = Config("preAllocSize=1024", tick_ms=2000)
SESSIONLESS = Config("nio.sessionlessCnxnTimeout=1000")
LOCAL = Config("localSessionsEnabled=true", "localSessionsUpgradingEnabled=false", "maxSessionTimeout=120000")
UPGRADED = Config("localSessionsEnabled=true", "localSessionsUpgradingEnabled=true", "maxSessionTimeout=120000")
SESSION_EXPIRED, EPHEMERAL_ON_LOCAL_SESSION = -112, -120


def resumed(server, session, timeout_ms=30000):
    return zk.Client(server.port).connect(timeout_ms, resume=session)


def is_refused(server, session):
    """Whether a resume is refused: zeros for timeout, id and password, then the end of the connection."""
    client = raw(server, zk.frame(zk.connect_request(30000, session.id, session.password)))
    frames = drain(client)
    same(len(frames), 1, "frames of an answer to a resume")
    same(frames[0][:16], bytes(16), "version, timeout and id of a refusal")
    same(frames[0][16:36], (16).to_bytes(4, "big") + bytes(16), "password of a refusal")
    return True


@check(USUAL, rows=(12,))
def timeouts_are_clamped_to_2_and_20_ticks(server):
    for asked, given in ((0, 4000), (-5, 4000), (-1 << 31, 4000), (1, 4000), (4001, 4001), (39999, 39999),
                         (40000, 40000), (40001, 40000), ((1 << 31) - 1, 40000)):
        client = server.client(timeout_ms=asked)
        same(client.session.timeout_ms, given, "timeout for %d" % asked)
        client.close()


@check(Config("minSessionTimeout=700", "maxSessionTimeout=900"))
def configured_bounds_of_timeouts_hold(server):
    same([server.client(timeout_ms=asked).session.timeout_ms for asked in (0, 800, 5000)], [700, 800, 900])


@check()
def a_silent_session_expires_with_its_ephemerals_at_one_zxid(server):
    other, victim = server.client(), zk.Client(server.port)
    home = other.call(zk.create("/expiring"))
    victim.connect(600)
    same(victim.session.timeout_ms, 600)
    paths = [victim.call(zk.create(home + "/" + name, flags=zk.EPHEMERAL)) for name in "abc"]
    for path in paths:
        other.call(zk.exists(path, watch=True))
    other.call(zk.get_children2(home, watch=True))
    victim.ping()
    heard = time.monotonic()
    events = [next_event(other) for _ in range(4)]
    same(drain(victim), [], "frames before an expired session's connection is closed")
    silence = time.monotonic() - heard
    assert silence > 0.55, "expired after %.2f s of silence" % silence
    same(sorted((event.type, event.path) for event in events),
         sorted([(DELETED, path) for path in paths] + [(CHILDREN, home)]))
    same(events[0].type, DELETED, "the first event")
    _, stat = other.call(zk.get_children2(home))
    same({event.zxid for event in events}, {stat.pzxid}, "zxids of the events")
    same((stat.num_children, stat.cversion), (0, 6))
    assert is_refused(server, victim.session)


@check()
def pings_keep_a_session_alive(server):
    silent, speaking, other = server.client(timeout_ms=600), server.client(timeout_ms=600), server.client()
    for name, client in (("silent", silent), ("speaking", speaking)):
        client.call(zk.create("/pinged-" + name, flags=zk.EPHEMERAL))
    began = time.monotonic()

    def over():
        speaking.ping()
        return time.monotonic() - began > 1.6 and is_missing(other, "/pinged-silent")

    until(over, "the end of the silent session")
    same(other.call(zk.exists("/pinged-speaking")).ephemeral_owner, speaking.session.id)


@check()
def reads_keep_a_session_alive(server):
    reading, other = server.client(timeout_ms=600), server.client()
    reading.call(zk.create("/reading", flags=zk.EPHEMERAL))
    began = time.monotonic()
    until(lambda: reading.call(zk.exists("/")) and time.monotonic() - began > 1.5, "reads for 1.5 s")
    assert not is_missing(other, "/reading")


@check(rows=(17,))
def a_resumed_session_takes_over_and_starts_without_watches_and_auth(server):
    old = server.client()
    old.add_auth("digest", b"resume:pw")
    old.call(zk.create("/resumed", flags=zk.EPHEMERAL))
    old.call(zk.get_data("/resumed", watch=True))
    new = resumed(server, old.session)
    same(drain(old), [], "frames on the connection that was replaced")
    same((new.session.id, new.session.password), (old.session.id, old.session.password))
    same(new.call(zk.get_ephemerals()), ["/resumed"])
    new.call(zk.set_data("/resumed", b"1"))
    same(take_events(new), [], "events on the new connection")
    same([scheme for scheme, _ in new.call(zk.Op(zk.WHO_AM_I, b""))], ["ip"])
    new.close()


@check()
def a_dropped_connection_leaves_the_session_to_be_resumed(server):
    old, other = server.client(), server.client()
    old.call(zk.create("/dropped", flags=zk.EPHEMERAL))
    old.drop()
    new = resumed(server, old.session)
    same(other.call(zk.exists("/dropped")).ephemeral_owner, new.session.id)
    new.close()
    assert is_missing(other, "/dropped")


@check()
def a_resume_negotiates_the_timeout_anew(server):
    longer, other = server.client(timeout_ms=600), server.client()
    longer.call(zk.create("/renegotiated-longer", flags=zk.EPHEMERAL))
    longer = resumed(server, longer.session, 60000)
    same(longer.session.timeout_ms, 60000)
    shorter = server.client(timeout_ms=60000)
    shorter.call(zk.create("/renegotiated-shorter", flags=zk.EPHEMERAL))
    shorter = resumed(server, shorter.session, 600)
    same(shorter.session.timeout_ms, 600)
    until(lambda: is_missing(other, "/renegotiated-shorter"), "the end of the session with the shorter timeout")
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 1.0, "a second of silence")
    assert not is_missing(other, "/renegotiated-longer"), "the longer timeout did not count"
    longer.close()


@check(rows=(13, 14))
def a_wrong_password_is_refused(server):
    owner = server.client()
    owner.call(zk.create("/wrong-password", flags=zk.EPHEMERAL))
    for password in (b"\0" * 16, b"", b"x", owner.session.password[:15], owner.session.password + b"\0", None):
        assert is_refused(server, owner.session._replace(password=password))
    resumed(server, owner.session).close()


@check(ours_alone="ZooKeeper cuts the owner off before it looks at the password", rows=(14,))
def a_wrong_password_does_not_disturb_the_owner(server):
    owner = server.client()
    owner.call(zk.create("/undisturbed", flags=zk.EPHEMERAL))
    owner.call(zk.get_data("/undisturbed", watch=True))
    for password in (b"\0" * 16, owner.session.password[:15] + b"?"):
        assert is_refused(server, owner.session._replace(password=password))
    owner.call(zk.set_data("/undisturbed", b"1"))
    same(take_events(owner), [(3, "/undisturbed")])
    owner.close()


@check(ours_alone="ZooKeeper's passwords follow from the session id", rows=(14, "password"))
def a_password_cannot_be_computed_from_the_id(server):
    owner = server.client()
    assert is_refused(server, owner.session._replace(password=zk.session_password(owner.session.id)))
    owner.ping()
    assert len({server.client().session.password for _ in range(5)}) == 5, "passwords repeat"


@check(rows=(14,))
def unknown_and_closed_sessions_are_refused(server):
    gone = server.client()
    gone.close()
    assert is_refused(server, gone.session)
    assert is_refused(server, zk.Session(0, 0x0123456789ABCDEF, b"p" * 16, False))
    assert is_refused(server, zk.Session(0, -1, b"p" * 16, False))


@check(rows=(23,))
def requests_behind_close_session_are_dropped(server):
    client, other = server.client(), server.client()
    frames = [client.encode(op)[0] for op in (
        zk.create("/before-close"), zk.CLOSE, zk.create("/after-close"), zk.get_data("/"), zk.PING_OP)]
    client.send_raw(b"".join(frames))
    replies = replies_until_closed(client)
    same([(reply.xid, reply.err) for reply in replies], [(1, 0), (2, 0)])
    same(replies[1].body, b"", "body of the reply to closeSession")
    assert replies[1].zxid > replies[0].zxid, "a closed session takes a zxid"
    assert not is_missing(other, "/before-close")
    assert is_missing(other, "/after-close")
    assert is_refused(server, client.session)


@check()
def pipelined_ephemerals_go_with_the_session(server):
    client, other = server.client(), server.client()
    home = other.call(zk.create("/pipelined-close"))
    ops = [zk.create("%s/%d" % (home, i), flags=zk.EPHEMERAL) for i in range(200)] + [zk.delete(home + "/7"), zk.CLOSE]
    client.send_raw(b"".join(client.encode(op)[0] for op in ops))
    same([reply.err for reply in replies_until_closed(client)], [0] * 202)
    same(other.call(zk.get_children2(home))[0], [])


@check(rows=(15,))
def a_client_that_has_seen_more_is_closed_without_a_word(server):
    client = server.client()
    client.call(zk.create("/ahead"))
    ahead = zk.frame(zk.connect_request(30000, last_zxid_seen=client.last_zxid + (1 << 40)))
    same(drain(raw(server, ahead)), [])
    resume = zk.frame(zk.connect_request(30000, client.session.id, client.session.password, 1 << 60))
    same(drain(raw(server, resume)), [])
    client.ping()
    zk.Client(server.port).connect(last_zxid_seen=-1).close()
    zk.Client(server.port).connect(last_zxid_seen=-1 << 63).close()


@check(SESSIONLESS, rows=(5, "L1"))
def connections_that_never_say_hello_are_closed(server):
    began, client = time.monotonic(), server.client()
    quiet = [raw(server), raw(server, b"\0"), raw(server, zk.frame(zk.connect_request(30000))[:20])]
    for conn in quiet:
        same(drain(conn), [], "frames on a connection without a session")
    assert time.monotonic() - began > 0.9, "closed too soon"
    client.ping()


@check(rows=(16,))
def a_second_connect_request_ends_the_connection_not_the_session(server):
    client = server.client()
    client.call(zk.create("/second-connect", flags=zk.EPHEMERAL))
    client.send_raw(zk.frame(zk.connect_request(30000)))
    for reply in replies_until_closed(client):
        assert reply.err, "a second ConnectRequest was answered: %r" % (reply,)
    again = resumed(server, client.session)
    same(again.call(zk.get_ephemerals()), ["/second-connect"])
    again.close()


@check(ours_alone="ZooKeeper may leave a session with two connections that resumed it at the same time", rows=(17,))
def one_session_contended_by_many_connections_ends_up_with_one(server):
    client = server.client()
    client.call(zk.create("/contended", flags=zk.EPHEMERAL))
    conns = [raw(server, zk.frame(zk.connect_request(30000, client.session.id, client.session.password)))
             for _ in range(20)]
    for conn in conns:
        with contextlib.suppress(zk.Closed):
            conn.recv_frame()

    def survivors():
        nonlocal conns
        conns = [conn for conn in conns if owns(conn)]
        return len(conns) == 1

    def owns(conn):
        with contextlib.suppress(zk.Closed):
            same(conn.call(zk.get_ephemerals()), ["/contended"])
            return True

    until(survivors, "the session is left with one connection")
    same(drain(client), [], "frames on the first connection")
    conns[0].close()


@check(private=True)
def sessions_survive_restarts(launch):
    with launch(QUICK) as server:
        server.start()
        kept, lost = server.client(timeout_ms=60000), server.client(timeout_ms=2000)
        kept.call(zk.create("/kept", flags=zk.EPHEMERAL))
        lost.call(zk.create("/lost", flags=zk.EPHEMERAL))
        server.kill()
        server.start()
        again = resumed(server, kept.session)
        same((again.session.id, again.session.password), (kept.session.id, kept.session.password))
        same(again.call(zk.exists("/kept")).ephemeral_owner, kept.session.id)
        same(server.stop(), 143, "exit status after SIGTERM")
        server.start()
        again = resumed(server, kept.session)
        same(again.call(zk.get_ephemerals()), ["/kept"])
        until(lambda: is_missing(again, "/lost"), "the end of the session that was not resumed")
        assert is_refused(server, lost.session)
        again.close()
        other = server.client()
        assert is_missing(other, "/kept")


@check(private=True)
def a_closed_session_stays_closed_after_a_crash(launch):
    with launch(QUICK) as server:
        server.start()
        gone, other = server.client(), server.client()
        gone.call(zk.create("/gone", flags=zk.EPHEMERAL))
        gone.close()
        other.call(zk.create("/there"))
        server.kill()
        server.start()
        again = resumed(server, other.session)
        assert is_missing(again, "/gone") and not is_missing(again, "/there")
        assert is_refused(server, gone.session)


STANDALONE_LOCAL = "a standalone ZooKeeper has no local sessions"


@check(LOCAL, ours_alone=STANDALONE_LOCAL)
def local_sessions_take_no_zxid_and_no_ephemerals(server):
    first = server.client()
    first.ping()
    zxid = first.last_zxid
    second = server.client()
    second.close()
    first.ping()
    same(first.last_zxid, zxid, "zxid after another local session came and went")
    first.call(zk.create("/local"))
    refused(first, zk.create("/local/e", flags=zk.EPHEMERAL), EPHEMERAL_ON_LOCAL_SESSION)
    refused(first, zk.create("/local/e", flags=zk.EPHEMERAL_SEQUENTIAL), EPHEMERAL_ON_LOCAL_SESSION)
    again = resumed(server, first.session)
    same(drain(first), [])
    same(again.call(zk.get_data("/local"))[0], b"")
    again.close()
    assert is_refused(server, first.session)


@check(UPGRADED, ours_alone=STANDALONE_LOCAL)
def a_local_session_is_upgraded_by_its_first_ephemeral(server):
    client, other = server.client(), server.client()
    home = client.call(zk.create("/upgraded"))
    zxid = client.last_zxid
    client.call(zk.create(home + "/a", flags=zk.EPHEMERAL))
    same(client.last_zxid, zxid + 2, "zxid of the first ephemeral")
    client.call(zk.create(home + "/b", flags=zk.EPHEMERAL))
    same(client.last_zxid, zxid + 3, "zxid of the second")
    results = other.call(zk.multi([zk.create(home + "/c", flags=zk.EPHEMERAL)]))
    same(results, [(zk.CREATE, 0, home + "/c")])
    client.close()
    same(other.call(zk.get_children2(home))[0], ["c"])
    other.close()


@check(private=True, ours_alone=STANDALONE_LOCAL)
def only_upgraded_sessions_survive_a_restart(launch):
    with launch(UPGRADED) as server:
        server.start()
        local, upgraded = server.client(timeout_ms=60000), server.client(timeout_ms=60000)
        local.call(zk.create("/plain"))
        upgraded.call(zk.create("/ephemeral", flags=zk.EPHEMERAL))
        server.kill()
        server.start()
        assert is_refused(server, local.session)
        again = resumed(server, upgraded.session)
        same(again.call(zk.get_ephemerals()), ["/ephemeral"])
        again.close()


@check(LOCAL, ours_alone=STANDALONE_LOCAL)
def a_silent_local_session_expires(server):
    client = server.client(timeout_ms=400)
    same(drain(client), [])
    assert is_refused(server, client.session)
