#!/usr/bin/env bash
# Submit a job script to SGE, PBS or LSF, and print the job's id and nothing else:
# submit.sh sge|pbs|lsf THREADS MEMORY_MB RUNTIME_MINUTES GPUS [OPTION...] SCRIPT
# Options are those of your site (account, queue, project). Logs go to logs/cluster/.
set -euo pipefail
[ $# -ge 6 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
scheduler=$1 threads=$2 memory_mb=$3 minutes=$4 gpus=$5
shift 5
mkdir -p logs/cluster
gpu=()
case $scheduler in
  sge)
    # SGE counts h_vmem a slot, and knows GPUs by a name that the site has chosen, most often this
    [ "$gpus" = 0 ] || gpu=(-l "gpu=$gpus")
    qsub -terse -V -cwd -j yes -o logs/cluster/ -pe smp "$threads" \
      -l "h_rt=$((minutes * 60))" -l "h_vmem=$(((memory_mb + threads - 1) / threads))M" "${gpu[@]}" "$@"
    ;;
  pbs)
    qsub -V -j oe -o logs/cluster/ -l "walltime=$(printf '%02d:%02d:00' $((minutes / 60)) $((minutes % 60)))" \
      -l "select=1:ncpus=$threads:mem=${memory_mb}mb$([ "$gpus" = 0 ] || echo ":ngpus=$gpus")" "$@"
    ;;
  lsf)
    [ "$gpus" = 0 ] || gpu=(-gpu "num=$gpus")
    bsub -o 'logs/cluster/%J.log' -n "$threads" -R 'span[hosts=1]' -W "$minutes" -M "${memory_mb}MB" "${gpu[@]}" "$@" |
      sed -n 's/^Job <\([0-9]*\)>.*/\1/p'
    ;;
  *)
    echo "error: scheduler '$scheduler' is unknown; allowed: sge, pbs, lsf" >&2
    exit 2
    ;;
esac
