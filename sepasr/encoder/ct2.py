"""Reading a CTranslate2 model folder as plain tensors."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import torch
from torch import Tensor

from sepasr.errors import UserError

# What ctranslate2.specs.model_spec writes: this version, and types by their place in this list.
BINARY_VERSION = 6
DTYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)


def read_variables(folder: Path) -> dict[str, Tensor]:
    """Variables of ``folder/model.bin``, not copied from the file until they are used.

    The file is a header (version, name and revision of the specification, number of variables),
    then for each variable its name, shape, type, number of bytes and bytes, then aliases as pairs
    of names. Integers are little-endian; strings carry their length and a final zero.

    Returns:
        Tensors of the stored shapes and types by name, such as ``encoder/conv1/weight``.

    Raises:
        UserError: the file is missing, truncated, or of another version.
    """
    path = folder / "model.bin"
    if not path.is_file():
        raise UserError("no model.bin", where=folder, remedy="a CTranslate2 model folder has one")
    try:
        with open(path, "rb") as stream:
            # ACCESS_COPY, because torch wants a writable buffer; nothing is written back.
            buffer = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        return _Reader(buffer).variables()
    except (struct.error, ValueError, LookupError, RuntimeError) as error:
        cause = f"not a complete CTranslate2 model of version {BINARY_VERSION}: {error}"
        raise UserError(cause, where=path, remedy="convert or copy it again") from error


class _Reader:
    def __init__(self, buffer: mmap.mmap) -> None:
        self._buffer = buffer
        self._at = 0

    def variables(self) -> dict[str, Tensor]:
        version = self._integer("I")
        if version != BINARY_VERSION:
            raise ValueError(f"it has version {version}")
        self._string()
        self._integer("I")
        variables = dict(self._variable() for _ in range(self._integer("I")))
        # Equal variables are stored once.
        aliases = {self._string(): self._string() for _ in range(self._integer("I"))}
        return variables | {alias: variables[name] for alias, name in aliases.items()}

    def _integer(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self._buffer, self._at)
        self._at += struct.calcsize(f"<{kind}")
        return value

    def _string(self) -> str:
        length = self._integer("H")
        text = self._buffer[self._at : self._at + length]
        self._at += length
        return text.rstrip(b"\0").decode()

    def _variable(self) -> tuple[str, Tensor]:
        name = self._string()
        shape = [self._integer("I") for _ in range(self._integer("B"))]
        dtype = DTYPES[self._integer("B")]
        size = self._integer("I")
        count = size // dtype.itemsize
        tensor = torch.frombuffer(self._buffer, dtype=dtype, count=count, offset=self._at)
        self._at += size
        return name, tensor.reshape(shape)
