"""One module out of an installed package, without running the packages around it.

`import rembg` compiles numba code for minutes the first time, and `iopaint.plugins` imports every plugin there is;
the few classes needed of them stand in modules that need neither.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType

_one_at_a_time = threading.Lock()


def module(package: str, name: str) -> ModuleType:
    """The module `package.name` of an installed distribution; what it imports beside it is found, too.

    `package` may be nested: `module("rembg.sessions", "u2netp")`. Raises `ImportError` where there is none.
    """
    alias = f"_lone_{package.replace('.', '_')}"
    with _one_at_a_time:
        if alias not in sys.modules:
            top, *inner = package.split(".")
            spec = importlib.util.find_spec(top)  # only looked up, not run
            if spec is None or not spec.submodule_search_locations:
                raise ImportError(f"no package {top}")
            shell = ModuleType(alias)
            shell.__path__ = [str(Path(place, *inner)) for place in spec.submodule_search_locations]
            sys.modules[alias] = shell
        return importlib.import_module(f"{alias}.{name}")
