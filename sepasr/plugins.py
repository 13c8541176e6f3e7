"""Modules of one's own that a YAML names, instead of one that is known here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from sepasr.errors import UserError


def function_of(module: str, name: str, form: str, unknown: UserError) -> Callable[..., Any]:
    """The function of a module that can be imported.

    Args:
        module: its name.
        name: of the function.
        form: how it is defined, for the error.
        unknown: what to raise where there is no such module.

    Raises:
        UserError: there is no such module, or it has no such function.
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise unknown
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        # Not one that the module itself imports in vain.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise unknown from None
    if not hasattr(found, name):
        what, remedy = f"the module has no {name}", f"define {form} there"
        raise UserError(what, where=module, remedy=remedy)
    return getattr(found, name)
