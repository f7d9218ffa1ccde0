"""A Ray cluster on this machine, for a scenario: nodes join and leave, as lines on stdin ask for. Prints its address."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from ray.cluster_utils import Cluster

MEMORY_BYTES = 100 * 2**20


def main() -> None:
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=MEMORY_BYTES) for _ in range(2)]
    print(f"machines: {cluster.address}", flush=True)
    for line in sys.stdin:
        if line.strip() == "join":
            nodes.append(cluster.add_node(num_cpus=1, object_store_memory=MEMORY_BYTES))
        elif nodes:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        print("machines: done", flush=True)


if __name__ == "__main__":
    main()
