"""`python -m benchmarks [NAME …]`: all of them (or those), each in a process of its own, within twenty minutes."""

from __future__ import annotations

import subprocess
import sys

NAMES = ("throughput", "latency", "fairness", "waiting", "overhead", "cache", "scale", "ranking", "cleanup")
LIMIT = 300.0  # seconds for one of them

failed = []
for name in sys.argv[1:] or NAMES:
    try:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True, timeout=LIMIT)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        failed.append(f"{name}: {error}")
if failed:
    sys.exit("\n".join(failed))
