#!/usr/bin/env bash
# Purpose   A night on a Slurm cluster: one Ray over the nodes of the allocation, one run on it, ended in order and put into
#           the queue again before the time limit. The same command resumes, so a night too short is finished by the next.
# Command   sbatch --nodes=8 jobs/cluster/slurm.sh jobs/stills.yaml output=/shared/out/stills
# Hardware  Nodes with GPUs, and a file system that all of them share for output and models (or output=s3://BUCKET/PREFIX).
# Time      As the job takes; at most --time, again and again until it is done.
#SBATCH --job-name=nightrender
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@180
set -euo pipefail

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 10000))
# Who has the token of a Ray can run anything on it: this one is for this allocation alone, and srun passes it on.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_USAGE_STATS_ENABLED=0

on() { # NODE COMMAND …: a step beside the others, in the place of the subshell that calls it
    exec srun --overlap --nodes=1 --ntasks=1 --nodelist="$1" "${@:2}"
}

servers=()
end_servers() {
    kill "${servers[@]}" 2>/dev/null || true
    wait "${servers[@]}" 2>/dev/null || true
}
trap end_servers EXIT

on "$head" ray start --head --block --port="$port" --include-dashboard=false --disable-usage-stats &
servers+=($!)
for node in "${nodes[@]:1}"; do # a node that is late, or comes back, gets workers when it is there
    on "$node" bash -c "until ray health-check --address=$head:$port; do sleep 2; done 2>/dev/null >&2
        exec ray start --block --address=$head:$port --disable-usage-stats" &
    servers+=($!)
done
until ray health-check --address="$head:$port" >/dev/null 2>&1; do
    kill -0 "${servers[0]}" || { echo "Ray did not start on $head"; exit 1; }
    sleep 1
done

render run "$@" workers.address="$head:$port" &
run=$!
again=false
trap 'again=true; kill -TERM $run 2>/dev/null || true' TERM # the time limit is near
code=0
wait $run || code=$?
if $again; then # the first wait has ended with the signal
    code=0
    wait $run || code=$?
    case $code in
    0 | 2 | 3) ;; # done, bad input, done with frames in quarantine
    *) scontrol requeue "$SLURM_JOB_ID" ;;
    esac
fi
exit $code
