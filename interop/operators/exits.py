"""How a server ends: the exit code after a signal, and of a start that what is on the disk, or another server, prevents.

What a configuration prevents is in `settings.py`.
"""

import concurrent.futures
import signal

import zk
from server import APACHE
from .pair import Side

LINES = ("preAllocSize=64", "snapCount=1000000")


def compare(command, comparison):
    def one(check):
        name, act, *facts = check
        return name, [outcome(title, template, act, facts) for title, template in (("Apache", APACHE), ("ours", command))]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for name, (theirs, ours) in pool.map(one, CHECKS):
            comparison.values(name, theirs[0], ours[0])
            comparison.saying(name, ours[1], ours[2])


def outcome(title, template, act, says):
    """What came of it; what is to be said about it if it ended by itself; what was."""
    with Side(title, template, LINES, 2000) as side:
        result = act(side.start())
        return result, says, "".join(side.log_lines())


def ended_by(number):
    def act(side):
        side.client().call(zk.create("/n"))
        side._signal(number)
        return ended(side)
    return act


def ended(side):
    status = side.process.wait(30)
    side.process = None
    return status


def second_start(side):
    """Starts it again: "serves", or the exit code."""
    side.spawn()
    while side.process.poll() is None:
        if "Mode: " in (zk.four_letter_word(side.port, "srvr") or ""):
            return "serves"
    return ended(side)


def after(change):
    """Fills a server, kills it, changes its files and starts it again."""
    def act(side):
        client = side.client()
        client.call_all([zk.create("/n%03d" % i, b"x" * 50) for i in range(100)])
        side.kill()
        change(side.data / "version-2")
        return second_start(side)
    return act


def the_only(directory, pattern):
    found = [path for path in directory.glob(pattern)]
    assert len(found) == 1, "%s: %s" % (pattern, found)
    return found[0]


def damage(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def another_server_on_its_directory(side):
    with Side(side.title, side.command, LINES + ("dataDir=%s" % side.data,), 2000) as second:
        second.spawn()
        while second.process.poll() is None:
            if "Mode: " in (zk.four_letter_word(second.port, "srvr") or ""):
                return "serves"
        side.log.write_bytes(second.log.read_bytes())
        return ended(second)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-20])


def log_with_a_flipped_byte(directory):
    log = the_only(directory, "log.*")
    damage(log, 2000, bytes([log.read_bytes()[2000] ^ 0xff]))


CHECKS = (
    ("SIGTERM", ended_by(signal.SIGTERM)),
    ("SIGINT", ended_by(signal.SIGINT)),
    ("SIGHUP", ended_by(signal.SIGHUP)),
    ("started again", after(lambda directory: None)),
    ("the data directory is in use", another_server_on_its_directory, "in use", "Unable to access datadir"),
    ("no snapshot beside a log", after(lambda directory: the_only(directory, "snapshot.*").unlink()), "snapshot"),
    ("the only snapshot is cut short", after(lambda d: cut_short(the_only(d, "snapshot.*"))), "snapshot"),
    ("the only snapshot is empty", after(lambda d: the_only(d, "snapshot.*").write_bytes(b"")), "snapshot"),
    ("the log has a wrong magic number", after(lambda d: damage(the_only(d, "log.*"), 0, b"ABCD")), "log.1"),
    ("the log has a flipped byte", after(log_with_a_flipped_byte), "log.1", "byte"),
    ("the log is empty", after(lambda d: the_only(d, "log.*").write_bytes(b"")), "log.1"),
    ("version-2 is a file", after(lambda d: d.rename(d.parent / "away") and d.write_bytes(b"")), "version-2"),
)
