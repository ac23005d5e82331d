#!/usr/bin/env bash
# Cancel every job of the Slurm that start_slurm.sh started, stop its daemons, by their ids, and remove its files.
set -uo pipefail
CLUSTER_DIR=${CLUSTER_DIR:-/run/pipeline-slurm}
[ -e "$CLUSTER_DIR/env.sh" ] || exit 0
. "$CLUSTER_DIR/env.sh"

timeout 15 scancel --state=PENDING 2>/dev/null
timeout 15 scancel --state=RUNNING 2>/dev/null
for _ in $(seq 50); do
  [ -n "$(timeout 5 squeue --noheader 2>/dev/null)" ] || break
  sleep 0.2
done
for file in "$CLUSTER_DIR"/slurmd.*.pid "$CLUSTER_DIR/slurmctld.pid" "$CLUSTER_DIR/munge/pid"; do
  [ -s "$file" ] || continue
  pid=$(cat "$file")
  kill "$pid" 2>/dev/null || continue
  for _ in $(seq 50); do
    kill -0 "$pid" 2>/dev/null || continue 2
    sleep 0.2
  done
  kill -9 "$pid" 2>/dev/null
done
# without its daemons, a configuration that stays makes every call of Snakemake wait for ten seconds
for name in slurm.conf gres.conf; do
  [ "$(readlink "/etc/slurm/$name")" != "$CLUSTER_DIR/$name" ] || rm -f "/etc/slurm/$name"
done
[ "${1:-}" = --keep-logs ] && rm -f "$CLUSTER_DIR/env.sh" || rm -rf "$CLUSTER_DIR"
