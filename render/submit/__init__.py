"""From here to a Ray cluster: submit a job by Ray's Jobs API, list, follow and stop what was submitted.

Five parts. `client` is Ray's own client of the dashboard, with an end to each wait. `look` asks the cluster what it has
and, by a small job that runs `probe`, what is installed there and which folders its nodes share. `reach` and `versions`
judge the answers, `package` packs what travels, `submission` does all of it in order. `jobs` is for afterwards.

Promises: nothing is submitted on bad input, or where the nodes could not run the job or write its output. Two jobs never
render into one output. No token, password or signature is written, logged or sent along. May be touched: the dashboard,
the output folder (which is begun from here where that is possible), and folders for temporary files.
"""

from __future__ import annotations

from render.submit.client import Dashboard, address_of, connect
from render.submit.jobs import JobFacts, JobWatch, find_job, follow, job_log, list_jobs, stop_job, watch_job
from render.submit.submission import Submitted, submit_job

__all__ = [
    "Dashboard",
    "JobFacts",
    "JobWatch",
    "Submitted",
    "address_of",
    "connect",
    "find_job",
    "follow",
    "job_log",
    "list_jobs",
    "stop_job",
    "submit_job",
    "watch_job",
]
