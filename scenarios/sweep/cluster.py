"""Workers of a Ray cluster: the same cell function as a remote task. Results come back to the driver alone.

Ray is the extra `cluster`. A cluster that is started here listens on the loopback address, without dashboard and
without usage statistics. Workers on other machines need the same farlink, models and data under the same paths.
"""

import http.client
import importlib
import os
from typing import Any

from link.errors import FarlinkError, UsageError
from scenarios.sweep.cells import Job, Outcome
from scenarios.sweep.worker_process import timed

_ANSWER_S = 10.0
_LOOPBACK = "127.0.0.1"
_STORE_BYTES = 128 << 20  # outcomes are a few hundred KB


class Cluster:
    """As many tasks at once as the cluster has cores, or GPUs divided by *gpus* where that is not 0.

    *address* is `local` (a cluster of this machine's), `auto` (one that runs, else as `local`) or one's address.
    Raise UsageError where Ray is not installed or nothing answers at *address*.
    """

    def __init__(self, address: str, slots: int | None, gpus: float) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError:
            raise UsageError("--ray needs the package ray: pip install 'farlink[cluster]'") from None
        self._connect(address, slots)
        there = self._ray.cluster_resources()
        if gpus and there.get("GPU", 0.0) < gpus:
            self.close()
            raise UsageError(f"--gpus-per-worker {gpus:g}: the cluster has {there.get('GPU', 0):g} GPUs")
        most = int(there["GPU"] / gpus + 1e-9) if gpus else int(there.get("CPU", 1))
        self.slots = max(1, min(most, int(there.get("CPU", 1))) if slots is None else slots)
        options = {"num_cpus": 1, "max_retries": 0, "max_calls": 0, **({"num_gpus": gpus} if gpus else {})}
        self._task = self._ray.remote(**options)(timed)
        self._running: dict[Any, int] = {}

    def _connect(self, address: str, slots: int | None) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "ignore_reinit_error": False}
        if address not in ("local", "auto"):
            _knock(address)
        if address != "local":
            try:
                self._ray.init(address=address, **quiet)
                return
            except ConnectionError as error:
                if address != "auto":
                    raise UsageError(f"--ray {address}: no cluster answers there: {_line(error)}") from None
            except Exception as error:
                raise UsageError(f"--ray {address}: {_line(error)}") from None
        # Ray listens on all addresses, whatever it is told, unless it believes that there are no clusters here.
        constants: Any = importlib.import_module("ray._private.ray_constants")
        before, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
        try:
            self._ray.init(
                address="local",
                num_cpus=slots,
                include_dashboard=False,
                _node_ip_address=_LOOPBACK,
                object_store_memory=_STORE_BYTES,
                **quiet,
            )
            own = self._ray.util.get_node_ip_address()
        except Exception as error:
            raise FarlinkError(f"--ray {address}: no cluster could be started here: {_line(error)}") from None
        finally:
            constants.ENABLE_RAY_CLUSTER = before
        if own != _LOOPBACK:
            self.close()
            raise FarlinkError(
                f"--ray {address}: this version of Ray would listen on {own}; start a cluster yourself and give its "
                "address, or go without --ray"
            )

    def start(self, slot: int, job: Job) -> None:
        """Hand *job* to the cluster."""
        self._running[self._task.remote(job)] = slot

    def wait(self) -> list[tuple[int, Outcome]]:
        """Return what became of the tasks that ended, when at least one has."""
        ready, _ = self._ray.wait(list(self._running), num_returns=1)
        outcomes: list[tuple[int, Outcome]] = []
        for task in ready:
            slot = self._running.pop(task)
            try:
                outcomes.append((slot, self._ray.get(task)))
            except self._ray.exceptions.RayError as error:
                outcomes.append((slot, {"died": f"the cluster's worker died: {_line(error)}"}))
        return outcomes

    def close(self) -> None:
        """Give up what is running, and leave the cluster; one that was started here ends."""
        self._ray.shutdown()


def _knock(address: str) -> None:
    """Raise UsageError where nothing answers at *address*: Ray itself tries for a quarter of an hour."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--ray {address}: local, auto or an address like 192.0.2.7:6379 was expected")
    door = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_ANSWER_S)
    try:
        door.connect()
    except OSError as error:
        raise UsageError(f"--ray {address}: no cluster answers there: {_line(error)}") from None
    finally:
        door.close()


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
