"""What a run says of its nodes: in its figures, its listing and its page; the same again under the same seed."""

import pytest
from test_nodes import DIAMOND
from toys import run, session

from link.events import Fate
from link.journal import digest
from scenarios.report import packets, stores
from scenarios.results import traffic
from scenarios.results.stores import stays

LINK = {
    "mtu_bytes": 128,
    "nodes": [{**DIAMOND[0], "store": {"limit_bytes": 2500}}, *DIAMOND[1:]],
    "lifetime_s": 400,
    "hops": [
        {
            "name": "up-mro", "rate_bps": 4000, "between": ["rover", "mro"], "contacts_s": [[30, 40], [200, 210]],
            "outage": {"windows_s": [[190, 205]], "hold": True},
        },
        {"name": "up-tgo", "rate_bps": 4000, "between": ["rover", "tgo"], "contacts_s": [[90, 100], [220, 260]]},
        {"name": "down-mro", "rate_bps": 800, "delay_s": 20, "between": ["mro", "earth"], "contacts_s": [[60, 400]]},
        {"name": "down-tgo", "rate_bps": 800, "delay_s": 20, "between": ["tgo", "earth"], "contacts_s": [[120, 200], [700, 900]]},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "run.mcap"
    made = run(session(LINK, period_s=50.0), path, 6)
    again = tmp_path_factory.mktemp("again") / "run.mcap"
    run(session(LINK, period_s=50.0), again, 6)
    assert digest(again) == digest(path)
    return made


def test_a_run_says_where_bundles_waited_and_why_they_died(found):
    traffic.check_conservation(found)
    whole = traffic.traffic(found)
    rover, mro, tgo, earth = (whole.nodes[node["name"]] for node in DIAMOND)
    dropped = whole.forward["dropped"]
    for reason in ("expired", "store_full", "no_route"):
        told = sum(node["dropped"].get(reason, 0) for node in (rover, mro, tgo, earth))
        assert told == dropped.get(reason, 0)
    assert rover["dropped"]["store_full"] > 0 and dropped.get("no_route", 0) + dropped.get("expired", 0) > 0
    assert 2000 < rover["peak_bytes"] <= 2500
    assert mro["waited"] > 0 and tgo["waited"] > 0
    assert rover["wait_s"]["max"] >= rover["wait_s"]["mean"] > 0
    assert whole.cost.on_air <= sum(len(data) for data in found.data.values())


def test_the_listing_names_each_stay(found):
    records = list(packets.records(found))
    told = [store for record in records for store in record["stores"]]
    assert len(told) == len(stays(found))
    assert {store["node"] for store in told if store["fate"] == "stored"} == {"rover", "mro", "tgo"}
    text = "\n".join(packets.lines(found))
    assert "rover kept 30.000 until 30.000" in text
    assert "node rover: " in text and "store full" in text


def test_the_page_draws_stores(found):
    drawn = stores.draw(found)
    assert drawn is not None and drawn.name == "stores"
    assert "red" in drawn.caption and "died" in drawn.caption
    assert drawn.wide.startswith(b"<?xml") and drawn.wide == stores.draw(found).wide


def test_a_link_without_nodes_has_none_of_it(tmp_path):
    plain = run(session({"hops": [{"name": "h", "rate_bps": 4000}]}), tmp_path / "run.mcap", 1)
    assert stores.draw(plain) is None and traffic.traffic(plain).nodes == {}
    assert all("stores" not in record for record in packets.records(plain))
    assert not (plain.rows[:, 2] == Fate.STORED).any()
