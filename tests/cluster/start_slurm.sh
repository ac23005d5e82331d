#!/usr/bin/env bash
# A real Slurm on one machine, for the tests: two nodes, one of them with a GPU that is only pretended.
# No systemd, no cgroups (memory limits are not enforced), no accounting database (ask squeue, not sacct), loopback
# only. Needs root and Debian or Ubuntu. Everything lives in $CLUSTER_DIR, where env.sh says how to reach it; the
# two links in /etc/slurm go with `stop_slurm.sh`.
set -euo pipefail
CLUSTER_DIR=${CLUSTER_DIR:-/run/pipeline-slurm}

fail() { echo "error: $*" >&2; exit 1; }

packages=(slurmctld slurmd slurm-client munge)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -qx 'install ok installed' || missing+=("$package")
done
[ "$(id -u)" = 0 ] || fail "a Slurm of its own needs root, this is user $(id -un); run as root in a machine or container of its own${missing:+, where these packages are missing: ${missing[*]}}"
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || fail "missing: ${missing[*]}; install them, only apt-get is known here"
  export DEBIAN_FRONTEND=noninteractive
  # keep the packages from starting daemons of their own
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || fail "could not install ${missing[*]}"
fi
for name in slurm.conf gres.conf; do
  link=/etc/slurm/$name
  if [ -e "$link" ] && [ "$(readlink "$link")" != "$CLUSTER_DIR/$name" ]; then
    fail "$link belongs to another Slurm; this test wants a machine without one"
  fi
done

host=$(hostname -s)
install -d -m 755 "$CLUSTER_DIR" "$CLUSTER_DIR"/{log,munge,state,gpu,spool} /etc/slurm
printf 'export CLUSTER_DIR=%q SLURM_CONF=%q\n' "$CLUSTER_DIR" "$CLUSTER_DIR/slurm.conf" >"$CLUSTER_DIR/env.sh"
. "$CLUSTER_DIR/env.sh"

# a GPU must be a character device, whose trailing number becomes CUDA_VISIBLE_DEVICES: a copy of /dev/null
[ -e "$CLUSTER_DIR/gpu/0" ] || mknod -m 666 "$CLUSTER_DIR/gpu/0" c 1 3
echo "NodeName=gpunode Name=gpu File=$CLUSTER_DIR/gpu/0" >"$CLUSTER_DIR/gres.conf"
# More cores and memory than there are, so that what the rules ask for fits. KillWait is short for quick scancel;
# MinJobAge is how long squeue shows finished jobs. Jobs that need no GPU go to cpunode while it is up.
cat >"$CLUSTER_DIR/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$CLUSTER_DIR/munge/socket,cred_expire=15
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=6817
SlurmctldPidFile=$CLUSTER_DIR/slurmctld.pid
SlurmdPidFile=$CLUSTER_DIR/slurmd.%n.pid
StateSaveLocation=$CLUSTER_DIR/state
SlurmdSpoolDir=$CLUSTER_DIR/spool/%n
SlurmctldLogFile=$CLUSTER_DIR/log/slurmctld.log
SlurmdLogFile=$CLUSTER_DIR/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
GresTypes=gpu
ReturnToService=2
EnforcePartLimits=ALL
KillWait=3
MinJobAge=3600
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=50000,bf_interval=1
NodeName=gpunode NodeHostname=$host NodeAddr=127.0.0.1 Port=6818 CPUs=8 RealMemory=64000 Gres=gpu:1 Weight=10
NodeName=cpunode NodeHostname=$host NodeAddr=127.0.0.1 Port=6819 CPUs=8 RealMemory=64000 Weight=1
PartitionName=all Nodes=gpunode,cpunode Default=YES MaxTime=1-0 DefaultTime=60 DefMemPerCPU=100
END
# the plugin's job steps drop SLURM_CONF, so the files must stand where Slurm looks by itself
for name in slurm.conf gres.conf; do ln -sfn "$CLUSTER_DIR/$name" "/etc/slurm/$name"; done

running() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }
[ -s "$CLUSTER_DIR/munge/key" ] || (umask 077; head -c 1024 /dev/urandom >"$CLUSTER_DIR/munge/key")
running "$CLUSTER_DIR/munge/pid" || munged --force --key-file="$CLUSTER_DIR/munge/key" \
  --socket="$CLUSTER_DIR/munge/socket" --pid-file="$CLUSTER_DIR/munge/pid" \
  --log-file="$CLUSTER_DIR/log/munged.log" --seed-file="$CLUSTER_DIR/munge/seed" 2>>"$CLUSTER_DIR/log/munged.log"
running "$CLUSTER_DIR/slurmctld.pid" || slurmctld
for node in gpunode cpunode; do
  running "$CLUSTER_DIR/slurmd.$node.pid" || slurmd -N "$node"
done

for _ in $(seq 150); do
  if [ "$(sinfo --noheader --Node --format=%t 2>/dev/null | grep -cx idle)" = 2 ]; then
    sinfo --Node
    exit 0
  fi
  sleep 0.2
done
tail -n 20 "$CLUSTER_DIR"/log/*.log >&2
fail "Slurm did not come up in 30 s; its logs are above and in $CLUSTER_DIR/log"
