"""Starts metering in a program that `pixelmeter run` starts, then runs the sitecustomize that this one hides.

Its folder is the first of PYTHONPATH, so that Python runs it at its start: maybe a Python of another environment, or
of another age. Hence its plain syntax, and no word where there is no pixelmeter.
"""

import os
import sys

try:
    import pixelmeter.auto

    pixelmeter.auto.start()
except Exception:
    pass

_here = os.path.dirname(os.path.abspath(__file__))
_place = next((number for number, path in enumerate(sys.path) if os.path.abspath(path) == _here), None)

if _place is not None:
    # Out of the way: others look for the next one from the first folder on, and would find this one again.
    _folder = sys.path.pop(_place)
    try:
        _spec = None
        for _finder in sys.meta_path:
            if getattr(_finder, "__name__", "") == "PathFinder":
                _spec = _finder.find_spec("sitecustomize", sys.path[_place:])
        if _spec is not None and _spec.loader is not None:
            from importlib.util import module_from_spec

            sys.modules["sitecustomize"] = _module = module_from_spec(_spec)
            _spec.loader.exec_module(_module)
    finally:
        sys.path.insert(_place, _folder)
