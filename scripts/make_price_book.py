"""Turn image-prices.csv into the bundled price book, one TOML file per gateway or vendor.

    python -m scripts.make_price_book

The output depends on the input alone. What the CSV leaves open is decided in price_decisions.py, each with its reason,
and the reasons go into the TOML.
"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from pixelmeter.core.pricing.tables import key_of
from pixelmeter.core.pricing.tariff import USD
from scripts.price_decisions import (
    DEFAULTS,
    EXACT_MEGAPIXELS,
    KEYS,
    LEFT_OUT,
    REPLACED,
    SIZES,
    TOKENS,
    TOKENS_CHECKED_ON,
    Value,
)

INPUT = Path(__file__).with_name("image-prices.csv")
OUTPUT = Path(__file__).parents[1] / "src" / "pixelmeter" / "prices"
_CHECKED = re.compile(r"^checked_on = (\d{4})-(\d\d)-(\d\d)$", re.MULTILINE)
_CHECKED_ON = re.compile(r"^CHECKED_ON = date\(.*\)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the CSV."""

    vendor: str
    model: str
    aliases: tuple[str, ...]
    unit: str
    size: str
    quality: str
    service_tier: str
    price: str
    currency: str
    effective_from: str
    effective_to: str
    shutdown_on: str
    source: str
    checked_on: str
    note: str

    @property
    def key(self) -> str:
        """The key of the TOML, as it would be for a price in USD."""
        key = KEYS.get((self.unit, self.size)) or KEYS[self.unit, ""]
        if key == "usd_per_started_megapixel" and self.vendor in EXACT_MEGAPIXELS:
            return "usd_per_megapixel"
        if key == "usd_per_input_image" and self.note == "from the 2nd input image on":
            return "usd_per_further_input_image"
        return key

    @property
    def cell(self) -> tuple[str, str]:
        """What the price depends on, as the end of the key, and its sizes (if any), quality and steps."""
        size = "" if (self.unit, self.size) in KEYS else self.size
        other = "steps" if self.quality.startswith("steps") else "quality"
        return "_and_".join(name for name, value in (("size", size), (other, self.quality)) if value), size

    @property
    def entry_quality(self) -> str:
        """The quality for which a whole entry holds; images have it in their table instead."""
        return "" if self.unit in ("image", "step") else self.quality


def rows(path: Path = INPUT) -> Iterator[Row]:
    """Yield the lines of the CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            vendor, model, aliases, *rest = line.values()
            row = Row(vendor, model, tuple(filter(None, aliases.split("|"))), *rest)
            if (vendor, model, row.unit) in REPLACED:
                unit, price = REPLACED[vendor, model, row.unit]
                row = replace(row, unit=unit, price=price, quality="")
            yield row


def left_out(row: Row) -> str | None:
    """Return why a row is not in the book; None when it is."""
    values = (row.vendor, row.model, f"{row.unit} {row.quality}".strip(), row.price)
    for patterns, reason in LEFT_OUT.items():
        if all(fnmatchcase(value, pattern) for value, pattern in zip(values, patterns, strict=True)):
            return reason
    return None


def toml(value: Value) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def prices(group: Iterable[Row]) -> dict[str, dict[tuple[str, ...], str]]:
    """Return prices by key and then by the words they depend on: none, or a size, a quality, steps, or two of them.

    The key has the currency: `cny_per_image`.
    """
    order = list(KEYS.values())
    result: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)
    for row in sorted(group, key=lambda row: order.index(KEYS.get((row.unit, row.size), "usd_per_image"))):
        suffix, size = row.cell
        plain = key_of(row.key, row.currency or USD)
        key = f"{plain}_by_{suffix}" if suffix and not row.entry_quality else plain
        quality = "" if row.entry_quality else row.quality.removeprefix("steps").removeprefix("=")
        for word in SIZES.get((row.vendor, size), [size]):
            words = tuple(filter(None, (word, quality)))
            if result[key].setdefault(words, row.price) != row.price:
                raise ValueError(f"{row} has two prices: decide in price_decisions.py which one is left out")
    return result


def tables(prices: Mapping[str, Mapping[tuple[str, ...], str]]) -> Iterator[str]:
    """Yield the lines of the prices that depend on something."""
    for key, cells in prices.items():
        if () in cells:
            continue
        yield f"[price.{key}]"
        nested: dict[str, dict[str, str]] = defaultdict(dict)
        for words, price in cells.items():
            if len(words) == 1:
                yield f"{toml(words[0])} = {toml(price)}"
            else:
                nested[words[0]][words[1]] = price
        for word, inner in nested.items():
            yield f"{toml(word)} = {toml(inner)}"


def entry(group: Sequence[Row], aliases: Sequence[str], estimate: bool) -> str:
    """Return one `[[price]]`."""
    first = group[0]
    notes = dict.fromkeys(row.note.removeprefix("CONFLICT: ") for row in group if row.note)
    if any(row.key == "usd_per_megapixel" for row in group):
        notes[EXACT_MEGAPIXELS[first.vendor]] = None
    defaults = [
        table
        for (vendor, model), table in DEFAULTS.items()
        if fnmatchcase(first.vendor, vendor) and fnmatchcase(first.model, model)
    ]
    by_key = prices(group)
    lines = ["[[price]]", f"model = {toml(first.model)}"]
    lines += [f"aliases = {toml(aliases)}"] * bool(aliases)
    lines += [f"effective_from = {first.effective_from}"] * bool(first.effective_from)
    lines += [f"effective_to = {first.effective_to}"] * bool(first.effective_to)
    lines += [f"shutdown_on = {first.shutdown_on}"] * bool(first.shutdown_on)
    lines += [f"quality = {toml(first.entry_quality)}"] * bool(first.entry_quality)
    lines += [f"service_tier = {toml(first.service_tier)}"] * bool(first.service_tier)
    lines += ["estimate = true"] * estimate
    lines += [f"{key} = {toml(value)}" for table in defaults for key, value in table.items()]
    lines += [f"{key} = {toml(cells[()])}" for key, cells in by_key.items() if () in cells]
    lines.append(f"source = {toml('; '.join(dict.fromkeys(part for row in group for part in row.source.split('; '))))}")
    lines.append(f"checked_on = {min(row.checked_on for row in group)}")
    lines += [f"note = {toml('; '.join(notes))}"] * bool(notes)
    lines += tables(by_key)
    return "\n".join(lines) + "\n"


def token_entry(vendor: str, model: str) -> str:
    """Return the `[[price]]` that has no prices but the tokens of an image."""
    source, keys = TOKENS[vendor, model]
    lines = ["[[price]]", f"model = {toml(model)}", *(f"{key} = {toml(value)}" for key, value in keys.items())]
    lines += [f"source = {toml(source)}", f"checked_on = {TOKENS_CHECKED_ON}"]
    return "\n".join(lines) + "\n"


def book(vendor: str, every: Sequence[Row]) -> str:
    """Return the file of one vendor."""
    by_tokens = {row.model for row in every if row.unit == "1M_tokens_output_image"}
    aliases: dict[str, dict[str, None]] = defaultdict(dict)
    groups: dict[tuple[str, bool, str, str, str, str, str], list[Row]] = defaultdict(list)
    comments: list[str] = []
    for row in every:
        aliases[row.model].update(dict.fromkeys(row.aliases))
        if reason := left_out(row):
            comments.append(f"# Left out: {row.model}, {row.price} per {row.unit}: {reason}.\n")
            continue
        # Where the vendor bills tokens, a price per image is a rounded sum of the output tokens alone.
        estimate = row.model in by_tokens and row.unit in ("image", "input_image")
        days = (row.effective_from, row.effective_to, row.shutdown_on)
        groups[row.model, estimate, *days, row.entry_quality, row.service_tier].append(row)
    entries: list[str] = []
    for key in sorted(groups):
        model, estimate = key[:2]
        entries.append(entry(groups[key], list(aliases.pop(model, ())), estimate))
    entries += [token_entry(vendor, model) for file, model in TOKENS if file == vendor]
    head = "# Made by scripts/make_price_book.py from scripts/image-prices.csv: change those, never this file.\n"
    return head + "".join(comments) + f"\ngateway = {toml(vendor)}\n\n" + "\n".join(entries)


def books(path: Path = INPUT) -> dict[str, str]:
    """Return the text of every file of the price book by its name."""
    vendors: dict[str, list[Row]] = defaultdict(list)
    for row in rows(path):
        vendors[row.vendor].append(row)
    texts = {f"{vendor}.toml": book(vendor, every) for vendor, every in sorted(vendors.items())}
    return {name: text for name, text in texts.items() if "[[price]]" in text}


def main() -> None:
    """Write the files, and the newest day on which one of their prices was checked into the module beside them."""
    for old in OUTPUT.glob("*.toml"):
        old.unlink()
    texts = books()
    for name, text in texts.items():
        (OUTPUT / name).write_text(text, encoding="utf-8")
    year, month, day = max(date for text in texts.values() for date in _CHECKED.findall(text))
    module = (OUTPUT / "__init__.py").read_text(encoding="utf-8")
    written, found = _CHECKED_ON.subn(f"CHECKED_ON = date({int(year)}, {int(month)}, {int(day)})", module)
    assert found == 1
    (OUTPUT / "__init__.py").write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
