"""`python -m benchmarks`: all of them, one after another."""

from __future__ import annotations

from benchmarks import cleanup, fairness, latency, throughput

throughput.main()
latency.main()
fairness.main()
cleanup.main()
