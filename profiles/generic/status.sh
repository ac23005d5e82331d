#!/usr/bin/env bash
# status.sh ID prints what has become of a job of LSF, SGE or PBS: running (also while it waits), success or failed.
# A scheduler that gives no answer, or does not know the job yet, is asked again later.
set -uo pipefail
id=$1

# the value of a line `name value` or `name = value`
field() { sed -n "s/^ *$1[ =]* //p" | head -n 1 | tr -d ' '; }

if command -v bjobs >/dev/null; then
  case $(bjobs -noheader -o stat "$id" 2>/dev/null) in
    DONE) echo success ;;
    EXIT) echo failed ;;
    *) echo running ;;
  esac
elif command -v qacct >/dev/null; then
  if state=$(qstat 2>/dev/null | awk -v id="$id" '$1 == id { print $5 }') && [ -n "$state" ]; then
    # Eqw: it could not be started, and waits for ever
    case $state in *E*) echo failed ;; *) echo running ;; esac
  elif record=$(qacct -j "$id" 2>/dev/null); then
    [ "$(field exit_status <<<"$record")" = 0 ] && [ "$(field failed <<<"$record")" = 0 ] && echo success || echo failed
  else
    echo running
  fi
else
  # OpenPBS keeps finished jobs for -x, Torque shows them without
  record=$(qstat -x -f "$id" 2>/dev/null || qstat -f "$id" 2>/dev/null)
  case $(field job_state <<<"$record") in
    F | C) [ "$(field '[Ee]xit_status' <<<"$record")" = 0 ] && echo success || echo failed ;;
    *) echo running ;;
  esac
fi
