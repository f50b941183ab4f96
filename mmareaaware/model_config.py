"""Looks into the config of a model: its parts, where they are, what they build."""

import inspect
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mmengine.registry import MODELS, DefaultScope


class Part(NamedTuple):
    """A dict somewhere in the config of a model."""

    place: str  # a dotted path in the config
    cfg: Mapping
    scope: str | None  # the library whose names its type is looked up in first

    @property
    def name(self) -> str:
        """Its type, without a scope; empty if it has none."""
        return type_name(self.cfg)

    @property
    def slot(self) -> str:
        """The key that it, or the list that it is in, stands under."""
        keys = self.place.split(".")
        return next(key for key in reversed(keys) if not key.isdigit())

    @property
    def cls(self) -> type | None:
        """The registered class that it builds; None if there is none."""
        return class_of(self.cfg, self.scope)


def parts(cfg, place: str = "model", scope: str | None = None) -> Iterator[Part]:
    """All dicts in a config, itself the first.

    Args:
        cfg: Config of a model, or of a part of one.
        place: Its dotted path.
        scope: Where its types are looked up; None for MMEngine's current scope. A dict
            with a ``_scope_`` has another one, as all that it holds.

    Yields:
        Each dict, with its place.
    """
    if isinstance(cfg, Mapping):
        scope = cfg.get("_scope_") or scope
        yield Part(place, cfg, scope)
        children = cfg.items()
    elif isinstance(cfg, list | tuple):
        children = enumerate(cfg)
    else:
        return
    for key, value in children:
        yield from parts(value, f"{place}.{key}", scope)


def type_name(cfg: Mapping) -> str:
    """The type without its scope; in MMEngine's lazy configs types are classes."""
    name = cfg.get("type", "")
    return str(getattr(name, "__name__", name)).rpartition(".")[2]


def class_of(cfg: Mapping, scope: str | None = None) -> type | None:
    """The registered class that a config builds, looked up as MMEngine does.

    Args:
        cfg: Has a ``type``, or builds nothing.
        scope: See ``parts``.
    """
    type_ = cfg.get("type")
    if isinstance(type_, str):
        current = DefaultScope.get_current_instance()
        scope = scope or (current and current.scope_name)
        with MODELS.switch_scope_and_registry(scope) as registry:
            try:
                type_ = registry.get(type_)
            except RuntimeError:  # it names a module that cannot be imported
                return None
    return type_ if inspect.isclass(type_) else None


def takes(cls: type, keyword: str) -> bool:
    """Whether a class can be built with a keyword, by itself or one of its bases."""
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        if keyword in parameters:
            return True
        if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
            return False  # what it does not know it hands on to nobody
    return False


def default_of(cls: type, keyword: str):
    """What a keyword is where it is not given; None without a default."""
    for base in cls.__mro__:
        parameter = inspect.signature(base.__init__).parameters.get(keyword)
        if parameter is not None:
            none = parameter.default is inspect.Parameter.empty
            return None if none else parameter.default
    return None
