import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dtrag_core.embedding.base import CorpusTexts
from dtrag_core.embedding.static import StaticEmbedder
from dtrag_core.embedding.static_fit import fit_static

SCIFACT = Path(__file__).parents[2] / ".." / "shared" / "data" / "scifact"


def fit(documents: list[str]) -> StaticEmbedder:
    return fit_static(CorpusTexts(documents, []))


def cosine(embedder: StaticEmbedder, one: str, other: str) -> float:
    return float(embedder.embed_query(one) @ embedder.embed_query(other))


def test_words_used_in_the_same_documents_come_closer() -> None:
    engine = "engine piston valve cylinder crankshaft gearbox clutch torque exhaust"
    bread = "bread dough flour yeast oven crust loaf bakery wheat"
    together = fit([f"zorvex {engine}", f"qualtim {engine}"] * 4)
    apart = fit([f"zorvex {engine}", f"qualtim {bread}"] * 4)
    assert cosine(together, "zorvex", "qualtim") > cosine(apart, "zorvex", "qualtim") + 0.1


def test_a_word_that_is_everywhere_weighs_less_than_a_rare_one() -> None:
    embedder = fit([f"report number {name}" for name in ("tiger", "violin", "glacier", "pepper")])
    assert cosine(embedder, "report tiger", "tiger") > cosine(embedder, "report tiger", "report")


def test_words_the_corpus_never_held_still_mean_something() -> None:
    embedder = fit(["the boat sails on the sea", "the oven bakes the bread"])
    assert cosine(embedder, "ships", "boat") > cosine(embedder, "ships", "bread")


def test_case_and_separators_do_not_matter() -> None:
    embedder = fit(["read csv file", "write table"])
    np.testing.assert_allclose(
        embedder.embed_query("Read_CSV, file!"), embedder.embed_query("read csv file"), atol=1e-6
    )


@pytest.mark.parametrize("text", ["", "...", "\U0001f642 -- ?", "\ud800"])
def test_texts_without_words_are_zero(text: str) -> None:
    embedder = fit(["one document", "another"])
    assert not embedder.embed_query(text).any()
    assert not embedder.embed_documents([text]).any()


def test_fits_on_nothing_and_on_less_documents_than_dimensions() -> None:
    assert np.linalg.norm(fit([]).embed_query("hello")) == pytest.approx(1)
    few = fit(["alpha particles", "beta decay", "gamma rays"])
    assert few.state()["common"].shape == (256, 0)
    assert cosine(few, "alpha", "alpha particles") > cosine(few, "alpha", "gamma rays")


def test_common_directions_are_removed_from_a_large_enough_corpus() -> None:
    rng = np.random.default_rng(1)
    words = ["sun", "rain", "snow", "wind", "cloud", "storm", "frost", "heat", "dew", "fog"]
    embedder = fit([" ".join(rng.choice(words, size=6)) for _ in range(300)])
    common = embedder.state()["common"].astype(np.float64)
    assert common.shape == (256, 4)
    np.testing.assert_allclose(common.T @ common, np.eye(4), atol=1e-5)
    # A known word, within the rounding of float16 rows, and one never seen.
    for word in ("snow", "blizzard"):
        assert np.abs(embedder.embed_query(word) @ common).max() < 2e-3


def scifact_documents() -> Iterator[tuple[str, str]]:
    with (SCIFACT / "corpus.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["_id"], f"{row['title']} {row['text']}"


@pytest.mark.skipif(not SCIFACT.is_dir(), reason="the SciFact data is not beside the checkout")
def test_scifact_quality_of_the_dense_leg() -> None:
    ids, documents = zip(*scifact_documents(), strict=True)
    place = {name: row for row, name in enumerate(ids)}
    texts = {}
    with (SCIFACT / "queries.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            texts[row["_id"]] = row["text"]
    judged: dict[str, dict[int, int]] = {}
    for line in (SCIFACT / "qrels" / "test.tsv").read_text("utf-8").splitlines()[1:]:
        query, document, gain = line.split("\t")
        judged.setdefault(query, {})[place[document]] = int(gain)
    assert len(judged) == 300

    embedder = fit_static(CorpusTexts(documents, []))
    vectors = embedder.embed_documents(documents)
    total = 0.0
    for query, gains in judged.items():
        best = np.argsort(-(vectors @ embedder.embed_query(texts[query])), kind="stable")[:10]
        found = [gains.get(int(row), 0) for row in best]
        ideal = sorted(gains.values(), reverse=True)[:10]
        discounts = 1 / np.log2(np.arange(2, 12))
        total += float(np.dot(found, discounts) / np.dot(ideal, discounts[: len(ideal)]))
    # Measured .627; the plain mean of the same token vectors gives .327.
    assert total / 300 == pytest.approx(0.627, abs=0.01)
