"""What a zoo.cfg does: which ones a server starts with, how it ends with the others, and what the settings come to.

Each `Case` is a file (or a command line) that both servers get. `start` says what has to come of it: SERVES, or the exit code.
The server under test must also say what is wrong: every text of `says` stands in what it prints. `facts` name what is asked of
a server that runs; the answers are compared.
"""

import collections
import concurrent.futures
import contextlib
import os
import re
import shlex
import socket
import subprocess
import time
from pathlib import Path

import zk
from server import APACHE, free_port
from .pair import ENVIRONMENT, scratch

SERVES = "serves"
EXIT_CONFIG = 2
PATIENCE_S = 60
# JVMs that start at the same time.
TOGETHER = 4

Case = collections.namedtuple("Case", "name config says facts prepare arguments")


def case(name, *lines, says=(), facts=(), prepare=None, arguments=None):
    """The file is these lines, or these bytes as they are."""
    config = lines[0] if isinstance(lines[0], bytes) else "\n".join(lines).encode() + b"\n"
    return Case(name, config, says, facts, prepare, arguments)


class Run:
    """One server on one configuration: whether it serves, or the exit code; and what it printed."""

    def __init__(self, command, chosen, home):
        self.home, self.port = Path(home), free_port()
        self.data = self.home / "data"
        self.config = self.home / "zoo.cfg"
        (self.home / "log").mkdir()
        self.config.write_bytes(self.fill_in(chosen.config))
        if chosen.prepare:
            chosen.prepare(self)
        words = shlex.split(command)
        arguments = [str(self.config)] if chosen.arguments is None else [self.fill_in(a) for a in chosen.arguments]
        at = words.index("{config}")
        self.log = self.home / "output"
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                words[:at] + arguments + words[at + 1:], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.home,
                env=dict(os.environ, **ENVIRONMENT), start_new_session=True)

    def fill_in(self, text):
        """`@HOME`, `@DATA`, `@PORT` of a case, and `@FREE`, another port."""
        as_bytes = text.encode() if isinstance(text, str) else text
        for name, value in ((b"@DATA", self.data), (b"@HOME", self.home), (b"@PORT", self.port), (b"@FREE", free_port())):
            as_bytes = as_bytes.replace(name, str(value).encode())
        return as_bytes.decode() if isinstance(text, str) else as_bytes

    def outcome(self):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status = self.process.poll()
            if status is not None:
                return status
            for host in ("127.0.0.1", "::1"):
                if "Mode: " in (zk.four_letter_word(self.port, "srvr", host) or ""):
                    return SERVES
            assert time.monotonic() < deadline, "neither serves nor ends: " + self.output()[-600:]
            time.sleep(0.02)

    def output(self):
        return self.log.read_text(errors="replace")

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
        self.process.wait()


def compare(command, comparison):
    with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
        for name, theirs, ours, texts, said in pool.map(lambda chosen: try_both(command, chosen), CASES):
            comparison.values(name, theirs, ours)
            comparison.saying(name, texts, said)


def try_both(command, chosen):
    """(name, what came of it at Apache's, at ours, what ours is to say, what it said)."""
    theirs, _ = attempt(APACHE, chosen)
    ours, said = attempt(command, chosen)
    # Whoever is refused is told which file, and what scripts look for; `says` has what else must be told.
    always = (FILE, "Invalid config, exiting abnormally") if ours == EXIT_CONFIG and chosen.arguments is None else ()
    return chosen.name, theirs, ours, always + tuple(chosen.says), said


def attempt(command, chosen):
    with scratch() as home:
        run = Run(command, chosen, home)
        try:
            result = run.outcome()
            if result == SERVES:
                result = ", ".join([SERVES] + [told(fact, run) for fact in chosen.facts])
                # Apache binds one port after the other: it may serve for a moment before it ends.
                result = result if run.process.poll() is None else run.process.poll()
            return result, run.output()
        finally:
            run.end()
            for path in run.home.rglob("*"):
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o755)


# ----------------------------------------------------------------------------------------------------------------------
# Facts about a server that runs


def told(fact, run):
    try:
        return str(fact(run))
    except (zk.Closed, zk.Refused, zk.ZkError, OSError) as e:
        return "%s: %r" % (fact.__name__, e)


def timeout_of(wanted_ms):
    def negotiated(run):
        return "timeout %d" % zk.Client(run.port).connect(timeout_ms=wanted_ms).session.timeout_ms
    return negotiated


def admitted(run):
    """How many of five connections at the same time are served."""
    # The connection that found the server serving has ended; it may still be counted.
    best, deadline = -1, time.monotonic() + 3
    while time.monotonic() < deadline:
        clients, served = [], 0
        for _ in range(5):
            try:
                clients.append(zk.Client(run.port).connect())
                served += 1
            except (zk.Closed, OSError):
                pass
        for client in clients:
            client.close()
        best = max(best, served)
        time.sleep(0.1)
    return "%d of 5 connections" % best


def words(run):
    """What each of a few words gets."""
    found = []
    for word in ("ruok", "isro", "srvr", "gtmk", "dirs"):
        text = zk.four_letter_word(run.port, word) or ""
        found.append("%s %s" % (word, "refused" if "whitelist" in text else "answered" if text else "nothing"))
    return " ".join(found)


def settings(*keys):
    """Lines of `conf`."""
    def shown(run):
        answer = zk.four_letter_word(run.port, "conf") or ""
        lines = [line for line in answer.splitlines() if line.split("=")[0] in keys]
        return " ".join(lines).replace(str(run.home), "HOME").replace(str(run.port), "PORT")
    return shown


def data_at(*names):
    """Which of these directories hold a log or a snapshot."""
    def found(run):
        zk.Client(run.port).connect().close()
        there = [name for name in names for kind in ("log.*", "snapshot.*") if list(run.home.glob("%s/version-2/%s" % (name, kind)))]
        return " ".join(there)
    return found


def node_of(size):
    """What becomes of a create with data of this size."""
    def created(run):
        client = zk.Client(run.port).connect()
        try:
            client.call(zk.create("/n", b"d" * size))
        except zk.Closed:
            return "%d bytes: closed" % size
        return "%d bytes: created" % size
    return created


def stays(run):
    """Gives it time to end after all."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.wait(5)
    return "stays"


def forbidden_read(run):
    client = zk.Client(run.port).connect()
    client.call(zk.create("/closed", acl=((1 << 2, "digest", "nobody:x"),)))
    try:
        client.call(zk.get_data("/closed"))
    except zk.ZkError as e:
        return "read %d" % e.code
    return "read allowed"


def snapshots(count, apart):
    """Whether so many writes lead to further snapshots, and none of them less than so many txns after the last."""
    def taken(run):
        client = zk.Client(run.port).connect()
        for i in range(count):
            client.call(zk.create("/n%d" % i))
        deadline = time.monotonic() + 10
        while len(found := list(run.home.glob("data/version-2/snapshot.*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        zxids = sorted(int(path.suffix[1:], 16) for path in found if re.fullmatch(r"snapshot\.[0-9a-f]+", path.name))
        close = [pair for pair in zip(zxids, zxids[1:]) if pair[1] - pair[0] < apart]
        return "further snapshots, too close %s" % close if len(zxids) > 1 else "no further snapshot"
    return taken


# ----------------------------------------------------------------------------------------------------------------------
# Preparations


def data_is_a_file(run):
    run.data.write_text("")


def data_is_there(run):
    run.data.mkdir()


def data_is_locked_away(run):
    """Nobody may write there, root included: below a file system that is read-only."""
    run.data.symlink_to("/proc/sys")


def port_is_taken(run):
    run.listener = socket.create_server(("127.0.0.1", run.port))


def no_file(run):
    run.config.unlink()


def file_is_a_directory(run):
    run.config.unlink()
    run.config.mkdir()


def file_may_not_be_followed(run):
    run.config.unlink()
    run.config.symlink_to(run.config)


BASE = ("dataDir=@DATA", "clientPort=@PORT", "admin.enableServer=false")
ALL_WORDS = "4lw.commands.whitelist=*"
FILE = "zoo.cfg"
TIMES = settings("tickTime", "minSessionTimeout", "maxSessionTimeout")


def with_base(name, *lines, **options):
    return case(name, *BASE, *lines, **options)


CASES = (
    # What must be there.
    with_base("the least there may be", facts=(words, timeout_of(10), timeout_of(30000), timeout_of(900000))),
    case("no dataDir", "clientPort=@PORT", says=(FILE, "dataDir is not set", "dataDir=/")),
    case("empty dataDir", "dataDir=", "clientPort=@PORT", says=(FILE, "dataDir")),
    case("no clientPort, an address", "dataDir=@DATA", "clientPortAddress=127.0.0.1", says=(FILE, "line 2", "clientPort")),
    case("nothing in it", "", says=(FILE, "dataDir is not set")),
    # Numbers.
    with_base("tickTime is no number", "tickTime=2x", says=(FILE, "line 4", 'tickTime is "2x"', "whole number")),
    with_base("tickTime is empty", "tickTime=", says=(FILE, "tickTime")),
    with_base("tickTime is 0", "tickTime=0", says=(FILE, "tickTime")),
    with_base("tickTime is negative", "tickTime=-5", ALL_WORDS, facts=(TIMES,)),
    with_base("tickTime is too large for an int", "tickTime=3000000000", says=(FILE, "tickTime", "3000000000")),
    with_base("tickTime has a plus", "tickTime=+2000", ALL_WORDS, facts=(TIMES,)),
    with_base("tickTime in hex", "tickTime=0x10", says=(FILE, "tickTime", "0x10")),
    with_base("tickTime with a decimal", "tickTime=2000.0", says=(FILE, "tickTime")),
    with_base("clientPort is no number", "clientPort=http", says=(FILE, "line 4", "clientPort", "http")),
    with_base("clientPort is too large", "clientPort=65536", says=("clientPort", "65536")),
    with_base("clientPort is negative", "clientPort=-1", says=("clientPort", "-1")),
    with_base("initLimit is no number", "initLimit=ten", says=(FILE, "initLimit", "ten")),
    with_base("maxClientCnxns is no number", "maxClientCnxns=many", says=(FILE, "maxClientCnxns", "many")),
    with_base("maxClientCnxns is negative", "maxClientCnxns=-1", ALL_WORDS, facts=(admitted, settings("maxClientCnxns"))),
    with_base("snapCount is no number", "snapCount=x", says=(FILE, "snapCount")),
    with_base("preAllocSize is no number", "preAllocSize=x", says=(FILE, "preAllocSize")),
    with_base("maxCnxns is no number", "maxCnxns=x", says=(FILE, "maxCnxns")),
    with_base("globalOutstandingLimit is no number", "globalOutstandingLimit=x", says=(FILE, "globalOutstandingLimit")),
    with_base("tickTime has blanks in it", "tickTime=2 000", says=(FILE, "tickTime", "2 000")),
    with_base("tickTime has a leading zero", "tickTime=0100", ALL_WORDS, facts=(TIMES,)),
    with_base("tickTime in other digits", "tickTime=\\u0661\\u0662\\u0660\\u0660", ALL_WORDS, facts=(TIMES,)),
    with_base("clientPort is empty", "clientPort=", says=(FILE, "clientPort")),
    with_base("maxClientCnxns is empty", "maxClientCnxns=", says=(FILE, "maxClientCnxns")),
    with_base("syncLimit is empty", "syncLimit=", says=(FILE, "syncLimit")),
    with_base("clientPortListenBacklog is no number", "clientPortListenBacklog=x", says=(FILE, "clientPortListenBacklog")),
    with_base("maxSessionTimeout is no number", "maxSessionTimeout=1m", says=(FILE, "maxSessionTimeout", "1m")),
    # Flags and words.
    with_base("reconfigEnabled is neither", "reconfigEnabled=yes", says=(FILE, "reconfigEnabled", "yes")),
    with_base("localSessionsEnabled in capitals", "localSessionsEnabled=FALSE"),
    with_base("enforceQuota is neither", "enforceQuota=yes"),
    with_base("electionAlg is 1", "electionAlg=1", says=(FILE, "electionAlg")),
    with_base("peerType is unknown", "peerType=king", says=(FILE, "king")),
    with_base("metrics provider is unknown", "metricsProvider.className=nope", says=(FILE, "metrics")),
    with_base("a key that nobody knows", "tickTme=5", says=(FILE, "tickTme")),
    with_base("compression is unknown", "snapshot.compression.method=zip", says=(FILE, "snapshot.compression.method", "zip")),
    # Session timeouts.
    with_base("bounds of session timeouts", "tickTime=1000", "minSessionTimeout=3000", "maxSessionTimeout=5000", ALL_WORDS,
              facts=(TIMES, timeout_of(10), timeout_of(4001), timeout_of(90000))),
    with_base("bounds are equal", "minSessionTimeout=5000", "maxSessionTimeout=5000", facts=(timeout_of(10), timeout_of(90000))),
    with_base("bounds are crossed", "minSessionTimeout=9000", "maxSessionTimeout=1000", says=(FILE, "minSessionTimeout", "9000")),
    with_base("least above twenty ticks", "tickTime=100", "minSessionTimeout=3000", says=(FILE, "minSessionTimeout", "3000")),
    with_base("bounds are -1", "minSessionTimeout=-1", "maxSessionTimeout=-1", ALL_WORDS, facts=(TIMES, timeout_of(10))),
    with_base("least is 0", "minSessionTimeout=0", ALL_WORDS, facts=(TIMES, timeout_of(1))),
    with_base("least is -2", "minSessionTimeout=-2", ALL_WORDS, facts=(TIMES, timeout_of(10))),
    with_base("least alone", "minSessionTimeout=7000", ALL_WORDS, facts=(TIMES, timeout_of(10))),
    with_base("most alone", "maxSessionTimeout=7000", ALL_WORDS, facts=(TIMES, timeout_of(90000))),
    with_base("most below two ticks", "maxSessionTimeout=3000", says=(FILE, "maxSessionTimeout", "3000")),
    with_base("most is 0", "maxSessionTimeout=0", says=(FILE, "maxSessionTimeout")),
    # Connections of one address.
    with_base("maxClientCnxns is 0", "maxClientCnxns=0", facts=(admitted,)),
    with_base("maxClientCnxns is 1", "maxClientCnxns=1", facts=(admitted,)),
    with_base("maxClientCnxns is 2", "maxClientCnxns=2", facts=(admitted,)),
    with_base("maxCnxns is 3", "maxCnxns=3", facts=(admitted,)),
    # Addresses and ports.
    with_base("address of this machine", "clientPortAddress=127.0.0.1"),
    with_base("name of this machine", "clientPortAddress=localhost"),
    with_base("address of no machine", "clientPortAddress=203.0.113.7", says=("203.0.113.7", "clientPort")),
    with_base("name that cannot be resolved", "clientPortAddress=no.such.host.invalid", says=("no.such.host.invalid", "clientPortAddress")),
    with_base("port in use", "clientPortAddress=127.0.0.1", prepare=port_is_taken, says=("in use", "clientPort")),
    with_base("secureClientPort without TLS", "secureClientPort=@FREE", facts=(stays,), says=(FILE, "secureClientPort")),
    with_base("secureClientPort is no number", "secureClientPort=x", says=(FILE, "secureClientPort", '"x"')),
    with_base("IPv6 address of this machine", "clientPortAddress=::1"),
    with_base("address in brackets", "clientPortAddress=[127.0.0.1]", says=("clientPortAddress",)),
    with_base("address with a port", "clientPortAddress=127.0.0.1:2181", says=("clientPortAddress",)),
    with_base("empty address", "clientPortAddress="),
    # Directories.
    case("relative dataDir", "dataDir=data", "clientPort=@PORT", facts=(data_at("data"),), says=(FILE, "dataDir", "relative")),
    with_base("dataDir is a file", prepare=data_is_a_file, says=("Unable to access datadir",)),
    with_base("dataDir cannot be written", prepare=data_is_locked_away, says=("Unable to access datadir",)),
    with_base("dataDir is there", prepare=data_is_there, facts=(data_at("data"),)),
    with_base("dataDir is not made", "datadir.autocreate=false", says=("Unable to access datadir",)),
    with_base("dataLogDir is another", "dataLogDir=@HOME/log", ALL_WORDS, facts=(data_at("data", "log"), settings("dataDir", "dataLogDir"))),
    with_base("dataLogDir is the same", "dataLogDir=@DATA", facts=(data_at("data", "log"),)),
    with_base("dataLogDir is a file", "dataLogDir=@HOME/zoo.cfg", says=("Unable to access datadir",)),
    # Words.
    with_base("whitelist with blanks", "4lw.commands.whitelist= ruok ,  dirs,", facts=(words,)),
    with_base("whitelist is a star", ALL_WORDS, facts=(words,)),
    with_base("whitelist with a star among others", "4lw.commands.whitelist=ruok,*", facts=(words,)),
    with_base("whitelist with unknown words", "4lw.commands.whitelist=ruok,abcd,", facts=(words,), says=(FILE, "abcd")),
    with_base("whitelist in capitals", "4lw.commands.whitelist=RUOK", facts=(words,)),
    with_base("whitelist is empty", "4lw.commands.whitelist=", facts=(words,)),
    with_base("whitelist twice, the last counts", "4lw.commands.whitelist=dirs", "4lw.commands.whitelist=isro", facts=(words,)),
    # Other settings with an effect.
    with_base("skipACL", "skipACL=yes", facts=(forbidden_read,)),
    with_base("skipACL is off", "skipACL=true", facts=(forbidden_read,)),
    with_base("superDigest and a bad digestAlg", "DigestAuthenticationProvider.digestAlg=MD99", says=("digestAlg",)),
    with_base("snapCount is small", "snapCount=40", facts=(snapshots(200, 10),)),
    with_base("snapCount is 1", "snapCount=1", facts=(snapshots(10, 0),)),
    with_base("autopurge.snapRetainCount is 1", "autopurge.snapRetainCount=1", says=(FILE, "autopurge.snapRetainCount")),
    with_base("autopurge.snapRetainCount is no number", "autopurge.snapRetainCount=x", says=(FILE, "autopurge.snapRetainCount")),
    with_base("autopurge.purgeInterval is negative", "autopurge.purgeInterval=-1"),
    with_base("autopurge.purgeInterval with a unit", "autopurge.purgeInterval=12h"),
    with_base("autopurge.purgeInterval is no number", "autopurge.purgeInterval=often", says=(FILE, "autopurge.purgeInterval", "often")),
    with_base("clientPortListenBacklog", "clientPortListenBacklog=7", ALL_WORDS, facts=(settings("clientPortListenBacklog"),)),
    with_base("jute.maxbuffer is a line", "jute.maxbuffer=5000", facts=(node_of(6000),)),
    # How the file is written.
    case("colons", "dataDir:@DATA", "clientPort : @PORT", "tickTime: 1500", ALL_WORDS, facts=(TIMES,)),
    case("blanks for equal signs", "dataDir @DATA", "clientPort\t@PORT", "tickTime   1500", ALL_WORDS, facts=(TIMES,)),
    with_base("blanks and tabs around", "  tickTime \t = \t 1500 \t ", "\tmaxClientCnxns=\t7", ALL_WORDS, facts=(TIMES, settings("maxClientCnxns"))),
    with_base("comments", "# tickTime=1", "! tickTime=2", "  # tickTime=3", "tickTime=1500", ALL_WORDS, facts=(TIMES,)),
    with_base("a comment behind a value", "tickTime=1500 # ms", says=(FILE, "tickTime", "1500 # ms")),
    with_base("the last of two counts", "tickTime=1000", "tickTime=1500", ALL_WORDS, facts=(TIMES,)),
    with_base("a line that goes on", "4lw.commands.whitelist=ruok,\\", "    dirs", facts=(words,)),
    with_base("a comment that does not go on", "# a comment \\", "tickTime=1500", ALL_WORDS, facts=(TIMES,)),
    with_base("characters by number", "tick\\u0054ime=1\\u00350\\u0030", ALL_WORDS, facts=(TIMES,)),
    with_base("a character by half a number", "tickTime=\\u00", says=(FILE, "\\u")),
    with_base("escaped signs in a key", "tick\\Time=1500", ALL_WORDS, facts=(TIMES,)),
    with_base("keys are told apart by case", "ticktime=1500", ALL_WORDS, facts=(TIMES,)),
    case("no end of the last line", b"dataDir=@DATA\nclientPort=@PORT\ntickTime=1500"),
    case("CRLF", b"dataDir=@DATA\r\nclientPort=@PORT\r\ntickTime=1500\r\n4lw.commands.whitelist=*\r\n", facts=(TIMES,)),
    case("CR alone", b"dataDir=@DATA\rclientPort=@PORT\rtickTime=1500\r4lw.commands.whitelist=*\r", facts=(TIMES,)),
    case("a byte order mark", b"\xef\xbb\xbfdataDir=@DATA\nclientPort=@PORT\n", says=(FILE,)),
    case("a byte order mark before a comment", b"\xef\xbb\xbf# zoo\ndataDir=@DATA\nclientPort=@PORT\n"),
    case("bytes that are no UTF-8", b"# caf\xe9 \xff\xfe\ndataDir=@DATA\nclientPort=@PORT\n"),
    case("null bytes", b"dataDir=@DATA\nclientPort=@PORT\ntickTime=1\x00500\n", says=(FILE, "tickTime")),
    with_base("a key without a value", "tickTime", says=(FILE, "tickTime")),
    with_base("a value without a key", "=5"),
    with_base("a line of blanks", "   \t ", "tickTime=1500", ALL_WORDS, facts=(TIMES,)),
    with_base("a backslash at the end", "maxClientCnxns=5\\"),
    with_base("equal signs in a value", "4lw.commands.whitelist=ruok=,ruok", facts=(words,)),
    with_base("a long line", "# " + "x" * 200000, "x" * 100000 + "=1"),
    # Servers of an ensemble.
    with_base("one server line", "server.1=localhost:2888:3888"),
    with_base("one server line and no myid", "server.1=localhost:2888:3888;2181"),
    with_base("a malformed server line", "server.1=localhost", says=(FILE, "line 4", "localhost")),
    with_base("a server line without a number", "server.x=localhost:2888:3888", says=(FILE, "server.x")),
    with_base("the same server twice", "server.1=localhost:2888:3888", "server.1=localhost:2889:3889"),
    with_base("equal ports", "server.1=localhost:2888:2888", says=(FILE,)),
    with_base("an unknown role", "server.1=localhost:2888:3888:king", says=(FILE, "king")),
    with_base("only an observer", "server.1=localhost:2888:3888:observer", says=(FILE,)),
    with_base("standaloneEnabled=false and nobody", "standaloneEnabled=false"),
    with_base("a dynamic file that is missing", "dynamicConfigFile=@HOME/none", says=("none",)),
    with_base("a group alone", "group.1=1"),
    with_base("enforce.auth.enabled without schemes", "enforce.auth.enabled=true", says=(FILE, "enforce.auth")),
    # Command lines.
    case("no such file", b"", prepare=no_file, says=("zoo.cfg", "cannot be read")),
    case("a directory for a file", b"", prepare=file_is_a_directory, says=("zoo.cfg",)),
    case("a link to itself", b"", prepare=file_may_not_be_followed, says=("zoo.cfg",)),
    case("port and directory", b"", arguments=("@PORT", "@DATA"), facts=(data_at("data"), timeout_of(10))),
    case("port, directory, tick, connections", b"", arguments=("@PORT", "@DATA", "1000", "2"), facts=(admitted, timeout_of(10))),
    case("port and directory, tick is no number", b"", arguments=("@PORT", "@DATA", "x"), says=("x",)),
    case("port is no number", b"", arguments=("port", "@DATA"), says=("port",)),
    case("too many arguments", b"", arguments=("@PORT", "@DATA", "1000", "2", "3")),
)
