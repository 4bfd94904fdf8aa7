"""Benchmarks: each runs both sides in one process and keeps its figures in benchmarks/results."""
