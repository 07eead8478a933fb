"""Content encodings, applied piece by piece."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["MissingEncoder", "encoder"]

Feed = Callable[[bytes], bytes]
Finish = Callable[[], bytes]


class MissingEncoder(Exception):
    """An encoding whose module is not installed; the text says which."""


def encoder(name: str) -> Callable[[Iterable[bytes]], Iterator[bytes]]:
    """Return what compresses the pieces of a body; raise MissingEncoder."""
    feed, finish = _parts(name)

    def encode(pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if data := feed(piece):
                yield data
        yield finish()

    return encode


def _parts(name: str) -> tuple[Feed, Finish]:
    if name in ("gzip", "deflate"):
        compressor = zlib.compressobj(1, zlib.DEFLATED, 31 if name == "gzip" else 15)
        return compressor.compress, compressor.flush
    module_name = "brotli" if name == "br" else "zstandard"
    try:
        module: Any = importlib.import_module(module_name)
    except ImportError:
        raise MissingEncoder(f"the encoding {name} needs the {module_name} module: pip install {module_name}") from None
    if name == "br":
        brotli = module.Compressor(quality=1)
        return brotli.process, brotli.finish
    zstandard = module.ZstdCompressor(level=1).compressobj()
    return zstandard.compress, zstandard.flush
