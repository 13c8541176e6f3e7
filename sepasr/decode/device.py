"""Where inference runs."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from sepasr.errors import UserError

M = TypeVar("M", bound=nn.Module)


def to_device(module: M, name: str) -> M:
    """Move a module to the device named ``name``, in evaluation mode.

    Raises:
        UserError: there is no such device.
    """
    # Else GPUs convolve float32 with 10 bits.
    torch.backends.cudnn.allow_tf32 = False
    try:
        return module.to(torch.device(name)).eval()
    except (RuntimeError, AssertionError) as error:
        cause = str(error).splitlines()[0]
        remedy = "use cpu"
        if name.startswith("cuda") and torch.version.cuda is None:
            remedy += ", or install the build for GPUs, tools/install.sh --torch cuda"
        raise UserError(f"device '{name}' can't be used: {cause}", remedy=remedy) from None
