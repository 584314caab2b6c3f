"""Nodes with stores: exact times, lifetimes, full stores, routes against brute force, contacts that fail, custody."""

import itertools
import random
from collections import Counter

import pytest
from campaigns import seed, sizes
from test_channel import drain, fates

from link.channel.channel import BACKWARD, Channel
from link.channel.network import make_edge
from link.channel.promises import Edge, Promises, tabulate
from link.events import Fate
from link.hops import HopConfig, Link
from link.packet import Kind, Packet
from link.plans.timetable import FOREVER_NS

S = 1_000_000_000


def network(hops, nodes=None, seed=1, **link):
    count = len(hops) + 1
    nodes = nodes or [{"name": f"n{at}"} for at in range(count)]
    named = [{"name": f"h{at}", "rate_bps": 800, **hop} for at, hop in enumerate(hops)]
    return Channel(Link.model_validate({"hops": named, "nodes": nodes, "mtu_bytes": 300, **link}), seed)


def packet(index=0, priority=0, size=100, frame=0):
    return Packet(Kind.DATA, frame, index, bytes(size - 8), priority).pack(0)


def rows(link, fate):
    return [row for row in link.rows if row[2] == fate]


def test_a_bundle_waits_for_each_contact_in_turn():
    link = network(
        [{"contacts_s": [[10, 20]], "delay_s": 1}, {"contacts_s": [[5, 8], [40, 60]], "delay_s": 600}]
    )
    link.send(packet(), 0)
    assert [when for when, *_ in drain(link)] == [641 * S]
    assert [(row[0], row[3], row[4]) for row in rows(link, Fate.STORED)] == [
        (10 * S, 0, 10 * S),
        (40 * S, 1, 28 * S),
    ]
    assert [(row[3], row[4], row[5]) for row in rows(link, Fate.CROSSED)] == [(0, 0, S), (1, 0, S)]


def test_without_contacts_nodes_forward_at_once():
    plain = Channel(
        Link.model_validate(
            {"hops": [{"name": f"h{at}", "rate_bps": 800} for at in (0, 1)], "mtu_bytes": 300}
        ),
        1,
    )
    stored = network([{}, {}])
    for link in (plain, stored):
        for number in range(5):
            link.send(packet(number), 0)
    assert drain(plain) == drain(stored)


def test_what_does_not_fit_into_a_contact_waits_for_the_next():
    link = network([{"contacts_s": [[0, 2.5], [10, 12.5], [20, 30]]}])
    for number in range(5):
        link.send(packet(number), 0)
    assert [when / S for when, *_ in drain(link)] == [1, 2, 11, 12, 21]


def test_a_higher_class_goes_first():
    link = network([{"contacts_s": [[10, 20]]}])
    for number, priority in enumerate((3, 1, 0, 1)):
        link.send(packet(number, priority), 0)
    assert [arrival[1] for arrival in drain(link)] == [2, 1, 3, 0]


def test_who_is_pushed_out_of_a_contact_is_routed_anew():
    link = network([{"contacts_s": [[10, 12], [20, 22]]}])
    for number in range(2):
        link.send(packet(number, 3), 0)
    link.send(packet(2, 0), 5 * S)
    assert [(when // S, number) for when, number, *_ in drain(link)] == [(11, 2), (12, 0), (21, 1)]


def test_lifetimes_are_checked_before_sending_and_on_arrival():
    link = network([{"contacts_s": [[10, 20], [100, 200]]}, {"delay_s": 300}], lifetime_s=50)
    link.send(packet(), 0)
    link.advance(30 * S)
    link.send(packet(), 30 * S)
    drain(link)
    assert [(row[0] // S, row[1], row[3], row[4] // S) for row in rows(link, Fate.EXPIRED)] == [
        (100, 1, 0, 70),
        (312, 0, 2, 0),
    ]
    assert fates(link)[Fate.EXPIRED] == 2


@pytest.mark.parametrize(
    ("drop", "kept"),
    [("oldest", [3, 4]), ("newest", [0, 1]), ("least_important", [1, 4])],
)
def test_a_full_store_drops_by_its_policy(drop, kept):
    link = network(
        [{"contacts_s": [[10, 20]]}],
        [{"name": "a", "store": {"limit_bytes": 250, "drop": drop}}, {"name": "b"}],
    )
    for number, place in enumerate((5, 1, 7, 3, 2)):
        link.send(packet(place, 2), number)
    assert sorted(arrival[1] for arrival in drain(link)) == kept
    assert fates(link)[Fate.STORE_FULL] == 3


def test_a_full_store_drops_what_expired_first_then_the_lowest_class():
    nodes = [{"name": "a", "store": {"limit_bytes": 300}}, {"name": "b"}]
    link = network([{"contacts_s": [[100, 200]]}], nodes, lifetime_s=62)
    for number, (priority, when) in enumerate(((0, 0), (1, 41), (3, 42), (2, 70), (2, 71), (3, 72))):
        link.advance(when * S)
        link.send(packet(number, priority), when * S)
    arrived = [arrival[1] for arrival in drain(link)]
    assert arrived == [1, 3, 4]
    assert [row[1] for row in rows(link, Fate.EXPIRED)] == [0]
    assert [(row[1], row[4] // S) for row in rows(link, Fate.STORE_FULL)] == [(2, 29), (5, 0)]


def test_room_is_free_when_the_last_bit_is_sent():
    nodes = [{"name": "a", "store": {"limit_bytes": 200}}, {"name": "b"}]
    for when, dropped in ((S - 1, 1), (S, 0)):
        link = network([{}], nodes)
        link.send(packet(), 0)
        link.send(packet(), 0)
        link.advance(when)
        link.send(packet(), when)
        drain(link)
        assert fates(link)[Fate.STORE_FULL] == dropped


def test_after_the_last_contact_there_is_no_route():
    link = network([{"contacts_s": [[0, 10]]}])
    link.send(packet(), 0)
    link.advance(9 * S + 1)
    link.send(packet(), 9 * S + 1)
    drain(link)
    assert fates(link)[Fate.NO_ROUTE] == 1 and fates(link)[Fate.CROSSED] == 1


DIAMOND = [{"name": name} for name in ("rover", "mro", "tgo", "earth")]


def diamond(mro=None, tgo=None, **link):
    hops = [
        {"name": "up-mro", "between": ["rover", "mro"], "contacts_s": [[10, 20], [200, 210]], **(mro or {})},
        {"name": "up-tgo", "between": ["rover", "tgo"], "contacts_s": [[50, 70]], **(tgo or {})},
        {"name": "down-mro", "between": ["mro", "earth"], "contacts_s": [[30, 40], [220, 300]]},
        {"name": "down-tgo", "between": ["tgo", "earth"], "contacts_s": [[60, 100]]},
    ]
    return network(hops, DIAMOND, **link)


def test_the_route_with_the_earliest_arrival_is_taken():
    link = diamond()
    for number in range(12):
        link.send(packet(number), 0)
    arrived = {number: when // S for when, number, *_ in drain(link)}
    # Ten fit into the first pass, the others go by the other orbiter.
    assert list(arrived.values()) == [*range(31, 41), 61, 62]


def test_a_contact_that_fails_is_routed_around():
    cut = {"outage": {"windows_s": [[5, 25]], "hold": True}}
    link = diamond(cut)
    link.send(packet(), 0)
    assert [when // S for when, *_ in drain(link)] == [61], "the plan did not know; the node found out"
    assert [row[3] for row in rows(link, Fate.CROSSED)] == [1, 3]
    both = diamond(cut, {"outage": {"windows_s": [[45, 75]], "hold": True}})
    both.send(packet(), 0)
    assert [when // S for when, *_ in drain(both)] == [221]


def test_a_contact_that_comes_back_is_used_again():
    link = network(
        [{"contacts_s": [[0, 100], [1000, 2000]], "outage": {"windows_s": [[2, 7]], "hold": True}}]
    )
    for number in range(4):
        link.send(packet(number), 0)
    assert [when // S for when, *_ in drain(link)] == [1, 2, 8, 9]


def test_what_is_lost_on_a_hop_between_nodes_is_lost():
    link = network([{"loss": {"model": "pattern", "pattern": ".x"}}, {}])
    for number in range(6):
        link.send(packet(number), 0)
    assert len(drain(link)) == 3 and fates(link)[Fate.CHANNEL_LOSS] == 3


LOSSY = {"loss": {"model": "gilbert_elliott", "loss": 0.3, "mean_burst": 3}, "delay_s": 2}


@pytest.mark.parametrize("passes", [[[10, 40], [100, 140], [300, 900]], None])
@pytest.mark.parametrize("start", range(3))
def test_custody_delivers_all_through_loss_and_passes(passes, start):
    contacts = {} if passes is None else {"contacts_s": passes}
    hop = {**LOSSY, **contacts, "retransmit": {"tries": 16, "loss": {"model": "bernoulli", "loss": 0.2}}}
    link = network([hop, hop], seed=start)
    for number in range(30):
        link.send(packet(number), 0)
    arrived = [number for _, number, *_ in drain(link)]
    assert sorted(arrived) == list(range(30))
    check_once(link, [*range(30)])


def test_what_a_hop_gives_up_is_routed_anew():
    never = {"loss": {"model": "bernoulli", "loss": 1.0}, "retransmit": {"tries": 2}}
    link = diamond(never)
    link.send(packet(), 0)
    assert [when // S for when, *_ in drain(link)] == [61]
    assert fates(link)[Fate.REPEATED] >= 2
    alone = network([{**never, "contacts_s": [[0, 100]]}])
    alone.send(packet(), 0)
    drain(alone)
    assert fates(alone)[Fate.NO_ROUTE] == 1


def check_once(link, numbers):
    """Each packet has one end at most before the far end's verdict, and what has none arrived."""
    ends = Counter(row[1] for row in link.rows if row[2] >= Fate.QUEUE_FULL)
    assert all(count == 1 for count in ends.values())
    return ends


# Routes


def promises(edges, node, destination):
    return Promises(tabulate(edges, destination + 1), edges, node, destination)


def brute_force(edges, node, now, size, destination, priority=0, out=()):
    """Return the earliest arrival over all sequences of contacts without a node twice; None: there is none."""
    best = None

    def walk(place, at, seen):
        nonlocal best
        if place == destination:
            best = at if best is None else min(best, at)
            return
        for edge in edges:
            if edge.start == place and edge.end not in seen:
                for contact, (start, end) in enumerate(zip(edge.starts, edge.ends, strict=True)):
                    begin = max(at, start)
                    if place == node:
                        begin = max(begin, edge.busy_until) + sum(edge.promised[contact][: priority + 1])
                    over = begin + edge.lasts(size)
                    if over <= end and not (place == node and (edge.number, contact) in out):
                        walk(edge.end, over + edge.delay, seen | {edge.end})

    walk(node, now, {node})
    return best


@sizes(200, 5000)
def test_the_route_is_the_brute_forces_best(request, size):
    """Whatever a node promised of its own contacts, is sending, found down or was given back by one of them."""
    rng = random.Random(seed(request))
    found: Counter[bool] = Counter()
    changed = 0
    for _ in range(size):
        count = rng.randrange(2, 9)
        edges = []
        for number in range(rng.randrange(1, 3 * count)):
            start, end = rng.sample(range(count), 2)
            times = sorted(rng.sample(range(60), 2 * rng.randrange(1, 3)))
            edges.append(
                Edge(number, start, end, times[::2], times[1::2], rng.randrange(1, 4), 1, rng.randrange(5))
            )
        now, room, priority = rng.randrange(20), rng.randrange(1, 6), rng.randrange(4)
        for node in range(count - 1):
            empty = best = brute_force(edges, node, now, room, count - 1)
            for own in [None, *(edge for edge in edges if edge.start == node)]:
                out = set()
                if own is not None:
                    contact = rng.randrange(len(own.starts))
                    own.promised[contact][rng.randrange(4)] += rng.randrange(12)
                    own.busy_until = rng.choice([0, rng.randrange(30)])
                    out = {(own.number, contact)} if rng.random() < 0.3 else set()
                    own.down = contact if rng.random() < 0.3 else None
                    known = out | {(edge.number, edge.down) for edge in edges if edge.start == node}
                    best = brute_force(edges, node, now, room, count - 1, priority, known)
                    changed += best != empty
                route = promises(edges, node, count - 1).find(now, room, priority, skip=out)
                assert (route[2] if route else None) == best
                found[best is None] += 1
            for edge in edges:
                edge.down = None
    assert min(found.values()) > size / 10, "both kinds were tried"
    assert changed > size / 2, "what the node knew of its own contacts mattered"


def test_ties_go_to_fewer_hops_then_the_lower_number():
    def edge(number, start, end, delay=0):
        return Edge(number, start, end, [0], [100], 1, 1, delay)

    two = [edge(0, 0, 1), edge(1, 1, 2), edge(2, 0, 2, 1)]
    assert promises(two, 0, 2).find(0, 1)[0].number == 2
    assert promises([edge(0, 0, 1), edge(1, 0, 1)], 0, 1).find(0, 1)[0].number == 0


# Both directions, and figures


def test_the_way_back_is_as_before():
    link = network([{"delay_s": 1}, {"delay_s": 2}], **{"return": {"rate_bps": 80}})
    link.send(bytes(10), 0, BACKWARD)
    assert drain(link)[0][0] == 4 * S


@pytest.mark.parametrize(
    ("hops", "more", "says"),
    [
        ([{"contacts_s": [[0, 5], [3, 6]]}], {}, "contacts_s must be in order"),
        ([{"contacts_s": []}], {}, "contacts_s"),
        ([{"between": ["n0", "moon"]}], {}, "there is no node 'moon'"),
        ([{"between": ["n1", "n0"]}], {}, "leads from the last node"),
        ([{}, {}], {"nodes": [{"name": "a"}, {"name": "b"}]}, "2 nodes and 2 hops"),
        ([{"between": ["a", "b"]}], {"nodes": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}, "no hops lead"),
        ([{}], {"nodes": [{"name": "a"}, {"name": "a"}]}, "different names"),
        ([{"rate_bps": None, "trace": "x"}], {}, "rate_bps"),
    ],
)
def test_what_does_not_fit_is_refused(hops, more, says):
    with pytest.raises(ValueError, match=says):
        network(hops, **more)


def test_contacts_need_nodes():
    for more in ({"lifetime_s": 5}, {}):
        hop = {"name": "h", "rate_bps": 1} | ({} if more else {"contacts_s": [[0, 1]]})
        with pytest.raises(ValueError, match=r"need link\.nodes"):
            Link.model_validate({"hops": [hop], **more})


def test_stores_are_written_and_read_again():
    link = diamond(lifetime_s=500)._link
    assert Link.model_validate_json(link.model_dump_json(by_alias=True)) == link
    assert "nodes" not in Link.model_validate({"hops": [{"name": "h", "rate_bps": 1}]}).model_dump_json()
    assert [hop.name for hop in link.way] == ["up-tgo", "down-tgo"] or len(link.way) == 2


def test_many_orders_of_the_same_bundles_conserve():
    """Whatever the order of classes, each bundle ends once."""
    for order in itertools.islice(itertools.permutations((0, 1, 2, 3)), 12):
        nodes = [
            {"name": "a", "store": {"limit_bytes": 350}},
            {"name": "b", "store": {"limit_bytes": 250}},
            {"name": "c"},
        ]
        link = network(
            [{"contacts_s": [[5, 20]]}, {"contacts_s": [[30, 32.5], [50, 60]]}], nodes, lifetime_s=55
        )
        for number, priority in enumerate(order * 2):
            link.send(packet(number, priority), number)
        arrived = drain(link)
        ends = check_once(link, range(8))
        assert len(arrived) + len(ends) == 8 and len(ends) >= 4


def test_passes_that_were_reckoned_are_a_plan_for_nodes():
    """What stands between passes is an outage that holds to a plain hop, and known beforehand to a node."""
    windows = [[0, 10], [20, 30]]
    hop = HopConfig.model_validate(
        {"name": "h", "rate_bps": 800, "outage": {"windows_s": windows, "hold": True}}
    )
    unknown = make_edge(0, hop, (0, 1))
    assert (unknown.starts, unknown.ends) == ([0], [FOREVER_NS])
    passes = hop.model_copy(update={"contacts": ("reckoned",)})
    known = make_edge(0, passes, (0, 1))
    assert (known.starts, known.ends) == ([10 * S, 30 * S], [20 * S, FOREVER_NS])
