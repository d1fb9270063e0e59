"""Raw rows → what an exported model takes, by its card. Both example scripts use it.

A row is a dict of texts, as `csv.DictReader` gives them; an empty text is missing. Needs numpy and pyarrow; xxhash too, for hashed tables.
"""

import datetime
import json
import pathlib

import numpy as np
import pyarrow.parquet as pq


class Export:
    """The folder that `esmm-funnel export` writes."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.card = json.loads((self.folder / "card.json").read_text())
        rows = self.card["rows"]
        self.unknown, self.missing, self.first = rows["out_of_vocabulary"], rows["missing"], rows["first_id"]
        self.tables = {table["name"]: self._look_up(table["vocabulary"]) for table in self.card["tables"]}

    def _look_up(self, vocabulary):
        """A function from an id's text to its table row."""
        kind = vocabulary["kind"]
        if kind == "learned":
            file = pq.read_table(self.folder / vocabulary["file"]).to_pydict()
            rows = dict(zip(file["id"], file["row"]))
            return lambda text: rows.get(text, self.unknown)
        if kind == "hashed":
            import xxhash

            seed, modulo = vocabulary["seed"], vocabulary["modulo"]
            return lambda text: xxhash.xxh3_64_intdigest(text.encode(), seed) % modulo + self.first
        if kind == "range":
            first, last = vocabulary["first"], vocabulary["last"]
            return lambda number: number - first + self.first if first <= number <= last else self.unknown
        return None  # the ranges of a number: `transform` has the edges

    def id_row(self, feature, row):
        """The table row of an id, a cross or a part of a time."""
        texts = [row[column] for column in feature["sources"]]
        if any(text == "" or text in feature["missing"] for text in texts):
            return self.missing
        if feature["kind"] == "time":
            return self.tables[feature["table"]](part_of_time(texts[0], feature))
        return self.tables[feature["table"]]("\x1f".join(texts))

    def bag_rows(self, feature, row):
        """The table rows of a bag's values, and their weights."""
        text, separator = row[feature["column"]], feature["separator"]
        if text == "" or text in feature["missing"]:
            return [], []
        split = lambda text: text.split(separator) if separator else [text]
        values = split(text)
        weights = [float(w) for w in split(row[feature["weights"]])] if feature["weights"] else [1.0] * len(values)
        known = [(self.tables[feature["table"]](v), w) for v, w in zip(values, weights) if v != "" and v not in feature["missing"]]
        if feature.get("keep_last"):
            known = known[-feature["keep_last"] :]
        return [r for r, _ in known], [w for _, w in known]

    def number(self, feature, row):
        """A number as it stands in the data; NaN is missing."""
        text = row[feature["column"]].strip()
        markers = feature["missing"]
        if text == "" or text in markers or float(text) in [float(m) for m in markers if is_number(m)]:
            return np.float32("nan")
        return np.float32(float(text))

    def bag(self, feature, rows):
        """The bags of all rows, padded: table rows `[B, L]` and weights `[B, L]`, 0 for padding."""
        bags = [self.bag_rows(feature, row) for row in rows]
        longest = max([1] + [len(values) for values, _ in bags])
        ids, weights = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest), np.float32)
        for at, (values, of_values) in enumerate(bags):
            ids[at, : len(values)], weights[at, : len(values)] = values, of_values
        return ids, weights


def is_number(text):
    try:
        float(text)
        return True
    except ValueError:
        return False


def part_of_time(text, feature):
    """A part of a time as a whole number, on the clock of the feature's time zone."""
    text, zone = text.strip(), feature["timezone"]
    zone = datetime.timezone.utc if zone == "UTC" else datetime.datetime.fromisoformat("1970-01-01T00:00" + zone).tzinfo
    if is_number(text):
        per_second = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000}[feature["unit"]]
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        time = (epoch + datetime.timedelta(seconds=int(float(text) // per_second))).astimezone(zone)
    else:
        time = datetime.datetime.fromisoformat(text.removesuffix(" UTC") + ("+00:00" if text.endswith(" UTC") else ""))
        time = time.astimezone(zone) if time.tzinfo else time
    week, weekday = time.isocalendar()[1], time.isoweekday()
    return {
        "minute": time.minute,
        "hour": time.hour,
        "weekday": weekday,
        "hour_of_week": (weekday - 1) * 24 + time.hour,
        "weekend": int(weekday >= 6),
        "day": time.day,
        "week": week,
        "month": time.month,
        "quarter": (time.month + 2) // 3,
    }[feature["part"]]


def read_rows(path):
    """The rows of a CSV or Parquet file as dicts of texts; a list becomes a text with `|` between its values."""
    if str(path).endswith(".parquet"):
        texts = lambda v: "" if v is None else "|".join(map(texts, v)) if isinstance(v, list) else str(v)
        return [{k: texts(v) for k, v in row.items()} for row in pq.read_table(path).to_pylist()]
    import csv

    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def compare(found, predictions, card):
    """Exits with 1 if the probabilities are not those of a file that `esmm-funnel predict` wrote."""
    worst, expected = 0.0, read_rows(predictions)
    for name in card["outputs"]:
        known = np.array([float(row[name]) for row in expected])
        assert known.shape == found[name].shape, f"{name}: {found[name].shape} rows, {known.shape} in {predictions}"
        assert np.isfinite(found[name]).all(), f"{name} is not finite"
        worst = max(worst, float(np.max(np.abs(found[name] - known) / np.maximum(1.0, np.abs(known)))))
    print(f"{len(expected)} rows, {len(card['outputs'])} columns: the largest difference to {predictions} is {worst:.1e}")
    if not worst <= 1e-5:
        raise SystemExit(1)
