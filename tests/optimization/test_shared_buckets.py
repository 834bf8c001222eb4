"""Processes share buckets to the token, also while some of them are killed holding a lock."""

import math
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from dtrag_core.errors import InvalidRequestError, UsageError
from dtrag_core.optimization.shared_buckets import SharedBuckets

BURST = 3_000

# Takes until refused, and prints how many it got; dies inside its `mortal`-th take, if not 0.
TAKER = """
import os, signal, sys
from pathlib import Path
from dtrag_core.optimization.shared_buckets import SharedBuckets

path, burst, mortal = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
calls = 0

def clock():
    global calls
    calls += 1
    if calls == mortal:
        os.kill(os.getpid(), signal.SIGKILL)
    os.sched_yield()  # in the midst of a take: others get their chance to interfere
    return 7.0

buckets = SharedBuckets(path, 16, clock=clock)
print("ready", flush=True)
sys.stdin.readline()
got = 0
while not buckets.take(3, 1.0, burst):
    got += 1
print(got)
"""


def test_processes_together_get_the_burst_even_if_some_are_killed_in_the_midst(
    tmp_path: Path,
) -> None:
    path = tmp_path / "buckets"
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, str(path), str(BURST), str(mortal)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mortal in (0, 0, 0, 1, 200)
    ]
    for taker in takers:
        assert taker.stdout is not None
        assert taker.stdin is not None
        assert taker.stdout.readline() == "ready\n"
    for taker in takers:
        assert taker.stdin is not None
        taker.stdin.write("go\n")
        taker.stdin.flush()
    outputs = [taker.communicate(timeout=60)[0] for taker in takers]
    codes = [taker.returncode for taker in takers]
    assert codes[:4] == [0, 0, 0, -signal.SIGKILL]
    by_the_killed = 199 if codes[4] else 0  # unless the others were done before its 200th
    assert sum(int(out) for out in outputs if out) + by_the_killed == BURST
    with SharedBuckets(path, 16, clock=lambda: 7.0) as buckets:
        assert buckets.take(3, 1.0, BURST) == pytest.approx(1.0)
        assert buckets.take(2, 1.0, 1) == 0  # its neighbours are as they were
        assert buckets.take(4, 1.0, 1) == 0


def test_threads_together_get_the_burst(tmp_path: Path) -> None:
    got: list[int] = []

    def clock() -> float:
        os.sched_yield()
        return 0.0

    with SharedBuckets(tmp_path / "buckets", 1, clock=clock) as buckets:

        def take() -> None:
            count = 0
            while not buckets.take(0, 1.0, 1_000):
                count += 1
            got.append(count)

        threads = [Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(got) == 1_000


def test_each_slot_has_its_own_rate_and_state_that_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "buckets"
    with SharedBuckets(path, 2, clock=lambda: 100.0) as buckets:
        assert buckets.take(0, 1.0, 5, 5) == 0
        assert buckets.take(1, 10.0, 1) == 0
    with SharedBuckets(path, 2, clock=lambda: 101.0) as buckets:
        assert buckets.take(0, 1.0, 5, 2) == pytest.approx(1.0)
        assert buckets.take(1, 10.0, 1) == 0


def test_a_file_opened_with_more_slots_grows_and_with_fewer_does_not_shrink(tmp_path: Path) -> None:
    path = tmp_path / "buckets"
    with SharedBuckets(path, 2) as few, SharedBuckets(path, 10_000) as many:
        assert many.take(9_999, 1.0, 1) == 0
        with SharedBuckets(path, 1):
            pass
        assert path.stat().st_size == 80_000
        assert many.take(9_999, 1.0, 1) > 0
        assert few.take(1, 1.0, 1) == 0
        few.close()
        few.close()


@pytest.mark.parametrize("stored", [math.nan, math.inf, -math.inf, 1e18])
def test_after_a_reboot_or_damage_a_bucket_is_empty_at_worst(tmp_path: Path, stored: float) -> None:
    path = tmp_path / "buckets"
    path.write_bytes(struct.pack("d", stored))
    now = 3.0
    with SharedBuckets(path, 1, clock=lambda: now) as buckets:
        wait = buckets.take(0, 2.0, 4)
        assert 0 <= wait <= 0.5
        now += wait
        assert wait == 0 or buckets.take(0, 2.0, 4) == 0


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        SharedBuckets(tmp_path / "missing" / "buckets", 1)
    with pytest.raises(InvalidRequestError, match="got 0"):
        SharedBuckets(tmp_path / "buckets", 0)
    with SharedBuckets(tmp_path / "buckets", 3) as buckets:
        for slot in (-1, 3):
            with pytest.raises(InvalidRequestError, match=r"0\.\.2"):
                buckets.take(slot, 1.0, 1)
        with pytest.raises(InvalidRequestError, match="tokens=2"):
            buckets.take(0, 1.0, 1, 2)
        assert buckets.take(0, 1.0, 1) == 0
