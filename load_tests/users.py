"""Locust users. Those that wait for their answer are a closed loop; `Arrivals` is the open one."""

import time
from typing import ClassVar

import gevent
from gevent.event import Event
from gevent.pool import Group
from locust import FastHttpUser, constant_throughput, task
from locust.env import Environment

from dtrag_core.bench.load import DROPPED, TIMEOUT
from dtrag_core.bench.mixes import Stream
from load_tests.sending import Outcome, send
from load_tests.session import Session, plans


class ServiceUser(FastHttpUser):
    """A user that knows the session its process takes part in."""

    abstract = True
    session: ClassVar[Session]
    max_retries = 0

    def __init__(self, environment: Environment) -> None:
        settings = self.session.settings
        # Fewer connections than requests under way would hold arrivals up unseen.
        self.concurrency = settings.max_in_flight
        self.network_timeout = self.connection_timeout = settings.timeout_s
        super().__init__(environment)

    def on_start(self) -> None:
        """Start the clock, unless another user has."""
        self.session.begin()

    def measured(self, stream: Stream, body: bytes, due_ns: int) -> None:
        """Send a request and count it from when it was due."""
        session = self.session
        recorder, timeout_s = session.recorder, session.settings.timeout_s
        due_s = (due_ns - session.start_ns) / 1e9
        try:
            outcome = send(self.client, stream, body, timeout_s)
        except gevent.GreenletExit:
            recorder.failed(stream.name, due_s, TIMEOUT)
            raise
        except Exception as error:
            outcome = Outcome(failed=type(error).__name__)
        taken = time.perf_counter_ns() - due_ns
        if not outcome.failed and not outcome.refused and taken > timeout_s * 1e9:
            outcome = Outcome(failed=TIMEOUT)
        if outcome.failed:
            recorder.failed(stream.name, due_s, outcome.failed)
            return
        recorder.timed(stream.name, due_s, taken, outcome.refused)
        if outcome.cached:
            recorder.from_cache(stream.name)


class _Waiting(ServiceUser):
    """Sends one request a second at the most, and waits for each answer: a closed loop."""

    abstract = True
    wait_time = constant_throughput(1)
    kind: ClassVar[str]
    begun: ClassVar[int] = 0

    def on_start(self) -> None:
        """Begin at another place than the other users."""
        super().on_start()
        self.stream = self.session.stream(self.kind)
        self.place = (type(self).begun * self.session.of + self.session.part) * 7919
        type(self).begun += 1

    @task
    def ask(self) -> None:
        """Send the next request."""
        bodies = self.stream.bodies
        self.place += 1
        self.measured(self.stream, bodies[self.place % len(bodies)], time.perf_counter_ns())


class UniqueUser(_Waiting):
    """Asks one query after the other."""

    kind = "unique"
    weight = 40


class ZipfUser(_Waiting):
    """Repeats popular queries more often than others."""

    kind = "zipf"
    weight = 40


class FilteredUser(_Waiting):
    """Searches parts of the corpus."""

    kind = "filtered"
    weight = 18


class BatchUser(_Waiting):
    """Submits jobs and polls them to their end."""

    kind = "batch"
    weight = 2


class Arrivals(ServiceUser):
    """The open loop: one a process, which sends its share of the schedule, each when it is due.

    Every request has a greenlet of its own, so that none waits for another's answer.
    """

    def on_start(self) -> None:
        """Have the schedule ready before the clock starts."""
        session = self.session
        self.bodies = {stream.name: stream.bodies for stream in session.streams}
        self.due = sorted(
            (ns, number, stream.name)
            for stream, plan in zip(
                session.streams, plans(session.settings, session.streams), strict=True
            )
            for number, ns in enumerate(plan.schedule_ns().tolist())
            if number % session.of == session.part
        )
        super().on_start()

    @task
    def send_all(self) -> None:
        """Send what is due when it is due, then wait for the last answers."""
        session, flying = self.session, Group()
        recorder, most = session.recorder, session.settings.max_in_flight
        for ns, number, name in self.due:
            due = session.start_ns + ns
            while (left := due - time.perf_counter_ns()) > 0:
                gevent.sleep(left / 1e9)
            recorder.left(time.perf_counter_ns() - due)
            if len(flying) >= most:
                recorder.failed(name, ns / 1e9, DROPPED)
                continue
            bodies = self.bodies[name]
            body = bodies[number % len(bodies)]
            flying.spawn(self.measured, session.stream(name), body, due)
        flying.join(session.settings.timeout_s)
        flying.kill()
        Event().wait()  # until the test is over
