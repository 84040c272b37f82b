"""What the measuring commands share: arguments, zkload, figures of a process, medians, the two lines of output."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))

from server import OURS, Server  # noqa: E402 (found beside us only after the line above)

# The servers' data goes to the disk that BENCH_DIR names.
tempfile.tempdir = os.environ.get("BENCH_DIR")

CONFIG = ["tickTime=2000", "maxSessionTimeout=60000"]


def arguments(description, rounds=5):
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--server", default=OURS, metavar="CMD", help="command of the server; {config} is its zoo.cfg")
    if rounds:
        p.add_argument("--rounds", type=int, default=rounds, help="rounds; the median counts (default %d)" % rounds)
    return p


def build(tool):
    """Builds a Rust program of this folder, outside the clone; returns its path."""
    cache = os.environ.get("PEERS_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "gamekeeper-peers")
    target = os.path.join(cache, tool + "-target")
    subprocess.run(["cargo", "build", "--release", "--locked", "-q", "--manifest-path", str(HERE / tool / "Cargo.toml"),
                    "--target-dir", target], check=True)
    return os.path.join(target, "release", tool)


def build_zkload():
    return build("zkload")


def zkload_command(zkload, server, *words, timeout_ms=30000):
    return [zkload, "--servers", "127.0.0.1:%d" % server.port, "--timeout-ms", str(timeout_ms),
            "--pids", ",".join(map(str, server.pids()))] + [str(w) for w in words]


def run_zkload(zkload, server, *words, timeout_ms=30000):
    done = subprocess.run(zkload_command(zkload, server, *words, timeout_ms=timeout_ms), capture_output=True, text=True)
    if done.returncode:
        sys.exit("zkload %s: %s" % (words[0], done.stderr.strip()[-300:]))
    return checked(json.loads(done.stdout))


def checked(result):
    """A figure counts only if every operation was answered well and in order."""
    for fault in ("errors", "out_of_order", "lost"):
        if result.get(fault):
            sys.exit("zkload: %d %s" % (result[fault], fault))
    return result


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        fields = Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def resident_kib(pids):
    total = 0
    for pid in pids:
        line = next(l for l in Path("/proc/%d/status" % pid).read_text().splitlines() if l.startswith("VmRSS"))
        total += int(line.split()[1])
    return total


def quantile(values, q):
    """The q-quantile by rank; None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None


def read_trace(path):
    """Lines of `zkload run --trace` as (due in s since 1970, latency in ms, is a write)."""
    trace = []
    for line in Path(path).read_text().splitlines():
        due, latency, kind = line.split()
        trace.append((int(due) / 1e6, int(latency) / 1e3, kind == "w"))
    return trace


def report(name, a, rounds, line, **more):
    """Prints one JSON object with every round and the medians, then the readable line, a format over the medians."""
    medians = {}
    for key, value in rounds[0].items():
        values = [r[key] for r in rounds if r[key] is not None]
        if isinstance(value, (int, float)) and values:
            medians[key] = statistics.median(values)
    print(json.dumps({"bench": name, "server": a.server, "date": time.strftime("%Y-%m-%d"), "median": medians,
                      "rounds": rounds, **more}))
    print(line.format(**medians))
