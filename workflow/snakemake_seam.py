"""The one place that reaches into Snakemake: what the Snakefile calls so that each run begins with our own checks.

Snakemake has no hook between parsing and planning, so `guard_runs` puts a function in the place of the workflow's
`execute`. What is asked for is known by then, and nothing has been written. It may be called a second time.

What it leans on, though Snakemake does not promise it; tests/workflow/test_snakemake_seam.py names what a new Snakemake
has taken away:

- `Workflow.execute`, an attribute of the object that may be replaced, called with the keywords `executor_plugin` and
  `executor_settings`;
- `Workflow.is_main_process`: false in the processes of a cluster's jobs, which are told what to run;
- `Workflow.dag_settings` with `targets` and `forcerun`, sets of names that planning reads after `execute` has begun;
- `Workflow.logger_manager` with `get_logfile()`: the paths of the run's log;
- `executor_plugin.name` and `executor_plugin.common_settings.dryrun_exec`;
- `Workflow._prepare_dag`, which `execute` calls with the keywords `lock_warn_only` and `nolock`; the first goes before;
- `cancel_cmd` and `status_cmd`, settings of the executor cluster-generic.

The Snakefile itself asks `Workflow.deployment_settings` for its `deployment_method`.

`workflow.run_guard` reads what Snakemake leaves on disc, which is in the same test: the folder `locks`, the ids of a
cluster's jobs (`external_jobid`) in the folder `incomplete`, and `SLURM run ID:` in the log. That the notes in
`incomplete` are named by the file's path in base64 is in tests/workflow/test_run_guard.py.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from preprocess.running.cli import UserError
from preprocess.running.orphans import WATCHED_VARIABLE, machine, process_name
from workflow.plan import older_extras
from workflow.run_guard import BOOKS, Run, begin
from workflow.scans import force_scans
from workflow.snakemake_planning import ContentPlanner, plan_by_content

# Targets that write no file: asked for alone, they need no lock, and tell of the run that holds it.
READING_TARGETS = frozenset({"status"})


# A run starts again by itself when files that it made came out as nobody expected, such as the lists of a new index.
_MOST_ROUNDS = 3


class RunRefused(WorkflowError):
    """Snakemake prints where an error was raised; of this one only the message is of use."""

    __traceback__ = None


def guard_runs(workflow: Any, datasets: Iterable[str]) -> None:
    """Have every run of a workflow scan the raw folders that are asked for, and be alone in its folder.

    Only when it comes to running does anything happen. Dry runs and targets that write nothing take no lock.

    Args:
        workflow: Snakemake's workflow, which is the main one or one inside a cluster's job.
        datasets: Names of all data sets of the config.
    """
    os.environ[WATCHED_VARIABLE] = process_name(os.getpid())
    planner = plan_by_content(workflow, Path(workflow.basedir) / "workflow/rules")
    if not workflow.is_main_process:
        return
    execute = workflow.execute

    def execute_guarded(*, executor_plugin: Any, executor_settings: Any, **options: Any) -> Any:
        settings = workflow.dag_settings
        try:
            settings.targets, settings.forcerun = force_scans(settings.targets, settings.forcerun, datasets)
            reads_only = bool(settings.targets) and READING_TARGETS.issuperset(settings.targets)
            if executor_plugin.common_settings.dryrun_exec:
                _ignore_locks(workflow)
            elif not reads_only:
                logs = workflow.logger_manager.get_logfile()
                begin(_this_run(logs, executor_plugin.name, executor_settings))
                planner.tidy()
        except UserError as error:
            raise RunRefused(str(error)) from None
        options |= {"executor_plugin": executor_plugin, "executor_settings": executor_settings}
        execute(**options)
        if not (workflow.dryrun or workflow.touch or reads_only):
            _go_on(workflow, planner, lambda: execute(**options))

    workflow.execute = execute_guarded


def _go_on(workflow: Any, planner: ContentPlanner, execute: Callable[[], object]) -> None:
    """After a run: make what it has left outdated, and tell of older results that nobody asked for."""
    n_rounds = 0
    while planner.outdated_after_run():
        if n_rounds == _MOST_ROUNDS:
            raise RunRefused(
                f"files are still outdated after {_MOST_ROUNDS} more rounds: something changes them while this run "
                "makes them, another program or two rules that write one file; find it with --dry-run"
            )
        execute()
        n_rounds += 1
    if workflow.dag._finished:
        for files, why in older_extras(workflow.globals["config"], Path()):
            logger.warning(f"{files[0]} is outdated and was not asked for: {why}. To make it again, ask for it.")


def _ignore_locks(workflow: Any) -> None:
    """Have a dry run say nothing of Snakemake's own locks, which a killed run has left, or a living one holds."""
    prepare = workflow._prepare_dag
    workflow._prepare_dag = lambda **options: prepare(**(options | {"lock_warn_only": False, "nolock": True}))


def _this_run(logs: list[str], executor: str, executor_settings: Any) -> Run:
    return Run(
        books=str(BOOKS.absolute()),
        token=uuid.uuid4().hex,
        process=process_name(os.getpid()),
        pid=os.getpid(),
        host=socket.gethostname(),
        machine=machine(),
        start=time.strftime("%Y-%m-%d %H:%M:%S"),
        command=shlex.join(["snakemake", *sys.argv[1:]]),
        log=os.path.abspath(logs[0]) if logs else None,
        executor=executor,
        cancel=getattr(executor_settings, "cancel_cmd", None),
        status=getattr(executor_settings, "status_cmd", None),
    )
