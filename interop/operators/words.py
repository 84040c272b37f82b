"""The four-letter words: same lines, in the same order, with the same figures.

`VARIABLE` is all that is put aside before two answers are compared, each with its reason. Figures that count (packets,
connections, nodes, watches, bytes) are compared as they are: both servers have seen the same by then.
"""

import datetime
import re
import struct
import time

import zk
from .pair import Pair, say

# `crst` and `srst` begin counts anew, so what shows them is asked before and after.
WORDS = ("ruok", "srvr", "stat", "cons", "mntr", "srst", "crst", "cons", "stat", "mntr", "conf", "dump", "envi", "isro", "wchs",
         "wchc", "wchp", "dirs", "gtmk", "hash")
# What differs from run to run on one and the same server: (word, or "" for all; pattern; what stands for it; why).
VARIABLE = (
    ("", r"Latency min/avg/max: [\d.]+/[\d.E-]+/[\d.]+", "Latency min/avg/max: N/N/N", "how fast it was"),
    ("cons", r"\best=\d+", "est=TIME", "when the connection was made"),
    ("cons", r"\blresp=\d+", "lresp=TIME", "when the last reply left"),
    ("cons", r"\b(llat|minlat|avglat|maxlat)=\d+", r"\1=N", "how fast it was"),
    ("mntr", r"^(zk_(?:avg|min|max|sum|p\d+)_\w*(?:latency|time|propagation|ms|queued))\t\S+", r"\1\tN", "how fast it was"),
    ("mntr", r"^(zk_\w*(?:_latency|uptime|file_descriptor_count))\t\S+", r"\1\tN", "how fast it was, how long it ran, which files"),
    ("hash", r": -?\d+$", ": DIGEST", "the digest covers the times of the nodes"),
    ("envi", r"^host\.name=\S+", "host.name=HOST", "a name server may know another name than the machine"),
    ("envi", r"^os\.memory\.(free|max|total)=\d+MB", r"os.memory.\1=NMB", "memory"),
)
# What Java's hash tables order: connections, sessions, paths, names of figures.
UNORDERED = ("stat", "cons", "mntr")
BLOCKS = ("wchc", "wchp")
DATE = re.compile(r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d UTC \d{4}")
TICK_MS = 2000
# How long a client may have said nothing by the time of `dump`, the second that dates leave out included.
SILENT_MS = 6000
TIMEOUTS_MS = {"session-A": 30000, "session-B": 16000, "session-fresh": 38000, "session-moved": 24000, "0x0": 10000}
# Apache looks for silent connections at this interval, and for silent sessions each tick.
CONNECTIONS_INTERVAL_MS = 10000


def compare(command, comparison):
    lines = ["maxSessionTimeout=40000", "preAllocSize=1024", "extendedTypesEnabled=true"]
    with Pair(command, lines, TICK_MS) as pair:
        pair.both(settle)
        every_word(pair, comparison, "idle")
        pair.both(play)
        every_word(pair, comparison, "played")
        odd_ways(pair, comparison)
    with Pair(command, ["4lw.commands.whitelist=ruok, isro ,nope"], TICK_MS) as pair:
        not_listed(pair, comparison)


def every_word(pair, comparison, state):
    for word in WORDS:
        theirs, ours = pair.both(lambda side: answer(side, word))
        comparison.texts("%s %s" % (word, state), theirs, ours)


def settle(side):
    """Waits until the connections of the start are gone, and counts from here."""
    wait_for_connections(side, 1)
    for word in ("srst", "crst"):
        zk.four_letter_word(side.port, word)
    wait_for_connections(side, 1)
    zk.four_letter_word(side.port, "srst")


def wait_for_connections(side, wanted):
    deadline = time.monotonic() + 20
    while "Connections: %d\n" % wanted not in (said := zk.four_letter_word(side.port, "srvr") or ""):
        assert time.monotonic() < deadline, "%s: not %d connections:\n%s" % (side.title, wanted, said)
        time.sleep(0.02)


def play(side):
    """Sessions, nodes, ephemerals, watches of two clients on the same paths, ids, errors: the same on both servers."""
    a = side.open("A", timeout_ms=TIMEOUTS_MS["session-A"])
    b = side.open("B", timeout_ms=TIMEOUTS_MS["session-B"])
    gone = side.open("gone", timeout_ms=20000)
    for path, flags in (("/app", 0), ("/app/config", 0), ("/app/\u00fcber", 0), ("/app/a", zk.EPHEMERAL),
                        ("/lock-", zk.EPHEMERAL_SEQUENTIAL)):
        a.call(zk.create(path, b"data of " + path.encode(), flags=flags))
    b.call(zk.create("/app/b", b"", flags=zk.EPHEMERAL))
    gone.call(zk.create("/app/gone", b"", flags=zk.EPHEMERAL))
    gone.close()
    b.add_auth("digest", b"user:word")
    for client in (a, b):
        client.call(zk.get_data("/app", True))
        client.call(zk.get_data("/app/config", True))
        client.call(zk.get_children2("/app", True))
    for path in ("/absent", "/absent/below"):
        code_of(b, zk.exists(path, True))
    b.call(zk.Op(zk.ADD_WATCH, zk.Writer().string("/app").int(1).bytes()))
    code_of(a, zk.delete("/app"))
    code_of(a, zk.set_data("/app", b"x", 9))
    a.call_all([zk.set_data("/app/\u00fcber", b"%d" % i) for i in range(300)])
    a.call(zk.multi([zk.check("/app"), zk.create2("/app/multi", b"m")]))
    a.ping()
    b.call(zk.get_data("/app/multi"))
    while len(b.events) < 302:
        b.events.append(zk.decode_event(zk.decode_reply(b.recv_frame())))
    b.ping()
    side.open("fresh", timeout_ms=TIMEOUTS_MS["session-fresh"])
    moved = side.open("left", timeout_ms=TIMEOUTS_MS["session-moved"])
    moved.drop()
    wait_for_connections(side, 4)
    side.call_it(zk.Client(side.port).connect(timeout_ms=TIMEOUTS_MS["session-moved"], resume=moved.session), "moved")
    zk.four_letter_word(side.port, "srst")


def code_of(client, op):
    try:
        client.call(op)
    except zk.ZkError as e:
        return e.code
    raise AssertionError("operation %d is to fail" % op.type)


def answer(side, word):
    """The lines of an answer that are to be the same on both servers."""
    said, ended, own_port = say(side.port, word.encode())
    assert ended == "end", "%s: %s ended by %s" % (side.title, word, ended)
    text = side.named(re.sub(r":%d\b" % own_port, ":ASKING", said.decode()))
    for only, pattern, name, _ in VARIABLE:
        if only in ("", word):
            text = re.sub(pattern, name, text, flags=re.MULTILINE)
    if word == "dump":
        return expiries(text, side)
    lines = text.split("\n")
    if word in UNORDERED:
        return sorted(lines) if word != "stat" else ordered_clients(lines)
    return blocks(text) if word in BLOCKS else lines


def ordered_clients(lines):
    clients = sorted(line for line in lines if line.startswith(" /"))
    return [line for line in lines if not line.startswith(" /")] + clients


def blocks(text):
    """A line and the indented ones below it belong together; neither's order means anything."""
    found = [sorted(block.split("\n")) for block in re.split(r"\n(?!\t)", text)]
    return [line for block in sorted(found) for line in block]


def expiries(text, side):
    """`dump`, without buckets that everything has moved out of: Apache keeps an empty one until its time has come. Whatever is
    in one must expire between its timeout and a tick later, give or take the second that dates leave out."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    lines, at = [], None
    for line in re.sub(r"\n(?!\t\t)(\t0x)", r"\n\1", text).split("\n"):
        if " expire at " in line:
            at = datetime.datetime.strptime(DATE.search(line).group(), "%a %b %d %H:%M:%S UTC %Y")
            # What shares a bucket is chance.
            line = re.sub(r"^[1-9]\d* ", "N ", DATE.sub("TIME", line))
            if line.startswith("0 ") or line in lines:
                continue
        elif at and (who := re.search(r"session-\w+|\b0x0\b", line)) and not line.endswith(":"):
            ahead_ms = (at - now).total_seconds() * 1000
            timeout_ms, interval_ms = TIMEOUTS_MS[who.group()], CONNECTIONS_INTERVAL_MS if "ip:" in line else TICK_MS
            if not timeout_ms - SILENT_MS <= ahead_ms <= timeout_ms + interval_ms + 1000:
                line += " expires in %d ms" % ahead_ms
        lines.append(re.sub(r"Sets \(\d+\)", "Sets (N)", line))
    # Ephemerals of one session are in the order of a hash table.
    return blocks("\n".join(lines))


# ----------------------------------------------------------------------------------------------------------------------
# How a word may be sent


def odd_ways(pair, comparison):
    mask = struct.pack(">q", 1234)
    ways = {
        "in capitals": (b"RUOK",),
        "unknown": (b"abcd",),
        "no longer known": (b"kill",),
        "with a newline": (b"ruok\n",),
        "with more behind it": (b"ruok, and more behind it than a word has",),
        "twice": (b"ruokruok",),
        "in two pieces": (b"ru", b"ok"),
        "byte by byte": (b"r", b"u", b"o", b"k"),
        "stmk with its mask": (b"stmk" + mask,),
        "stmk in two pieces": (b"stmk", mask),
        "gtmk after stmk": (b"gtmk",),
        "stmk with the first mask": (b"stmk" + struct.pack(">q", 306),),
        "telnet's interrupt": (b"\xff\xf4\xff\xfd",),
        "telnet's interrupt and a newline": (b"\xff\xf4\xff\xfd\x06\r\n",),
    }
    for name, pieces in ways.items():
        theirs, ours = pair.both(lambda side: say(side.port, *pieces)[:2])
        comparison.values("word " + name, theirs, ours)
    for name, piece in (("half of it, then no more", b"ru"), ("whole, then no more", b"ruok"), ("never sent", b"")):
        theirs, ours = pair.both(lambda side: say(side.port, piece, half_close=True)[:2])
        comparison.values("word " + name, theirs, ours)

    def within_a_session(side):
        client = side.client()
        client.send_raw(b"ruok")
        try:
            return client.recv_frame()
        except zk.Closed:
            return "closed"

    comparison.values("word within a session", *pair.both(within_a_session))


def not_listed(pair, comparison):
    for word in WORDS + ("stmk", "abcd"):
        theirs, ours = pair.both(lambda side: without_figures(say(side.port, word.encode())[0].decode()))
        comparison.values("whitelist " + word, theirs, ours)


def without_figures(text):
    return re.sub(r"\d[\d./]*", "N", text)
