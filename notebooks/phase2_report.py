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
# # Phase 2 report
#
# Measures legacy against optimised hybrid search on one corpus, and says for each of the six
# Phase 2 targets whether it holds: PASS, FAIL or INCONCLUSIVE. It takes a few minutes; please
# leave the machine alone meanwhile, since other work shows in the figures.

# %% tags=["parameters"]
dataset = "pydocs"  # pydocs, beir:DIR, jsonl:FILE or synthetic
size = None  # number of chunks of the synthetic dataset
embedder = None  # static, lsa, minilm, onnx:DIR or precomputed:FILE; None: what suits the dataset
rounds = 50  # paired rounds of all arms
rates = [50.0]  # requests per second; the first is the target rate of the load
load_seconds = 120.0  # length of the load at the target rate
capacity_seconds = 60.0  # time to search the highest rate that holds
ingest_seconds = 60.0  # latency while chunks are added; 0: not measured
seed = 20260101
out = "../reports"  # the report goes into a folder of its own in here

# %%
from pathlib import Path

from IPython.display import HTML

from dtrag_core.bench.results import write_result
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.report import around_http, figures_cost, figures_load, figures_speed
from dtrag_core.report import tables_cost, tables_run, tables_speed, while_written
from dtrag_core.report.html import verdicts_html, write_report
from dtrag_core.report.progress import notebook_progress
from dtrag_core.workbench import measure

# %% [markdown]
# ## Measuring

# %%
result = measure(
    dataset if size is None else f"{dataset}:{size}",
    embedder,
    MeasureSettings(
        rates=tuple(rates),
        rounds=rounds,
        load_seconds=load_seconds,
        capacity_seconds=capacity_seconds,
        ingest_seconds=ingest_seconds,
        seed=seed,
    ),
    progress=notebook_progress(),
)
folder = Path(out) / result["run_id"]
write_result(result, folder)
HTML(verdicts_html(result))

# %% [markdown]
# Each row prints the definition of its value. INCONCLUSIVE is not a pass: the reason says what
# stood in the way.
#
# ## Latency of the arms
#
# A curve further left is faster. One search at a time, cache off, the same queries in every arm.

# %%
figures_speed.ecdf(result)

# %%
tables_speed.latency(result)

# %% [markdown]
# ## Where the time goes
#
# The steps of one typical and one P95 search of each arm, a lane for each thread.

# %%
figures_speed.timelines(result)

# %% [markdown]
# ## Speed-up, and what brings it
#
# Ratios of mean latency with 95 % intervals. Inside the grey band nothing is told from noise.

# %%
figures_speed.forest(result)

# %%
tables_speed.ladder(result)

# %% [markdown]
# ## How much load it takes
#
# Open-loop arrivals; each mark is one run at one rate. Grey is the bracket around the highest
# rate that holds the service level.

# %%
figures_load.capacity(result)

# %%
figures_load.load(result)

# %% [markdown]
# ## Service and process
#
# The same figures at the service and in process; what HTTP alone allows.

# %%
around_http.beside(result)

# %%
around_http.http_cost(result)

# %% [markdown]
# ## While chunks are added
#
# The same searches with and without a process beside them that writes the index.

# %%
while_written.latencies(result)

# %% [markdown]
# ## Cache, memory, quality
#
# What the optimisations cost, and what they need to pay off.

# %%
figures_cost.cache(result)

# %%
figures_cost.memory(result)

# %%
tables_cost.memory_outside(result)

# %%
figures_cost.quality(result)

# %%
tables_cost.quality_differences(result)

# %% [markdown]
# ## Where it was measured

# %%
tables_run.environment(result)

# %% [markdown]
# ## The report
#
# The same as a page that needs no notebook, with the figures as files beside it.

# %%
write_report(result, folder).name
