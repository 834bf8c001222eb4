"""Measuring: workloads, runs, statistics, verdicts."""
