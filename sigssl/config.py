"""The config is the constructor: an object <-> `{class_path, init_args}`, for checkpoints and feature stores.

Constructors keep every argument under its own name (`self.dim = dim`), so that an object can say how it was made.
The command line reads the same form with jsonargparse, which checks it against the type hints.
"""

from __future__ import annotations

import enum
import importlib
import inspect
from pathlib import Path
from typing import Any

from sigssl.errors import UserError, nearest

PLAIN = (str, int, float, bool, type(None))


def describe(obj: object) -> dict[str, Any]:
    """How `obj` was constructed.

    Args:
        obj: an instance whose constructor keeps each argument as an attribute of the same name; arguments may be plain
            values, lists, tuples, dicts, or objects of the same kind.

    Returns:
        `{"class_path": "module.Class", "init_args": {...}}`, plain YAML all through.
    """
    cls = type(obj)
    signature = inspect.signature(cls.__init__)
    names = [n for n, p in signature.parameters.items() if n != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {
        "class_path": public_path(cls),
        "init_args": {name: _plain(getattr(obj, name)) for name in names},
    }


def public_path(cls: type) -> str:
    """The shortest dotted path under which `cls` can be imported: `sigssl.methods.TERA`, not `sigssl.methods.tera.TERA`."""
    parts = cls.__module__.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        if getattr(importlib.import_module(path), cls.__name__, None) is cls:
            return f"{path}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def build(config: dict[str, Any], *, where: str = "config", trust: tuple[str, ...] = ("sigssl",)) -> Any:
    """Construct what :func:`describe` described.

    Args:
        config: `{"class_path": ..., "init_args": {...}}`, nested at will.
        where: file or key named in errors.
        trust: top-level packages whose classes may be named; anything else is refused, since a configuration
            that comes with a checkpoint must not be able to run code of its choice.

    Raises:
        UserError: an untrusted or unknown class, or arguments that do not fit its constructor.
    """
    path = str(config.get("class_path", ""))
    module_name, _, class_name = path.rpartition(".")
    if module_name.split(".")[0] not in trust:
        raise UserError(
            f"{where}: class_path {path!r} is outside of {', '.join(trust)} and is not imported. "
            f"If you trust its author, name its package in `trust`."
        )
    try:
        module = importlib.import_module(module_name)
        cls = getattr(module, class_name)
    except (ImportError, AttributeError) as error:
        names = [n for n in dir(importlib.import_module(trust[0])) if n[0].isupper()] if not module_name else []
        raise UserError(f"{where}: no class {path!r} ({error}).{nearest(class_name, names)}") from error
    if not inspect.isclass(cls):
        raise UserError(f"{where}: {path!r} is no class.")
    if cls.__module__.split(".")[0] not in trust:  # something that a trusted module merely imported
        raise UserError(f"{where}: {path!r} is {cls.__module__}.{cls.__name__}, which is outside of {', '.join(trust)}.")
    args = {name: _made(value, f"{where}: {name}", trust) for name, value in dict(config.get("init_args") or {}).items()}
    known = inspect.signature(cls.__init__).parameters
    for name in args:
        if name not in known:
            raise UserError(f"{where}: {class_name} takes no {name!r}.{nearest(name, known)}")
    return cls(**args)


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return describe(value)


def _made(value: Any, where: str, trust: tuple[str, ...]) -> Any:
    if isinstance(value, dict) and "class_path" in value:
        return build(value, where=where, trust=trust)
    if isinstance(value, list):
        return [_made(v, where, trust) for v in value]
    return value
