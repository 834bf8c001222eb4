# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Peers
#
# Other retrieval libraries beside this one, on the same chunks, vectors and queries, in turns, in
# one run. They need an extra: `pip install 'dtrag-bench[peers]'`. Building the engines takes a
# while the first time; built ones are kept. Please leave the machine alone meanwhile.

# %% tags=["parameters"]
dataset = "synthetic:100000"  # pydocs, beir:DIR, jsonl:FILE or synthetic:N
embedder = None  # static, lsa, minilm, onnx:DIR or precomputed:FILE; None: what suits the dataset
engines = None  # a list of names; None: dtrag and all the others but the exact one
rounds = 30  # paired rounds
queries = 100  # queries a round; P95 needs 1,000 in all
out = "../reports"  # the result goes into a folder of its own in here

# %%
from pathlib import Path

from dtrag_core.bench.peers.plan import PeerPlan
from dtrag_core.bench.peers.results import write_peers_result
from dtrag_core.report import figures_peers, tables_peers
from dtrag_core.report.peers import measure_peers
from dtrag_core.report.progress import notebook_progress

# %%
result = measure_peers(
    dataset,
    embedder,
    None if engines is None else tuple(engines),
    PeerPlan(rounds=rounds, queries=queries),
    notebook_progress(),
)
path = write_peers_result(result, Path(out) / result["run_id"])
print(f"result: {path}")

# %% [markdown]
# ## What was measured
#
# - **BM25** begins with analysed terms and ends with ids and scores: no analysing, the same tokens
#   everywhere.
# - **Hybrid** ends with the ids of the fused top. The peers are given tokens and vector; `dtrag` is
#   given the text, so that analysing and embedding count against it (`dtrag-vectors` is given the
#   vector too).
# - Native thread pools are not held at one thread: every engine may use all cores.
# - A ratio above 1 is slower than `dtrag`. The interval of the mean is Student's over paired
#   rounds; that of the P95 is a bootstrap over rounds, which shows the spread and is too narrow to
#   judge by.
# - The peers fuse by reciprocal ranks, `dtrag` by the weight chosen on the train queries
#   (`dtrag-rrf` fuses as they do): a gap in nDCG may be the fusion's, not the engine's.
# - *of exact* is the nDCG@10 of exact legs under the same fusion: what an engine could reach.
#   *overlap@10* compares with these exact rankings, *recall@10* the vector leg with exact float32.

# %%
print(tables_peers.run_line(result))

# %%
tables_peers.comparison(result, "hybrid")

# %%
tables_peers.comparison(result, "bm25")

# %%
tables_peers.engines(result)

# %% [markdown]
# ## Quality and latency
#
# Further left is faster, further up is better. A quick engine that finds less is no bargain.

# %%
figures_peers.recall_latency(result)

# %%
figures_peers.quality_latency(result)

# %%
figures_peers.quality_latency(result, "bm25")
