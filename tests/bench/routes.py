"""Routes for 1,000 bundles over plans of 10,000 contacts: processor seconds, without and with what was promised.

A dense plan (each node hears each other once a day) has the most pairs to look at, a sparse one the longest routes.
"""

import time

from link.plans.plan import ContactPlan
from link.plans.routes import Router
from link.seeds import generator

BUNDLES, CONTACTS, DAY_S = 1000, 10_000, 86_400.0


def plan_of(nodes: int, neighbours: int, seed: int = 1) -> ContactPlan:
    """Return *CONTACTS* contacts of some minutes in a day, each node with so many neighbours."""
    rng = generator(seed, f"bench.routes.{nodes}")
    rows = []
    for _ in range(CONTACTS):
        near = int(rng.integers(nodes))
        far = (near + 1 + int(rng.integers(neighbours))) % nodes
        start = float(rng.uniform(0.0, DAY_S))
        rows.append(
            (near, far, start, start + float(rng.uniform(60.0, 900.0)), 2e5, float(rng.integers(1, 5)))
        )
    return ContactPlan.of(rows)


def route_all(plan: ContactPlan, nodes: int, promise: bool) -> tuple[float, int]:
    """Return (seconds, routes found) for bundles at random nodes, times and sizes."""
    router = Router(plan)
    rng = generator(2, f"bench.bundles.{nodes}")
    found = 0
    started = time.process_time()
    for _ in range(BUNDLES):
        near, step = int(rng.integers(nodes)), int(rng.integers(1, nodes))
        at_ns, size = int(rng.uniform(0.0, 0.5 * DAY_S) * 1e9), int(rng.integers(1000, 100_000))
        route = router.find(str(near), str((near + step) % nodes), size, at_ns)
        if route is not None:
            found += 1
            if promise:
                router.promise(route)
    return time.process_time() - started, found


def main() -> None:
    """Print the table."""
    print(f"{BUNDLES} bundles, {CONTACTS} contacts   plain s   with promises s   routes")
    for nodes, neighbours in ((10, 9), (30, 8), (100, 10), (100, 99)):
        plan = plan_of(nodes, neighbours)
        plain, found = route_all(plan, nodes, False)
        promised, _ = route_all(plan, nodes, True)
        print(f"{nodes:4d} nodes, {neighbours:2d} neighbours {plain:18.2f} {promised:17.2f} {found:8d}")


if __name__ == "__main__":
    main()
