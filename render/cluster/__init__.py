"""The cluster: start workers on Ray, give them units, and recover when one dies.

Eight parts. `driver` gives out units as `dispatch` decides, and holds the fault policy; the workers that live are its
`crew`, an `actor` each. `scale` says how many there may be on a cluster whose machines come and go, `leaving` lets those
go whose machines are to end. `ray_link` starts Ray or connects to it, notices when it dies, and ends it; a `guardian`
process does so when the driver can't. `worker` renders units to committed shards with one pipeline at a time, and knows
nothing of Ray. `lane` runs the frames of one shape and model through a renderer, and retries those that raise. `metrics`
counts for Prometheus what the driver hears. `signals` keeps the program's signal handlers while Ray starts and stops.

Promises: every unit given to `Cluster.render` ends in a receipt, or a RunError ends the run. A frame that fails again and
again, or kills its workers, is put in quarantine; the frames beside it are rendered. Pixels never pass through the driver.

May be touched: the output folder of the run (its shards, commits and quarantine, through the store's ledger), Ray, and a
scratch folder for Ray's files. Its doors are the names in `__all__`.
"""

from __future__ import annotations

from render.cluster.driver import Cluster
from render.cluster.metrics import RayMetrics
from render.cluster.setup import Setup
from render.cluster.tasks import Tasks

__all__ = [
    "Cluster",
    "RayMetrics",
    "Setup",
    "Tasks",
]
