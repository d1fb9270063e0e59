"""Makes the example logs of docs/from-logs-to-funnel.md: what a small shop's systems write, with the faults that such logs have.

    python make_logs.py        # writes impressions.csv.gz, events.csv.gz and users.csv beside itself; the same bytes every time

Generated, not recorded: no real person or shop is in it. In events.csv stand, on purpose: events sent twice, double clicks, events of
impressions that are not in the log, purchases that nobody was shown, purchases long after the impression, and local times with an offset.
"""
import gzip, io, math, os, random
from datetime import datetime, timedelta, timezone

HERE = os.path.dirname(os.path.abspath(__file__))
START, DAYS, PER_DAY = datetime(2026, 3, 1, tzinfo=timezone.utc), 28, 300
USERS, ITEMS, SHOPS = 180, 90, 12
LOCAL = timezone(timedelta(hours=2))
draw = random.Random(2018)


def utc(t):
    return t.strftime("%Y-%m-%dT%H:%M:%SZ")


def local(t):
    return t.astimezone(LOCAL).isoformat(timespec="seconds")


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def write(name, header, rows):
    text = header + "\n" + "".join(",".join(map(str, r)) + "\n" for r in rows)
    path = os.path.join(HERE, name)
    if name.endswith(".gz"):
        with open(path, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as out:
            out.write(text.encode())
    else:
        io.open(path, "w", newline="").write(text)
    print(name, len(rows), "rows")


users = [{"id": f"u{u:03}", "taste": draw.gauss(0, .9), "spends": draw.gauss(0, .8), "segment": draw.choice(["new", "casual", "casual"])}
         for u in range(USERS)]
items = [{"id": f"p{i:03}", "shop": f"s{i % SHOPS:02}", "price": round(math.exp(draw.gauss(3, .7)), 2), "appeal": draw.gauss(0, .8)}
         for i in range(ITEMS)]

# A profile is a row per change: who has bought becomes `loyal` the night after.
profiles = [[u["id"], utc(START - timedelta(days=30)), u["segment"]] for u in users]
impressions, events = [], []
loyal_from = {}


def event(kind, at, impression, user, item, amount=""):
    row = [f"e{len(events) + 1:05}", kind, local(at), impression, user["id"], item["id"], amount]
    events.append((at, row))
    if draw.random() < .02:
        events.append((at + timedelta(seconds=30), row[:]))  # sent again, by the same id


for day in range(DAYS):
    for second in sorted(draw.randrange(86400) for _ in range(PER_DAY)):
        at = START + timedelta(days=day, seconds=second)
        user, item = draw.choice(users), draw.choice(items)
        position, placement = draw.randrange(1, 9), draw.choice(["home", "search", "search"])
        impression = f"i{len(impressions) + 1:05}"
        impressions.append([impression, utc(at), user["id"], item["id"], item["shop"], item["price"], placement, position])
        loyal = loyal_from.get(user["id"], at) < at
        z = -1.7 + user["taste"] + item["appeal"] - .12 * position + (.5 if placement == "search" else 0) + (.6 if loyal else 0)
        lost = draw.random() < .01  # the impression's log line was lost, its events were not
        if draw.random() < sigmoid(z):
            clicked = at + timedelta(seconds=5 + draw.expovariate(1 / 60))
            event("click", clicked, impression, user, item)
            if draw.random() < .06:
                event("click", clicked + timedelta(seconds=2), impression, user, item)
            if draw.random() < sigmoid(-.4 + .7 * item["appeal"] + .8 * user["spends"]):
                carted = clicked + timedelta(seconds=20 + draw.expovariate(1 / 400))
                if draw.random() < .97:  # some carts are filled by a page that logs nothing
                    event("cart", carted, impression, user, item)
                if draw.random() < sigmoid(.3 + user["spends"] - .25 * math.log(item["price"])):
                    delay = timedelta(hours=draw.expovariate(1 / 20)) if draw.random() < .9 else timedelta(days=8 + draw.expovariate(1 / 3))
                    bought = carted + delay
                    # The order system knows the user and the item, and no impression.
                    event("purchase", bought, "", user, item, item["price"])
                    if user["id"] not in loyal_from:
                        night = (bought + timedelta(days=1)).replace(hour=2, minute=0, second=0, microsecond=0)
                        loyal_from[user["id"]] = night
                        profiles.append([user["id"], utc(night), "loyal"])
        if lost:
            impressions.pop()
            impressions.append(None)
    for _ in range(2):  # bought without having been shown anything
        user, item = draw.choice(users), draw.choice(items)
        event("purchase", START + timedelta(days=day, seconds=draw.randrange(86400)), "", user, item, item["price"])

impressions = [r for r in impressions if r]
end = START + timedelta(days=DAYS)
again = draw.sample(range(len(impressions)), 40)  # logged twice
impressions = sorted(impressions + [impressions[i][:] for i in again], key=lambda r: (r[1], r[0]))
events = [row for at, row in sorted(events, key=lambda e: (e[0], e[1][0])) if at < end]
profiles = sorted((p for p in profiles if p[1] < utc(end)), key=lambda r: (r[1], r[0]))
write("impressions.csv.gz", "impression_id,shown_at,user_id,item_id,shop_id,price,placement,position", impressions)
write("events.csv.gz", "event_id,kind,happened_at,impression_id,user_id,item_id,amount", events)
write("users.csv", "user_id,valid_from,segment", profiles)
