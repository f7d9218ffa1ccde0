"""The cluster: start workers on Ray, give them units, and recover when one dies.

Its modules, by where they run. The driver, beside Ray:

| module | what it does |
|---|---|
| `driver` | goes through a run: gives out units, takes receipts, and holds the fault policy |
| `crew` | holds the workers that live: starts and kills them |
| `reports` | asks each worker for reports, and tells the listener |
| `leaving` | lets the workers go whose machines are to end |
| `scale` | looks how many workers a cluster has room for, and asks its autoscaler for more |
| `pulse` | says what a run waits for when nothing is heard |
| `metrics` | counts for Prometheus what the driver hears |

The driver, pure logic:

| module | what it does |
|---|---|
| `dispatch` | decides which worker gets which unit |
| `stragglers` | finds units that the end waits for, and who is to render copies |
| `hand` | knows the units in one worker's hands, and its pace |
| `tally` | counts finished frames, each once |
| `starts` | decides when a further worker may be started |
| `room` | computes how many workers fit on machines |
| `reasons` | says in a line why a worker was lost |

The worker, a process each:

| module | what it does |
|---|---|
| `actor` | is the Ray actor: loads a worker, passes calls on, reports |
| `worker` | renders units to committed shards with one pipeline at a time; knows nothing of Ray |
| `feed` | holds the units that were handed in, and chooses the frame that starts next |
| `lane` | runs the frames of one shape and model in batches, and retries those that raise |
| `finish` | decodes, encodes and writes beside the denoising |
| `batch_book` | keeps the batch sizes that were measured |
| `memory` | finds the batch size that memory lasts for |
| `meter` | counts what batches held |
| `progress` | is a worker's report |
| `setup` | is what all workers of a run share |

Ray:

| module | what it does |
|---|---|
| `tasks` | calls a function for each item of a list, for what is no rendering |
| `ray_link` | starts Ray or connects to it, and ends it |
| `local_ray` | is the Ray of one run: its folder and its servers |
| `guardian` | ends that Ray where the driver can't: a process |
| `cluster_watch` | notices when a cluster's head or this machine's raylet is gone |
| `ray_calls` | makes calls that may never return, in a thread |
| `signals` | keeps the program's signal handlers while Ray starts and stops |
| `cluster_facts` | prints what a cluster has: a program |

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
