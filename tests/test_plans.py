"""Contact plans and routes: the worked tutorial, brute force over random plans, promises, cut contacts."""

import itertools
import json
from pathlib import Path

import pytest
from campaigns import seed, sizes

from link.plans.plan import Contact, ContactPlan
from link.plans.routes import Router, find_route
from link.plans.timetable import Timetable
from link.seeds import generator

PLANS = Path(__file__).parent.parent.parent / "shared" / "data" / "contact_plans"
S = 1_000_000_000
TUTORIAL = ContactPlan.of(
    row
    for near, far, start, end in (
        (1, 2, 0, 60), (2, 3, 0, 60), (1, 3, 0, 60), (3, 4, 0, 30),
        (1, 5, 10, 20), (4, 5, 0, 10), (4, 5, 30, 40), (4, 5, 50, 60),
    )
    for row in ((near, far, start, end, 1e6, 1), (far, near, start, end, 1e6, 1))
)  # fmt: skip


def test_the_tutorials_routes():
    routes = Router(TUTORIAL).alternatives("1", "5", 0, 0, 100)
    assert [(route.arrival_ns // S, route.contacts) for route in routes] == [
        (3, (4, 6, 10)), (4, (0, 2, 6, 10)), (11, (8,)), (31, (4, 6, 12)), (31, (0, 2, 6, 12)),
        (51, (4, 6, 14)), (51, (0, 2, 6, 14)),
    ]  # fmt: skip
    assert [route.legs[0].to for route in routes[:3]] == ["3", "2", "5"]
    assert [len(Router(TUTORIAL).alternatives("1", "5", 0, 0, n)) for n in (1, 3)] == [1, 3]


@pytest.mark.parametrize(
    ("size", "arrival", "contacts"),
    [(125_000, 6, (4, 6, 10)), (1_250_000, 21, (8,)), (2_500_000, None, None)],
)
def test_the_tutorials_bundles(size, arrival, contacts):
    route = find_route(TUTORIAL, "1", "5", size, 0)
    if arrival is None:
        assert route is None
    else:
        assert (route.arrival_ns, route.contacts) == (arrival * S, contacts)


def test_the_published_ten_nodes():
    path = PLANS / "10nodes.json"
    if not path.exists():
        pytest.skip("no shared plans")
    rows = json.loads(path.read_text())["contacts"]
    plan = ContactPlan.of(
        (row["source"], row["dest"], row["startTime"], row["endTime"], row["rateBitsPerSec"], row["owlt"])
        for row in rows
        if row["startTime"] < row["endTime"]  # six of its rows end before they start
    )
    route = find_route(plan, "20", "40", 0, 0)
    assert (route.arrival_ns, route.legs[0].to) == (2 * S, "3686")


def random_plan(rng, *, decimals):
    nodes = int(rng.integers(3, 9))
    rows = []
    for _ in range(int(rng.integers(6, 26))):
        near, far = map(int, rng.permutation(nodes)[:2])
        start = float(rng.integers(0, 30)) + (float(rng.uniform()) if decimals else 0.0)
        length = float(rng.integers(1, 15)) + (float(rng.uniform()) if decimals else 0.0)
        rate = float(rng.choice([800.0, 1600.0, 999.7])) if decimals else 800.0
        delay = float(rng.uniform(0.0, 3.0)) if decimals else float(rng.integers(0, 3))
        rows.append((near, far, start, start + length, rate, delay))
    return ContactPlan.of(rows)


def brute_force(plan, source, destination, size, at, cut):
    """Every route that visits no node twice, tried: (arrival, legs) of the best, or None."""
    best = None

    def walk(node, time, seen, legs):
        nonlocal best
        if node == destination:
            best = min(best, (time, legs)) if best else (time, legs)
            return
        for number, row in enumerate(plan.contacts):
            if number == cut or row.from_ != node or row.to in seen:
                continue
            start, end = row.window_ns
            scale, per_byte = rate_of(row)
            sent = max(start, time) - (-size * per_byte // scale)
            if sent <= end:
                walk(row.to, sent + row.delay_ns, seen | {row.to}, legs + 1)

    walk(source, at, {source}, 0)
    return best


def rate_of(row):
    from link.channel.rate import ConstantRate

    rate = ConstantRate(row.rate_bps)
    return rate.scale, rate.per_byte


@sizes(100, 2500)
@pytest.mark.parametrize("decimals", [False, True])
def test_routes_are_the_best_with_a_contact_cut_out(request, decimals, size):
    """200 plans: the arrival and the number of legs; whole seconds, so that there are ties, and decimals."""
    found = tied = 0
    first = seed(request)
    for number in range(first, first + size):
        rng = generator(number, f"plans.{decimals}")
        plan = random_plan(rng, decimals=decimals)
        source, destination = plan.nodes[0], plan.nodes[-1]
        room, at = int(rng.integers(0, 300)), int(rng.integers(0, 5)) * S
        whole = find_route(plan, source, destination, room, at)
        cut = whole.contacts[int(rng.integers(len(whole.contacts)))] if whole else 0
        for missing in (None, cut):
            best = brute_force(plan, source, destination, room, at, missing)
            router = Router(plan)
            route = router.find(source, destination, room, at, () if missing is None else {missing})
            assert (route and (route.arrival_ns, len(route.legs))) == best
            if missing is not None:
                router.fail(missing)
                assert router.find(source, destination, room, at) == route
            if route:
                found += 1
                check(plan, route, room, at)
                others = Router(plan).alternatives(source, destination, room, at, 3)
                tied += len(others) > 1 and others[0].arrival_ns == others[1].arrival_ns
    assert found > 0.6 * size
    assert decimals or tied > 0.05 * size  # the campaign meets ties


def check(plan, route, size, at):
    """That its legs keep to their contacts."""
    time, node = at, route.legs[0].from_
    for leg in route.legs:
        row = plan.contacts[leg.contact]
        start, end = row.window_ns
        assert (row.from_, row.to) == (leg.from_, leg.to) == (node, row.to)
        assert max(time, start) <= leg.start_ns <= leg.end_ns <= end
        assert leg.arrival_ns == leg.end_ns + row.delay_ns
        time, node = leg.arrival_ns, leg.to
    assert time == route.arrival_ns


def test_alternatives_are_all_there_are_in_their_order():
    for number in range(30):
        plan = random_plan(generator(number, "alternatives"), decimals=False)
        source, destination = plan.nodes[0], plan.nodes[-1]
        every = []
        for count in range(1, len(plan.nodes)):
            for way in itertools.permutations(plan.nodes, count + 1):
                if (way[0], way[-1]) != (source, destination):
                    continue
                for picked in itertools.product(*(plan.between(*step) for step in itertools.pairwise(way))):
                    time = 0
                    for _, row in picked:
                        start, end = row.window_ns
                        time = max(time, start) + row.delay_ns
                        if time - row.delay_ns > end:
                            break
                    else:
                        every.append((time, len(picked), tuple(place for place, _ in picked)))
            if len(every) > 3000:
                break
        if len(every) > 3000:
            continue
        got = Router(plan).alternatives(source, destination, 0, 0, 10)
        want = sorted(every)[:10]
        assert [route.arrival_ns for route in got] == [item[0] for item in want]
        assert len({route.contacts for route in got}) == len(got)
        assert {route.contacts for route in got} <= {item[2] for item in every}


def found_by(router, *asked):
    route = router.find(*asked)
    assert route is not None
    return route


def test_what_is_promised_is_taken_from_a_contact():
    plan = ContactPlan.of([("a", "b", 0, 10, 800, 0), ("a", "b", 20, 30, 800, 0)])
    router = Router(plan)
    arrivals = []
    for _ in range(20):
        route = found_by(router, "a", "b", 100, 0)
        router.promise(route)
        arrivals.append(route.arrival_ns // S)
    assert arrivals == [*range(1, 11), *range(21, 31)]
    assert router.find("a", "b", 100, 0) is None
    assert router.promised_bytes(0) == router.promised_bytes(1) == plan.contacts[0].volume_bytes == 1000


def test_a_gap_between_promises_is_used_and_given_back():
    router = Router(ContactPlan.of([("a", "b", 0, 10, 800, 0)]))
    late = found_by(router, "a", "b", 200, 6 * S)  # 6 to 8
    router.promise(late)
    assert router.find("a", "b", 600, 0).arrival_ns == 6 * S
    assert router.find("a", "b", 700, 0) is None
    assert router.find("a", "b", 200, 5 * S).arrival_ns == 10 * S
    early = found_by(router, "a", "b", 600, 0)
    router.promise(early)
    with pytest.raises(ValueError, match="was promised to others"):
        router.promise(early)
    assert router.promised_bytes(0) == 800
    router.release(early, since_ns=2 * S)  # two seconds of it were sent
    assert router.promised_bytes(0) == 400
    assert router.find("a", "b", 400, 0).arrival_ns == 6 * S
    router.release(late)
    with pytest.raises(ValueError, match="not promised"):
        router.release(late)
    assert router.find("a", "b", 800, 0).arrival_ns == 10 * S


def test_a_contact_that_fails_carries_what_was_sent_before():
    router = Router(
        ContactPlan.of([("a", "b", 0, 10, 800, 0), ("a", "c", 0, 99, 800, 1), ("c", "b", 50, 99, 800, 1)])
    )
    router.fail(0, since_ns=4 * S)
    assert router.find("a", "b", 400, 0).contacts == (0,)
    assert router.find("a", "b", 500, 0).contacts == (1, 2)
    router.fail(0, since_ns=9 * S)  # it does not come back
    assert router.find("a", "b", 500, 0).contacts == (1, 2)


def test_fewer_legs_win_a_tie_also_behind_a_wait():
    """Over c the bundle is at b earlier, but must wait there for the same contact."""
    plan = ContactPlan.of(
        [
            ("a", "c", 0, 9, 800, 0),
            ("c", "b", 0, 9, 800, 0),
            ("a", "b", 5, 9, 800, 0),
            ("b", "d", 20, 30, 800, 0),
        ]
    )
    assert find_route(plan, "a", "d", 100, 0).contacts == (2, 3)
    assert find_route(plan, "a", "b", 100, 0).contacts == (0, 1)


def test_lower_numbers_win_a_tie():
    plan = ContactPlan.of([("a", "b", 0, 9, 800, 0), ("a", "b", 0, 9, 800, 0), ("a", "b", 0, 8, 800, 0)])
    assert find_route(plan, "a", "b", 100, 0).contacts == (0,)
    assert find_route(plan, "a", "b", 100, 0, without={0}).contacts == (1,)


def test_no_way_and_nowhere():
    plan = ContactPlan.of([("a", "b", 0, 10, 800, 5), ("b", "c", 0, 5, 800, 5)])
    assert find_route(plan, "a", "c", 100, 0) is None
    assert find_route(plan, "b", "a", 1, 0) is None
    assert find_route(plan, "a", "a", 100, 7).legs == ()
    assert find_route(plan, "a", "b", 1000, 0).arrival_ns == 15 * S  # its last bit is sent at the very end
    assert find_route(plan, "a", "b", 1001, 0) is None
    with pytest.raises(ValueError, match="has no node x"):
        find_route(plan, "a", "x", 1, 0)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("a", "a", 0, 1, 1, 0), "to itself"),
        (("a", "b", 1, 1, 1, 0), "after start_s"),
        (("a", "b", 0, 1, 0, 0), "rate_bps"),
        (("a", "b", 0, 1, 1, -1), "delay_s"),
        (("a b", "b", 0, 1, 1, 0), "from"),
        (("a", "b", 0, float("inf"), 1, 0), "end_s"),
    ],
)
def test_rows_that_are_none(row, says):
    with pytest.raises(ValueError, match=says):
        ContactPlan.of([row])


def test_gaps_are_what_contacts_leave():
    plan = ContactPlan.of(
        [("a", "b", 5, 9, 1, 0), ("a", "b", 7, 12.5, 1, 0), ("b", "a", 0, 99, 1, 0), ("a", "b", 20, 30, 1, 0)]
    )
    assert plan.gaps_s("a", "b", 25.0) == ((0.0, 5.0), (12.5, 20.0))
    assert plan.gaps_s("a", "b", 100.0) == ((0.0, 5.0), (12.5, 20.0), (30.0, 100.0))
    assert plan.gaps_s("a", "c", 100.0) == ((0.0, 100.0),)
    assert plan.nodes == ("a", "b") and plan.span_s == (0.0, 99.0)
    assert ContactPlan.of([(10, 9, 0, 1, 1, 0), ("x", 100, 0, 1, 1, 0)]).nodes == ("9", "10", "100", "x")


def test_a_row_is_written_as_it_is_read():
    row = {"from": "rover", "to": "7", "start_s": 0.25, "end_s": 1.5, "rate_bps": 8000.0, "delay_s": 0.001}
    assert json.loads(Contact.model_validate(row).model_dump_json(by_alias=True)) == row


@pytest.mark.parametrize(("nodes", "neighbours", "most"), [(30, 8, 60), (100, 99, 300)])
def test_a_bundle_looks_at_few_of_ten_thousand_contacts(nodes, neighbours, most):
    """Counted, not timed: nobody looks at contacts that are over, that come too late, or that lead from elsewhere."""
    from bench.routes import plan_of

    plan = plan_of(nodes, neighbours)
    places = {name: place for place, name in enumerate(plan.nodes)}
    rows = [(places[row.from_], places[row.to], *row.window_ns, 0, row.delay_ns) for row in plan.contacts]
    table = Timetable(nodes, rows, [(1, 40_000)])
    looked = 0

    def counting(contact, start, air):
        nonlocal looked
        looked += 1
        return start

    rng = generator(3, "bundles")
    for _ in range(100):
        near = int(rng.integers(nodes))
        at = int(rng.uniform(0, 4e4) * S)
        assert table.search(near, (near + 15) % nodes, 10_000, at, touched=range(len(rows)), begin=counting)
    assert looked < 100 * most


def test_what_is_open_is_kept_in_as_little_room_as_the_plan():
    """Whatever is open how long: contacts that never end, that do not overlap, and those in between."""
    rng = generator(4, "open")
    for length in (0.5, 3.0, 400.0, 1e9):
        rows = []
        for start in sorted(rng.integers(0, 1000, 600).tolist()):
            rows.append((0, 1, start * S, int((start + rng.uniform(0.0, length)) * S) + 1, 0, 0))
        (own, _) = Timetable(2, rows, [(1, S)])._leaving
        lists = {id(held): held for _, held in own.open}
        assert sum(map(len, lists.values())) <= 2 * len(rows)
        for at in rng.integers(-5, 1500, 200).tolist():
            number = sum(row[2] <= at * S for row in rows)
            begun, held = own.open[number]
            still = {row[1] for row in (*held, *own.rows[begun:number]) if row[2] >= at * S}
            assert still == {place for place, row in enumerate(rows) if row[2] <= at * S <= row[3]}
            assert number - begun <= max(1, len(held))
