"""Limits of connections and frames, and the four-letter words."""

import contextlib
import re
import struct
import time

import zk
from .harness import (
    ENDED, PATIENCE_S, RECURSIVE, Config, add_watch, bystander, check, drain, raw, same, until,
)

PER_ADDRESS = Config("maxClientCnxns=5", "maxSessionTimeout=120000")
IN_ALL = Config("maxCnxns=5", "maxSessionTimeout=120000")
THROTTLED = Config("connection_throttle_tokens=6", "connection_throttle_fill_time=2000", "maxSessionTimeout=120000")
FRAME_MAX = 100_000
FRAMES = Config("maxSessionTimeout=120000", "preAllocSize=1024", "snapCount=10",
                properties=("jute.maxbuffer=%d" % FRAME_MAX,))
FEW_WORDS = Config("4lw.commands.whitelist=ruok, stat")
WORDS = Config("maxSessionTimeout=120000", "preAllocSize=1024")


def try_to_connect(server):
    """A client with a session; None where the server has no room for it."""
    with contextlib.suppress(*ENDED):
        return zk.Client(server.port, patience_s=PATIENCE_S).connect()


def connections_are_limited(server):
    # Two are the bystander's; the connections of whoever waited for the server to start may still be closing.
    clients = [until(lambda: try_to_connect(server), "one of three connections") for _ in range(3)]
    for _ in range(5):
        with contextlib.suppress(*ENDED):
            same(drain(raw(server)), [], "frames on a connection too many")
        same(try_to_connect(server), None)
    for client in clients:
        client.ping()
    clients.pop().close()
    clients.append(until(lambda: try_to_connect(server), "room after a connection was closed"))
    clients[0].drop()
    clients[0] = until(lambda: try_to_connect(server), "room after a connection was dropped")
    for client in clients:
        client.ping()


@check(PER_ADDRESS, alone=True, rows=("L4",))
def connections_of_one_address_are_limited(server):
    connections_are_limited(server)


@check(IN_ALL, alone=True, rows=("L4",))
def connections_in_all_are_limited(server):
    connections_are_limited(server)


@check(THROTTLED, alone=True, rows=("L4",))
def handshakes_are_limited_by_tokens(server):
    """Two of six tokens are the bystander's, and one comes back every other second."""
    began = time.monotonic()
    made = [client for client in (try_to_connect(server) for _ in range(30)) if client]
    back = int((time.monotonic() - began) / 2) + 1
    assert 4 <= len(made) <= 4 + back, "%d handshakes of 30" % len(made)
    until(lambda: try_to_connect(server), "another token")
    for client in made:
        client.ping()


def create_of_size(path, frame_size, flags=zk.PERSISTENT):
    """A create whose frame has exactly this many bytes behind the length."""
    return zk.create(path, b"x" * (frame_size - 8 - len(zk.create(path).body)), flags=flags)


@check(private=True, rows=(4, 44))
def a_frame_may_be_as_long_as_the_limit_and_no_longer(launch):
    # Every size at the limit, and more sparsely for two kilobytes around it.
    sizes = sorted({*range(FRAME_MAX - 2048, FRAME_MAX + 1, 64), *range(FRAME_MAX - 12, FRAME_MAX + 1)})
    with launch(FRAMES) as server:
        server.start()
        with bystander(server):
            fill_to_the_limit(server, sizes)
        server.kill()
        server.start()
        client = server.client()
        for size in sizes:
            path = "/size-%06d" % size
            same(len(client.call(zk.get_data(path))[0]), size - 8 - len(zk.create(path).body))
        same([name for name in client.call(zk.get_children2("/"))[0] if name.startswith("over")], [])


def fill_to_the_limit(server, sizes):
    client, other = server.client(), server.client()
    same(len(client.encode(create_of_size("/full", FRAME_MAX))[0]), FRAME_MAX + 4)
    client.call(create_of_size("/full", FRAME_MAX))
    for size in (FRAME_MAX + 1, FRAME_MAX + 2, *range(FRAME_MAX + 256, FRAME_MAX + 2049, 256)):
        client.send(create_of_size("/over", size))
        same(drain(client), [], "frames after one that is too long")
        # The length decides, not the body.
        client = server.client()
        client.send_raw(struct.pack(">i", size))
        same(drain(client), [], "frames after a length that is too long")
        client = server.client()
    for size in sizes:
        other.call(create_of_size("/size-%06d" % size, size))
    # A multi may fill a frame too, and its record in the log is longer than the request.
    other.call(zk.multi([zk.create("/m%03d" % i, b"y" * 900) for i in range(90)]))

    def has_snapshot():
        other.call(create_of_size("/full-", FRAME_MAX, zk.SEQUENTIAL))
        return any(path.stat().st_size > 10 * FRAME_MAX for path in (server.data / "version-2").glob("snapshot.*"))

    until(has_snapshot, "a snapshot with those nodes")


@check(FEW_WORDS, rows=(10, "L15"))
def only_words_on_the_whitelist_are_answered(server):
    same(zk.four_letter_word(server.port, "ruok"), "imok")
    assert zk.four_letter_word(server.port, "stat").startswith("Zookeeper version: ")
    # Tools need this one: it is answered whatever the list says.
    assert "Mode: standalone" in zk.four_letter_word(server.port, "srvr")
    for word in ("conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "srst", "wchc", "wchp", "wchs"):
        same(zk.four_letter_word(server.port, word), word + " is not executed because it is not in the whitelist.\n")
    for word in ("zzzz", "kill", "RUOK", "ruoK"):
        same(zk.four_letter_word(server.port, word), "")


@check(WORDS)
def every_word_tells_of_sessions_and_watches(server):
    client = server.client(timeout_ms=60000)
    client.call(zk.create("/words", b"data"))
    client.call(zk.create("/words/e", flags=zk.EPHEMERAL))
    client.call(zk.get_data("/words", watch=True))
    client.call(add_watch("/words-recursive", RECURSIVE))
    gone = server.client()
    gone.close()
    session, host = "0x%x" % client.session.id, "127.0.0.1:%d" % client.sock.getsockname()[1]
    answers = {word: zk.four_letter_word(server.port, word) or "" for word in (
        "conf", "cons", "dirs", "dump", "envi", "hash", "isro", "mntr", "ruok", "srvr", "stat", "wchc", "wchp", "wchs")}

    def has(word, *patterns):
        for pattern in patterns:
            assert re.search(pattern, answers[word], re.M), "%s does not tell %r:\n%s" % (word, pattern, answers[word])

    has("conf", r"^clientPort=%d$" % server.port, r"^tickTime=200$", r"^maxSessionTimeout=120000$")
    has("cons", re.escape(host) + r"\[1\]\(.*sid=" + session + ",", r"to=60000,")
    has("dirs", r"^datadir_size: \d+$", r"^logdir_size: \d+$")
    has("dump", session, r"^\t/words/e$", r"^Sessions with Ephemerals \(\d+\):$")
    assert "%x" % gone.session.id not in answers["dump"], "dump tells of a session that was closed"
    has("envi", r"^zookeeper\.version=3\.9\.", r"^host\.name=")
    has("mntr", r"^zk_server_state\tstandalone$", r"^zk_ephemerals_count\t1$", r"^zk_watch_count\t2$", r"^zk_znode_count\t7$")
    has("srvr", r"^Mode: standalone$", r"^Node count: 7$", r"^Zxid: 0x[0-9a-f]+$", r"^Connections: \d+$")
    has("stat", r"^ /" + re.escape(host) + r"\[1\]\(", r"^Node count: 7$")
    has("wchc", "^" + session + "$", r"^\t/words$", r"^\t/words-recursive$")
    has("wchp", r"^/words$", r"^\t" + session + "$")
    has("wchs", r"^1 connections watching 2 paths$", r"^Total watches:2$")
    same((answers["ruok"], answers["isro"]), ("imok", "rw"))
    same(zk.four_letter_word(server.port, "crst"), "Connection stats reset.\n")
    same(zk.four_letter_word(server.port, "srst"), "Server stats reset.\n")
    has("stat", "Received: ")
    client.ping()
    same([event for event in client.events], [], "events that words caused")


@check(WORDS)
def the_trace_mask_is_kept(server):
    before = int(zk.four_letter_word(server.port, "gtmk"))
    conn = raw(server, b"stmk" + struct.pack(">q", 0x1F6))
    text = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := conn.sock.recv(100):
            text += piece
    same(text, b"502")
    same(zk.four_letter_word(server.port, "gtmk"), "502")
    zk.Client(server.port).send_raw(b"stmk" + struct.pack(">q", before))
    until(lambda: zk.four_letter_word(server.port, "gtmk") == str(before), "the old mask")


@check(rows=(10,))
def a_word_after_the_handshake_ends_the_connection(server):
    for word in (b"ruok", b"srvr", b"stmk" + bytes(8), b"\xff\xf4\xff\xfd"):
        client = server.client()
        client.send_raw(word)
        same(drain(client), [], "frames after %r" % word)
        zk.Client(server.port).connect(resume=client.session).close()


@check(rows=(10,))
def words_in_pieces_and_with_more_behind_them_are_answered(server):
    for pieces in ((b"ru", b"ok"), (b"r", b"u", b"o", b"k"), (b"ruok\n",), (b"ruok\r\nnonsense",)):
        conn = raw(server)
        for piece in pieces:
            conn.send_raw(piece)
        text = b""
        # What was not read makes the close a reset, after the text.
        with contextlib.suppress(ConnectionResetError):
            while piece := conn.sock.recv(100):
                text += piece
        same(text, b"imok", "answer to %r" % (pieces,))
    same(raw(server, b"\xff\xf4\xff\xfd").sock.recv(10), b"")


@check(alone=True, rows=("L16",), ours_alone="ZooKeeper leaves it to the umask")
def files_are_their_owners_alone(server):
    server.client().call(zk.create("/mine", flags=zk.EPHEMERAL))
    found = [server.data / "version-2", *server.data.rglob("*")]
    assert len(found) > 3, "there is nothing to look at"
    for path in found:
        same(path.stat().st_mode & 0o077, 0, "rights of others to %s" % path)
