"""Makes times_python.json: the parts of odd times as Python's datetime and zoneinfo have them.

    python tests/golden/times_python.py

`moment`: microseconds since 1970 in UTC, or null for what is no moment (a date or a time without an offset). `cell`: one way to write it.
"""
import json, os, random
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

rng = random.Random(2018)
UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CLOCKS = ["UTC", "+02:00", "-03:30", "+14:00", "-12:00", "+05:45"]


def clock(text):
    if text == "UTC":
        return UTC
    hours, minutes = text[1:].split(":")
    return timezone((-1 if text[0] == "-" else 1) * timedelta(hours=int(hours), minutes=int(minutes)))


def parts(t):
    year, week, weekday = t.isocalendar()
    return {"minute": t.minute, "hour": t.hour, "weekday": weekday, "hour_of_week": (weekday - 1) * 24 + t.hour, "weekend": int(weekday > 5),
            "day": t.day, "week": week, "month": t.month, "quarter": (t.month - 1) // 3 + 1}


days = [date(y, m, d) for y in (1600, 1899, 1900, 1904, 1968, 1969, 1970, 1972, 1999, 2000, 2023, 2024, 2100, 2400)
        for m, d in ((1, 1), (2, 28), (3, 1), (12, 31))]
days += [date(y, 2, 29) for y in (1600, 1968, 2000, 2024, 2400)]
# Years whose ends are in a week of their neighbour, and those of 53 weeks.
days += [date(y, m, d) for y in (1976, 1981, 2004, 2009, 2015, 2020, 2026) for m, d in ((1, 1), (1, 3), (1, 4), (12, 28), (12, 29), (12, 31))]
clocks_of_day = [(0, 0, 0, 0), (23, 59, 59, 999999), (12, 30, 0, 0), (0, 0, 0, 1), (3, 7, 9, 500000)]
cases = []
for i, day in enumerate(days):
    cases.append({"cell": day.isoformat(), "timezone": rng.choice(CLOCKS), "moment": None, "parts": parts(datetime(day.year, day.month, day.day))})
    local = datetime(day.year, day.month, day.day, *clocks_of_day[i % len(clocks_of_day)])
    cases.append({"cell": local.isoformat("T " [i % 2]), "timezone": rng.choice(CLOCKS), "moment": None, "parts": parts(local)})
    for place in ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"):
        name = rng.choice(CLOCKS)
        moment = local.replace(tzinfo=ZoneInfo(place))
        if moment.utcoffset().total_seconds() % 60:
            continue  # Mean solar time of before standard time; ISO 8601 knows no seconds of an offset.
        text = moment.isoformat("T " [i % 2])
        if place == "UTC":
            text = text.replace("+00:00", rng.choice(["Z", "+00:00", "+0000", " UTC", "+00"]))
        cases.append({"cell": text, "timezone": name, "moment": (moment - EPOCH) // timedelta(microseconds=1), "parts": parts(moment.astimezone(clock(name)))})
# Around the changes between summer and winter, second by second.
for change in (datetime(2024, 3, 31, 1, tzinfo=UTC), datetime(2024, 10, 27, 1, tzinfo=UTC)):
    for seconds in (-3601, -3600, -1, 0, 1, 3600):
        moment = (change + timedelta(seconds=seconds)).astimezone(ZoneInfo("Europe/Berlin"))
        cases.append({"cell": moment.isoformat(), "timezone": "+01:00", "moment": (moment - EPOCH) // timedelta(microseconds=1),
                      "parts": parts(moment.astimezone(clock("+01:00")))})
for _ in range(150):
    moment = EPOCH + timedelta(microseconds=rng.randrange(-10**16, 10**16))
    name = rng.choice(CLOCKS)
    cases.append({"cell": moment.isoformat().replace("+00:00", "Z"), "timezone": name, "moment": (moment - EPOCH) // timedelta(microseconds=1),
                  "parts": parts(moment.astimezone(clock(name)))})
out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "times_python.json")
with open(out, "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
