"""Locust users that send a dataset's queries to `POST /search`, one after the other, as they come.

Each user waits for its answer before it asks again: a closed loop. Its table shows whether a
service stands the load; it is never the source of a verdict (see README.md here).
"""

from itertools import count

from locust import HttpUser, between, task


class Searcher(HttpUser):
    """Searches, thinks for a moment, and searches again; users begin at different queries."""

    wait_time = between(0.0, 0.1)
    numbers = count()

    def on_start(self) -> None:
        """Fetch the queries."""
        self.queries: list[str] = self.client.get("/queries").json()["queries"]
        self.place = next(self.numbers) * 7919

    @task
    def search(self) -> None:
        """Send the next query; an answer that is not complete counts as failed."""
        query = self.queries[self.place % len(self.queries)]
        self.place += 1
        with self.client.post("/search", json={"query": query}, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code}: {response.text[:200]}")
            elif response.json()["degraded"]:
                response.failure("degraded answer")
