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
# # Scaling
#
# How building, opening, searching and memory grow from ten thousand chunks to a million, on
# generated text. The first time, the indexes are built, which takes some minutes and about 6 GB of
# disk; they are kept. Please leave the machine alone meanwhile.

# %% tags=["parameters"]
sizes = [10_000, 30_000, 100_000, 300_000, 1_000_000]  # chunks, 10,000 to 10,000,000
queries = 1_000  # at each size; P95 needs as many
rebuild = False  # build anew what is built, to time it in this run
result_path = None  # a scaling.json, or its folder, to show instead of measuring
out = "../reports"  # the result goes into a folder of its own in here

# %%
from pathlib import Path

from dtrag_core.bench.scaling.plan import ScalingPlan
from dtrag_core.bench.scaling.results import read_scaling_result, write_scaling_result
from dtrag_core.report import figures_scaling, tables_scaling
from dtrag_core.report.progress import notebook_progress
from dtrag_core.report.scaling import measure_scaling

# %%
if result_path is None:
    plan = ScalingPlan(tuple(sizes), queries, rebuild)
    result = measure_scaling(plan, notebook_progress())
    path = write_scaling_result(result, Path(out) / result["run_id"])
else:
    path = Path(result_path)
    result = read_scaling_result(path)
print(f"result: {path}")

# %% [markdown]
# ## What was measured
#
# - The **same queries at every size**: each has its relevant chunk among the first ten thousand,
#   which begin every larger corpus.
# - A **fresh process** a size, one thread a native pool, legs and paths in turns within it, each
#   query three times. The loop is closed, one search at a time.
# - **BM25 leg**: from analysed tokens to ids and scores. **Vector leg**: from the query's vector to
#   ids and scores, over all int8 codes or over the nearest lists. **Hybrid**: from text to hits.
# - **Roofline**: the time to read five bytes for every posting of the query at the speed at which
#   one thread reads memory, measured in the same process. It is set against what each query took
#   in the median of the passes.
# - Between sizes there are only single processes, whose own scatter is several percent: trust the
#   exponents and their intervals more than one ratio.

# %%
print(tables_scaling.run_line(result))

# %% [markdown]
# ## Latency

# %%
figures_scaling.latency(result)

# %%
tables_scaling.latency(result)

# %%
figures_scaling.exponents(result)

# %%
tables_scaling.growth(result)

# %% [markdown]
# ## BM25 and its roofline

# %%
tables_scaling.roofline(result)

# %% [markdown]
# ## Where the time goes

# %%
figures_scaling.shares(result)

# %%
tables_scaling.shares(result)

# %% [markdown]
# ## Memory

# %%
figures_scaling.memory(result)

# %%
tables_scaling.memory(result)

# %% [markdown]
# ## Building and opening

# %%
figures_scaling.building(result)

# %%
tables_scaling.building(result)
