"""The service over HTTP as something to measure: a search, or a batch job with its polling."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from dtrag_core.bench.clock import NS_PER_MS, Clock
from dtrag_core.bench.http_client import HttpClient, Response
from dtrag_core.bench.load import TIMEOUT
from dtrag_core.bench.load_result import FellBackError, RefusedError, UnansweredError
from dtrag_core.bench.mixes import SEARCH, Stream, filters_from
from dtrag_core.errors import MeasuringError

REFUSALS: Final = (429, 503)
POLL_NS: Final = 50 * NS_PER_MS
_LEARNED_FROM: Final = 50


def checked(response: Response, status: int = 200) -> Response:
    """Return a response of this status.

    Raises RefusedError for 429 and 503, UnansweredError for any other status: kinds `refused_429`,
    `http_500`.
    """
    if response.status == status:
        return response
    if response.status in REFUSALS:
        raise RefusedError(f"refused_{response.status}")
    raise UnansweredError(f"http_{response.status}")


class SearchService:
    """Sends searches; a `Service` whose requests are those of `prepared`.

    Answers that are degraded or ran in another mode than `mode` raise FellBackError: it is the
    answer that says so, not what was asked for. `cached` counts those that came from a cache.
    """

    def __init__(
        self, client: HttpClient, headers: Mapping[str, str], mode: str | None = "optimized"
    ) -> None:
        self._client = client
        self._mode = mode
        self.cached = 0
        self.headers = {"X-Timeout-Ms": f"{client.timeout_s * 1e3:.0f}", **headers}

    def prepared(self, path: str, bodies: Sequence[bytes]) -> list[bytes]:
        """Return whole requests."""
        made = self._client.address.request
        return [made("POST", path, body, self.headers) for body in bodies]

    async def __call__(self, request: bytes) -> None:
        """Answer one request, or raise."""
        response = checked(await _sent(self._client, request))
        if self._mode is not None:
            answer = orjson.loads(response.body)
            self.cached += answer["from_cache"]
            if answer["degraded"] or answer["mode"] != self._mode:
                raise FellBackError(
                    f"asked for {self._mode}, ran {answer['mode']}, degraded: {answer['degraded']}"
                )


class BatchService(SearchService):
    """Submits jobs and asks for their status, every 50 ms, until they have ended.

    A job that ends in another way than completed, or with an error in it, is not answered.
    """

    def __init__(self, client: HttpClient, headers: Mapping[str, str], clock: Clock) -> None:
        super().__init__(client, headers)
        self._clock = clock

    async def __call__(self, request: bytes) -> None:
        """See one job to its end, or raise."""
        accepted = orjson.loads(checked(await _sent(self._client, request), 202).body)
        address, job = self._client.address, accepted["job_id"]
        asking = address.request("GET", f"/api/v1/batch/status/{job}", headers=self.headers)
        while True:
            await self._clock.sleep_until(self._clock.now_ns() + POLL_NS)
            state = orjson.loads(checked(await _sent(self._client, asking)).body)
            if state["status"] not in ("queued", "running"):
                break
        if state["status"] != "completed" or state["errors"]:
            raise UnansweredError(f"job_{state['status']}{'_errors' if state['errors'] else ''}")


async def _sent(client: HttpClient, request: bytes) -> Response:
    try:
        return await client.send(request)
    except TimeoutError as error:
        raise UnansweredError(TIMEOUT) from error


def service_for(
    stream: Stream, client: HttpClient, headers: Mapping[str, str], clock: Clock
) -> tuple[SearchService, list[bytes]]:
    """Return what answers a stream's requests, and the requests."""
    service = (
        BatchService(client, headers, clock) if stream.batches else SearchService(client, headers)
    )
    return service, service.prepared(stream.path, stream.bodies)


async def fetch_queries(client: HttpClient, headers: Mapping[str, str], limit: int) -> list[str]:
    """Return up to `limit` queries that the service hands out.

    Raises MeasuringError if it does not, which it does only when started for load tests.
    """
    request = client.address.request("GET", f"/queries?limit={limit}", headers=headers)
    response = await client.send(request)
    if response.status != 200:
        raise MeasuringError(
            f"GET /queries answers {response.status}: start the service with --expose-queries, or "
            "name the dataset the queries come from with --dataset"
        )
    queries: list[str] = orjson.loads(response.body)["queries"]
    return queries


async def learn_filters(
    client: HttpClient, headers: Mapping[str, str], queries: Sequence[str]
) -> list[dict[str, Any]]:
    """Search some of the queries and return filters that leave something of what was found."""
    answers = []
    for query in queries[:_LEARNED_FROM]:
        body = orjson.dumps({"query": query})
        request = client.address.request("POST", SEARCH, body, headers)
        answers.append(orjson.loads(checked(await client.send(request)).body))
    return list(filters_from(answers))
