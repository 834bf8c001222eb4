"""Locust on the service: `locust -f load_tests/locustfile.py --headless --host URL --open-loop`.

See README.md here. Runs alone, with `--processes N`, or as master and workers.
"""

import logging
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust import LoadTestShape, User, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.rpc.protocol import Message
from locust.runners import MasterRunner, WorkerRunner

sys.path.insert(0, str(Path(__file__).parents[1]))

from dtrag_core.bench.mixes import MIXES
from dtrag_core.bench.scenarios import SCENARIOS
from dtrag_core.errors import DtragError
from load_tests.recording import Recorder, raw_file
from load_tests.reporting import Total
from load_tests.session import Session, fetch_queries, make_streams, settings_of
from load_tests.users import (
    Arrivals,
    BatchUser,
    FilteredUser,
    ServiceUser,
    UniqueUser,
    ZipfUser,
)

SHARE, FLUSH, REPORT = "dtrag_share", "dtrag_flush", "dtrag_report"
_WAITING: dict[str, type[User]] = {
    "unique": UniqueUser,
    "zipf": ZipfUser,
    "filtered": FilteredUser,
    "batch": BatchUser,
}
_LAST_REPORT_S = 15.0
_SETTLING_S = 5.0


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Add the options of a load."""
    group = parser.add_argument_group("load", "Schedules and mixes are those of dtrag load.")
    group.add_argument("--open-loop", action="store_true", help="arrivals on a schedule")
    group.add_argument("--scenario", choices=tuple(SCENARIOS), default="steady")
    group.add_argument("--mix", choices=tuple(MIXES), default="unique")
    group.add_argument(
        "--rate", type=float, default=50.0, help="requests/s; users, where they wait for answers"
    )
    group.add_argument("--seconds", type=float, help="default: the scenario's usual length")
    group.add_argument("--queries", type=int, default=5_000, help="distinct ones, at most")
    group.add_argument("--timeout-s", type=float, default=5.0)
    group.add_argument("--max-in-flight", type=int, default=1_000, help="of each process")
    group.add_argument("--seed", type=int, default=20260101)
    group.add_argument("--out", default="reports", help="where result and report go")
    group.add_argument("--raw-log", help="a folder for the raw latencies of every process")


class Scenario(LoadTestShape):
    """The scenario's rate over time: as that many users, or once a process in the open loop."""

    def tick(self) -> tuple[int, float, list[type[User]] | None] | None:
        """Return users, spawn rate and classes for now; None once every process has reported."""
        assert self.runner is not None
        part = PARTS[self.runner.environment]
        part.collect()
        total, at = part.total, self.get_run_time()
        if total is None:
            users = 1.0
        elif total.open_loop:
            done = total.merged.sent >= total.planned
            over = at > total.settings.shape.seconds + total.settings.timeout_s + _SETTLING_S
            if done or over:
                part.finish()
                return None
            users = 1.0
        else:
            if at >= total.settings.shape.seconds:
                part.finish()
                return None
            users = total.settings.shape.rate(at)
        options = self.runner.environment.parsed_options
        assert options is not None
        if options.open_loop:
            return part.processes, float(part.processes), [Arrivals]
        classes = [_WAITING[name] for name in MIXES[options.mix]]
        return max(round(users), 1), 100.0, classes


class Part:
    """What one process does: a worker records, a master adds up, a process alone does both."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.runner: Any = environment.runner
        self.total: Total | None = None
        self.session: Session | None = None
        self.share = (0, 1)
        self.flushed: set[str] = set()
        if isinstance(self.runner, WorkerRunner):
            self.runner.register_message(SHARE, self._take_share)
            self.runner.register_message(FLUSH, self._flush)
            environment.events.report_to_master.add_listener(self._report)
        if isinstance(self.runner, MasterRunner):
            self.runner.register_message(REPORT, self._last_report)
            environment.events.worker_report.add_listener(self._take_report)

    @property
    def processes(self) -> int:
        """How many processes send."""
        return max(len(self.runner.clients.all), 1) if self._is_master else 1

    @property
    def _is_master(self) -> bool:
        return isinstance(self.runner, MasterRunner)

    def start(self) -> None:
        """Get ready, in every process, before the first user starts."""
        options = self.environment.parsed_options
        assert options is not None
        host = self.environment.host or ""
        settings = settings_of(options)
        queries = fetch_queries(host, settings)
        streams = make_streams(host, settings, queries)
        if not isinstance(self.runner, WorkerRunner):
            self.total = Total(settings, queries, streams, open_loop=options.open_loop)
        if self._is_master:
            workers = list(self.runner.clients.all)
            for place, worker in enumerate(workers):
                self.runner.send_message(SHARE, [place, len(workers)], worker.id)
            return
        raw = raw_file(options.raw_log, getattr(self.runner, "client_id", "local"))
        recorder = Recorder(settings.segments, settings.shape.seconds, raw)
        self.session = Session(settings, streams, recorder, *self.share)
        ServiceUser.session = self.session

    def collect(self) -> None:
        """Add up what a process alone has measured; workers report by themselves."""
        if self.total is not None and self.session is not None:
            self.total.add("local", self._drained())

    def finish(self) -> None:
        """Take every process's last report, write the result, and let the test end."""
        assert self.total is not None
        if self._is_master:
            for worker in self.runner.clients.all:
                self.runner.send_message(FLUSH, None, worker.id)
            end = time.monotonic() + _LAST_REPORT_S
            while time.monotonic() < end and not self._all_flushed():
                gevent.sleep(0.05)
            known = set(self.total.cpu_shares) | {each.id for each in self.runner.clients.all}
            self.total.lost += [f"no last report of {each}" for each in known - self.flushed]
        else:
            self.total.add("local", self._drained(last=True))
        options = self.environment.parsed_options
        assert options is not None
        logging.info("result: %s", self.total.write(Path(options.out)))

    def _all_flushed(self) -> bool:
        return {each.id for each in self.runner.clients.all} <= self.flushed

    def _drained(self, *, last: bool = False) -> dict[str, Any]:
        assert self.session is not None
        drained = self.session.recorder.drain(last=last)
        return {**drained, "cpu_share": self.session.cpu_share()}

    def _take_share(self, msg: Message, **_: object) -> None:
        self.share = (msg.data[0], msg.data[1])

    def _report(self, client_id: str, data: dict[str, Any]) -> None:
        if self.session is not None:
            data[REPORT] = self._drained()

    def _flush(self, **_: object) -> None:
        self.runner.send_message(REPORT, self._drained(last=True))

    def _take_report(self, client_id: str, data: dict[str, Any]) -> None:
        if REPORT in data and self.total is not None:
            self.total.add(client_id, data[REPORT])

    def _last_report(self, msg: Message, **_: object) -> None:
        if self.total is not None:
            self.total.add(msg.node_id, msg.data)
        self.flushed.add(msg.node_id)


PARTS: dict[Environment, Part] = {}


@events.init.add_listener
def take_part(environment: Environment, **_: object) -> None:
    """Find out what this process does."""
    PARTS[environment] = Part(environment)


@events.test_start.add_listener
def get_ready(environment: Environment, **_: object) -> None:
    """Get ready; a test that cannot be is given up."""
    try:
        PARTS[environment].start()
    except DtragError as error:
        logging.error("%s", error)
        environment.process_exit_code = 1
        if environment.runner is not None:
            environment.runner.quit()
