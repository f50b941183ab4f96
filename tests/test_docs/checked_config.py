"""Whether a piece of a config could be built, without building what is around it."""

import inspect
from collections.abc import Iterable, Mapping

from mmengine import registry

REGISTRIES = (
    "MODELS",
    "TASK_UTILS",
    "HOOKS",
    "METRICS",
    "DATASETS",
    "TRANSFORMS",
    "FUNCTIONS",
    "DATA_SAMPLERS",
    "OPTIMIZERS",
    "OPTIM_WRAPPERS",
)


def find_type(name: str):
    """What a type of a config names, in any registry and scope."""
    for key in REGISTRIES:
        found = getattr(registry, key).get(name)
        if found is not None:
            return found
    raise KeyError(f"{name} is not registered")


def arguments_of(thing) -> set[str]:
    """What may be given to a class, or to any that it passes **kwargs on to."""
    names: set[str] = set()
    for cls in inspect.getmro(thing) if inspect.isclass(thing) else (thing,):
        function = vars(cls).get("__init__") if inspect.isclass(cls) else cls
        if function is None:
            continue
        parameters = inspect.signature(function).parameters.values()
        names |= {p.name for p in parameters}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names


def check_config(value) -> int:
    """See that all types in it are registered and take what they are given.

    Returns:
        How many there were.
    """
    if isinstance(value, Mapping):
        number = 0
        if "type" in value:
            given = {str(key) for key in value} - {"type", "_delete_", "_scope_"}
            unknown = given - arguments_of(find_type(value["type"]))
            assert not unknown, f"{value['type']} takes no {unknown}"
            number = 1
        return number + sum(map(check_config, value.values()))
    if isinstance(value, Iterable) and not isinstance(value, str):
        return sum(map(check_config, value))
    return 0
