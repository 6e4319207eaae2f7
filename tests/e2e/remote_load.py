#!/usr/bin/env python3
"""Many streams at once through the router, 5 % of them faulty, and a kill in the midst of them.

    remote_load.py path/to/remote_load path/to/tern [STREAMS SECONDS]     (64 streams for 60 s; fewer in ctest)
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time

import program as environment

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
import loopback_api  # noqa: E402

FAULTS = [{"status": 503, "body": {"error": {"message": "down"}}}, {"text": "", "cut": 3},
          {"status": 429, "body": {"error": {"message": "slow down"}}, "headers": {"retry-after-ms": "20"}},
          {"status": 502, "body": "<html>Bad Gateway</html>"}]


def fault(number):
    """One chat request in twenty."""
    return FAULTS[number // 20 % len(FAULTS)] if number % 20 == 7 else None


def rows(path):
    with sqlite3.connect(path) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return ledger.execute("SELECT COUNT(*), SUM(settled), SUM(error <> ''), SUM(CASE WHEN error = '' THEN prompt_tokens END), "
                              "SUM(CASE WHEN error = '' THEN completion_tokens END), "
                              "SUM(CASE WHEN error = '' THEN cost END) FROM calls").fetchone()


def load(program, streams, seconds, folder):
    api = loopback_api.Api()
    api.plays = [{"text": ""}]  # what the prompt says
    api.fault = fault
    ledger = os.path.join(folder, "load.db")
    done = subprocess.run([program, api.url, ledger, str(streams), str(seconds)], stdout=subprocess.PIPE, text=True,
                          timeout=seconds + 180, check=True)
    counts = json.loads(done.stdout)
    calls, settled, failed, prompt, answer, cost = rows(ledger)
    print("%d requests, %d whole answers, %d calls failed; memory %.1f MB at half time, %.1f MB at the end" % (
        len(api.chats), counts["whole"], counts["failed"], counts["half_bytes"] / 1e6, counts["end_bytes"] / 1e6))
    assert counts["wrong"] == 0, "a chunk was lost, doubled or somebody else's"
    assert counts["whole"] == api.whole > streams, (counts, api.whole)
    assert counts["failed"] > 0, "no fault was met"
    assert (calls, settled, failed) == (counts["whole"] + counts["failed"], calls, counts["failed"])
    assert [prompt, answer] == api.tokens, "the ledger has other tokens than the server counted"
    assert cost == 1000 * prompt + 2000 * answer
    if not environment.SANITIZED:
        assert counts["end_bytes"] < counts["half_bytes"] * 1.25 + 16e6, "memory grows"
    api.close()


def kill(program, tern, streams, folder):
    api = loopback_api.Api()
    api.plays = [{"text": "", "pace": 0.01}]
    state = os.path.join(folder, "state")
    ledger = os.path.join(state, "tern", "remote.db")
    process = subprocess.Popen([program, api.url, ledger, str(streams), "60"], stdout=subprocess.DEVNULL)
    while api.whole < streams:
        time.sleep(0.01)
    process.kill()
    process.wait()
    calls, settled, *_ = rows(ledger)
    assert 0 < settled <= calls <= settled + streams, (calls, settled)
    out = subprocess.run([tern, "cost", "--json"], stdout=subprocess.PIPE, check=True, text=True,
                         env={**os.environ, "XDG_STATE_HOME": state}).stdout
    booked = json.loads(out)[0]  # asking what was spent settles the calls of processes that are gone
    assert (booked["calls"], booked["unsettled"]) == (calls, 0), booked
    assert booked["estimated"] >= calls - settled, booked
    print("killed: %d calls, %d of them had not ended" % (calls, calls - settled))
    api.close()


if __name__ == "__main__":
    STREAMS, SECONDS = (int(sys.argv[3]), int(sys.argv[4])) if len(sys.argv) > 4 else (64, 60)
    with tempfile.TemporaryDirectory(prefix="tern-load-") as FOLDER:
        load(os.path.abspath(sys.argv[1]), STREAMS, SECONDS, FOLDER)
        kill(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), STREAMS, FOLDER)
