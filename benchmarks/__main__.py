"""`python -m benchmarks [NAME …]`: all of them (or those), each in a process of its own, within twenty minutes.

Those for a GPU, `gpu` and `gpu_training`, are run by name; where there is none they say so in a line.
"""

from __future__ import annotations

import subprocess
import sys
import time

NAMES = ("throughput", "latency", "fairness", "waiting", "overhead", "cache", "scale", "ranking", "cleanup")
ON_GPU = ("gpu", "gpu_training")
LIMIT, LONG = 300.0, 1800.0  # seconds for one of them, and for one on a GPU, which may compile
WHOLE = (
    1170.0  # seconds for all of them: on a machine too slow for that the last ones are left out, and named
)

began, failed, took = time.monotonic(), [], []
for name in sys.argv[1:] or NAMES:
    start = time.monotonic()
    try:
        limit = LONG if name in ON_GPU else min(LIMIT, max(began + WHOLE - start, 0.0))
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True, timeout=limit)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        failed.append(f"{name}: {error}")
    took.append(f"{name} {time.monotonic() - start:.0f} s")
print(f"{', '.join(took)}; {(time.monotonic() - began) / 60:.1f} minutes in all")
if failed:
    sys.exit("\n".join(failed))
