"""Application code in Python as a process that just started has it.

What a module keeps between calls (a cache, who came last) is gone when its process ends. In this
process the same is had by importing the application's modules anew: those of the target's folder
and those of the package that the called function is in. What libraries keep stays, as does what is
kept outside of the process.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from tenantfuzz.application.code import Code, load_code
from tenantfuzz.errors import ToolError

_LIBRARIES = frozenset({"site-packages", "dist-packages"})
_OURS = "tenantfuzz"


@contextmanager
def imported_anew(reference: str, root: Path, where: str) -> Iterator[Code | None]:
    """The callable that ``reference`` (``module:name``) names, of modules that were just imported;
    afterwards the old ones are back. None where they cannot be imported twice in one process."""
    before = _own(reference, root)
    if not before or _has_registered_models():
        yield None
        return
    for name in before:
        del sys.modules[name]
    code: Code | None = None
    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # libraries that see a class of that name again
                code = load_code(reference, root, where)
        except ToolError:
            _put_back(before, reference, root)
        yield code
    finally:
        _put_back(before, reference, root)


def _put_back(before: dict[str, ModuleType], reference: str, root: Path) -> None:
    for name in _own(reference, root):
        del sys.modules[name]
    sys.modules.update(before)
    for name, module in before.items():
        parent, _, last = name.rpartition(".")
        if parent in sys.modules:
            setattr(sys.modules[parent], last, module)


def _own(reference: str, root: Path) -> dict[str, ModuleType]:
    """The application's own modules that are loaded; none if the one that is named is no such."""
    module_name = reference.partition(":")[0]
    package = module_name.partition(".")[0]
    folder = root.resolve()
    found: dict[str, ModuleType] = {}
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top in (_OURS, "__main__"):
            continue
        file = getattr(module, "__file__", None)
        if not isinstance(file, str):
            continue
        path = Path(file)
        if _LIBRARIES.isdisjoint(path.parts) and (
            top == package or path.is_relative_to(folder) or path.is_relative_to(root)
        ):
            found[name] = module
    return found if module_name in found else {}


def _has_registered_models() -> bool:
    """Whether Django runs here: its registry would mix models of both imports."""
    registry = sys.modules.get("django.apps")
    return bool(getattr(getattr(registry, "apps", None), "ready", False))
