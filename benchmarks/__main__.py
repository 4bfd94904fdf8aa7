"""`python -m benchmarks`: all of them, one after another."""

from __future__ import annotations

from benchmarks import cleanup, throughput

throughput.main()
cleanup.main()
