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
# # Explore
#
# A search box over one corpus, with the legacy and the optimised path side by side. Run all cells
# (Run > Run All Cells), then type into the box at the end. The first time, the index is built,
# which takes a minute or so.

# %% tags=["parameters"]
dataset = "pydocs"  # pydocs, beir:DIR, jsonl:FILE or synthetic:N
embedder = None  # static, lsa, minilm, onnx:DIR or precomputed:FILE; None: what suits the dataset
query = "solve a system of linear equations"  # what the box holds at first

# %%
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.report.explore import SearchLab
from dtrag_core.report.progress import notebook_progress
from dtrag_core.workbench import open_dao, prepare

# %%
corpus = open_dataset(dataset)
dao = open_dao(prepare(corpus, embedder, progress=notebook_progress()))
print(f"{len(corpus):,} chunks. {corpus.info.caveat}")

# %% [markdown]
# ## How to read it
#
# - **Legacy** on the left is the plain path: exact vectors, one step after the other. **Optimised**
#   on the right has every optimisation on. A chunk that only one of them found is marked.
# - The coloured bars show when each step of that search ran; steps in different rows ran on
#   different threads. Both sides have the same scale. Each path runs twice, and the second run is
#   shown. One search is not a measurement: the report notebook does that.
# - Every hit shows its *fused* score, by which it is ranked, and the exact scores it comes from:
#   BM25 (words) and cosine (meaning).
# - *Fusion* says how the two become one, *Weight of BM25* how much words count. *Depth* is how many
#   candidates each leg brings, *Rescored* how many of them are compared in the end.
# - *Taxonomy* and *Type* narrow the search; the numbers are chunks.

# %%
SearchLab(dao, query).show()
