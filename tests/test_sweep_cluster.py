"""The same cells on a Ray cluster. A cluster is started here, on the loopback address."""

import importlib

import psutil
import pytest
from ports import free_port
from test_sweep import asked, tables

from link.errors import UsageError
from scenarios.sweep import work


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """Every test has a cache of its own."""
    monkeypatch.setenv("FARLINK_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_without_ray_one_line_says_what_to_install(tmp_path, monkeypatch):
    found = importlib.import_module

    def missing(name, *more):
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return found(name, *more)

    monkeypatch.setattr("scenarios.sweep.cluster.importlib.import_module", missing)
    with pytest.raises(UsageError, match=r"pip install 'farlink\[cluster\]'"):
        work.sweep(asked(), work.Options(ray="local"), tmp_path / "out")


@pytest.mark.slow
def test_a_cluster_comes_to_the_same_as_this_process(tmp_path):
    pytest.importorskip("ray")
    request = asked({"codec.name": ["webp", "gsc"], "codec.frame_bytes": [200, 400]}, seeds=(1, 2))
    here = work.sweep(request, work.Options(workers=0), tmp_path / "here")
    assert here.tally.done == 8, here.failures
    for address in ("auto", "local"):
        options = work.Options(ray=address, workers=2, cache=False)
        there = work.sweep(request, options, tmp_path / address)
        assert there.tally.done == 8, there.failures
        assert tables(tmp_path / address) == tables(tmp_path / "here")


@pytest.mark.slow
def test_a_cluster_that_is_started_here_listens_on_the_loopback_address_alone():
    pytest.importorskip("ray")
    from scenarios.sweep.cluster import Cluster

    cluster = Cluster("local", 1, 0.0)
    try:
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        doors = [
            door.laddr.ip
            for process in processes
            for door in process.net_connections("tcp")
            if door.status == psutil.CONN_LISTEN
        ]
        assert len(doors) >= 3
        assert {door.removeprefix("::ffff:") for door in doors} == {"127.0.0.1"}
        started = psutil.Process().children(recursive=True)
    finally:
        cluster.close()
    _gone, alive = psutil.wait_procs(started, timeout=30)
    assert not alive


@pytest.mark.slow
def test_a_cluster_that_is_not_there_and_gpus_that_it_lacks_are_told(tmp_path):
    pytest.importorskip("ray")
    port = free_port()
    from scenarios.sweep.cluster import Cluster

    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(UsageError, match=f"--ray {address}: no cluster answers there"):
            Cluster(address, 1, 0.0)
    for address in ("here", "host:port", ":6379", "127.0.0.1:99999"):
        with pytest.raises(UsageError, match="was expected"):
            Cluster(address, 1, 0.0)
    with pytest.raises(UsageError, match="--gpus-per-worker 8: the cluster has"):
        Cluster("local", 1, 8.0)
