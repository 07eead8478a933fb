"""Parquet, through pyarrow."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, BinaryIO

import msgspec

from pixelmeter.errors import ExportError
from pixelmeter.export.tables import Kind, Table

__all__ = ["ParquetRows"]

_ROW_GROUP = 50_000
_MICROSECONDS_PER_SECOND = 1_000_000
_EXTRA = 'Parquet needs pyarrow: pip install "pixelmeter[parquet]"'

_pairs_of = msgspec.json.Decoder(dict[str, str]).decode


class ParquetRows:
    """Row groups of 50,000 rows, zstd; money is decimal(20, 9), times are UTC microseconds, tags are a map.

    ExportError without pyarrow.
    """

    def __init__(self, table: Table, file: BinaryIO) -> None:
        try:
            # Its own types say nothing.
            pyarrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise ExportError(_EXTRA) from None
        self._arrow = pyarrow
        # Each kind of column: its type, and what makes an array of its values.
        money = pyarrow.decimal128(20, 9)
        text, tags = pyarrow.string(), pyarrow.map_(pyarrow.string(), pyarrow.string())
        moment = pyarrow.timestamp("us", tz="UTC")
        kinds: dict[Kind, tuple[Any, Callable[[Sequence[Any]], Any]]] = {
            "text": (text, lambda values: pyarrow.array(values, text)),
            "name": (text, lambda values: pyarrow.array(values, text)),
            "json": (text, lambda values: pyarrow.array(values, text)),
            "integer": (pyarrow.int64(), lambda values: pyarrow.array(values, pyarrow.int64())),
            "money": (money, lambda values: self._money(values, money)),
            "seconds": (pyarrow.float64(), lambda values: pyarrow.array(map(_seconds, values), pyarrow.float64())),
            "moment": (moment, lambda values: pyarrow.array(values, pyarrow.int64()).cast(moment)),
            "flag": (pyarrow.bool_(), lambda values: pyarrow.array(values, pyarrow.bool_())),
            "tags": (tags, lambda values: self._tags(values, tags)),
        }
        self._arrays = [kinds[column.kind][1] for column in table.columns]
        self._schema = pyarrow.schema(
            [
                pyarrow.field(column.name, kinds[column.kind][0], nullable=not column.is_known)
                for column in table.columns
            ]
        )
        self._writer = parquet.ParquetWriter(
            file,
            self._schema,
            compression="zstd",
            use_dictionary=[column.name for column in table.columns if column.kind in ("name", "json")],
        )
        self._waiting: list[Any] = []
        self._number = 0

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        columns = zip(*rows, strict=True)
        arrays = [array(values) for array, values in zip(self._arrays, columns, strict=True)]
        self._waiting.append(self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._number += len(rows)
        if self._number >= _ROW_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        # Else it writes its footer when it is collected, to a file that is closed by then.
        self._writer.is_open = False

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(self._arrow.Table.from_batches(self._waiting), row_group_size=self._number)
        self._waiting, self._number = [], 0

    def _money(self, nano: Sequence[int | None], type: Any) -> Any:
        # The same digits with the point elsewhere: no arithmetic, so nothing is rounded.
        whole = self._arrow.array(nano, self._arrow.int64()).cast(self._arrow.decimal128(20, 0))
        return self._arrow.Array.from_buffers(type, len(whole), whole.buffers(), whole.null_count)

    def _tags(self, texts: Sequence[str], type: Any) -> Any:
        found = [_pairs(text) for text in texts]
        offsets = [0]
        for pairs in found:
            offsets.append(offsets[-1] + len(pairs))
        keys = self._arrow.array([key for pairs in found for key, _ in pairs], self._arrow.string())
        values = self._arrow.array([value for pairs in found for _, value in pairs], self._arrow.string())
        return self._arrow.MapArray.from_arrays(self._arrow.array(offsets, self._arrow.int32()), keys, values, type)


@lru_cache(maxsize=1024)
def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(_pairs_of(text).items())


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / _MICROSECONDS_PER_SECOND
