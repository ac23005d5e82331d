"""The seam to Snakemake: what it does before a run, and whether the installed Snakemake still has what it leans on."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake.api
import snakemake_executor_plugin_cluster_generic as cluster_generic
import snakemake_executor_plugin_slurm as slurm
from snakemake.dag import DAG
from snakemake.exceptions import WorkflowError
from snakemake.io import _IOFile
from snakemake.jobs import Job
from snakemake.logging import LoggerManager
from snakemake.persistence import PersistenceBase
from snakemake.persistence.file import FilePersistence
from snakemake.settings.types import DAGSettings, DeploymentSettings
from snakemake.workflow import Workflow
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from preprocess.running.orphans import WATCHED_VARIABLE
from workflow import snakemake_planning, snakemake_seam
from workflow.snakemake_seam import guard_runs

# --- what a new Snakemake may take away ------------------------------------------------------------------------


def attributes() -> set[str]:
    return {field.name for field in dataclasses.fields(Workflow)}


def executors_tell_whether_they_run() -> bool:
    found = {name: ExecutorPluginRegistry().get_plugin(name) for name in ("local", "dryrun")}
    return all(
        plugin.name == name and plugin.common_settings.dryrun_exec is (name == "dryrun")
        for name, plugin in found.items()
    )


def settings_can_be_replaced() -> bool:
    settings = DAGSettings(targets={"a"}, forcerun={"b"})
    settings.targets, settings.forcerun = {"c"}, {"d"}
    return (settings.targets, settings.forcerun) == ({"c"}, {"d"})


def ids_of_jobs_are_kept(folder: Path) -> bool:
    FilePersistence(path=folder)._mark_incomplete("data/a.parquet", "17")
    kept = [json.loads(path.read_text()) for path in (folder / "incomplete").rglob("*") if path.is_file()]
    return [note["external_jobid"] for note in kept] == ["17"]


def locks_lie_in_their_folder(folder: Path) -> bool:
    FilePersistence(path=folder)._write_locks("output", ["data/a.parquet"])
    return any((folder / "locks").iterdir())


CALL = inspect.getsource(snakemake.api.DAGApi.execute_workflow)
# by the words of the seam's docstring: what it is for, and whether it is there
INTERNALS: dict[str, tuple[str, Callable[[Path], bool]]] = {
    "Workflow.execute": (
        "to do something between parsing and planning",
        lambda _: (
            "workflow.execute(" in CALL
            and all(
                f"{name}=" in CALL and name in inspect.signature(Workflow.execute).parameters
                for name in ("executor_plugin", "executor_settings")
            )
        ),
    ),
    "Workflow.is_main_process": (
        "to leave the jobs of a cluster alone",
        lambda _: isinstance(inspect.getattr_static(Workflow, "is_main_process", None), property),
    ),
    "Workflow.dag_settings": ("to know what is asked for", lambda _: "dag_settings" in attributes()),
    "forcerun": ("to have raw folders scanned again", lambda _: settings_can_be_replaced()),
    "Workflow.logger_manager": ("to name the log of a run", lambda _: "logger_manager" in attributes()),
    "get_logfile()": (
        "to name the log of a run",
        lambda _: list(inspect.signature(LoggerManager.get_logfile).parameters) == ["self"],
    ),
    "executor_plugin.common_settings.dryrun_exec": (
        "to take no lock for a dry run",
        lambda _: executors_tell_whether_they_run(),
    ),
    "Workflow._prepare_dag": (
        "to have dry runs look at no locks",
        lambda folder: (
            {"lock_warn_only", "nolock"} <= set(inspect.signature(Workflow._prepare_dag).parameters)
            and "self._prepare_dag(" in inspect.getsource(Workflow.execute)
            and FilePersistence(nolock=True, path=folder).lock.__name__ == "noop"
        ),
    ),
    "cancel_cmd": (
        "to cancel what a killed run left on a cluster",
        lambda _: (
            {"cancel_cmd", "status_cmd"} <= {f.name for f in dataclasses.fields(cluster_generic.ExecutorSettings)}
        ),
    ),
    "Workflow.deployment_settings": (
        "to know whose Python runs the jobs",
        lambda _: "deployment_settings" in attributes() and DeploymentSettings().deployment_method is not None,
    ),
    "locks": ("to remove those of a killed run", locks_lie_in_their_folder),
    "external_jobid": ("to cancel what a killed run left on a cluster", ids_of_jobs_are_kept),
    "SLURM run ID:": (
        "to cancel what a killed run left on Slurm",
        lambda _: "SLURM run ID: {" in inspect.getsource(slurm),
    ),
}

PLANNED = inspect.getsource(DAG)
# the same of the planning's docstring
PLANNING: dict[str, tuple[str, Callable[[Path], bool]]] = {
    "DAG.check_incomplete": (
        "to keep files whole that a job was about to replace",
        lambda _: inspect.iscoroutinefunction(DAG.check_incomplete) and "self.incomplete_files()" in PLANNED,
    ),
    "DAG.update_needrun": (
        "to say what runs",
        lambda _: (
            list(inspect.signature(DAG.update_needrun).parameters) == ["self", "create_inventory"]
            and all(
                f"self.{name}" in PLANNED
                for name in (
                    *("_needrun", "_n_until_ready", "_len", "_reason", "targetjobs", "forcerules", "forcefiles"),
                    *("dependencies", "depending", "_finished", "workflow"),
                )
            )
            and inspect.isfunction(DAG.finished)
            and inspect.isfunction(DAG.toposorted)
        ),
    ),
    "_IOFile.is_ancient": (
        "to let no time of a file decide",
        lambda _: isinstance(_IOFile.is_ancient, property) and "is_ancient" in PLANNED,
    ),
    "Workflow.persistence": (
        "to keep its record of past runs out of it",
        lambda _: set(snakemake_planning._ANSWERS) <= set(dir(PersistenceBase)),
    ),
    "Job.remove_existing_output": (
        "to keep files until their successors are there",
        lambda _: "await self.remove_existing_output()" in inspect.getsource(Job.prepare),
    ),
    "Job.cleanup": (
        "to keep the files of a job that failed",
        lambda _: "await self.cleanup(" in inspect.getsource(Job.postprocess),
    ),
    "DAG.finish": ("to note what a job has made", lambda _: inspect.iscoroutinefunction(DAG.finish)),
}


@pytest.mark.parametrize("name", [*INTERNALS, *PLANNING])
def test_snakemake_still_has_what_the_seam_leans_on(name, tmp_path):
    purpose, is_there = (INTERNALS | PLANNING)[name]
    try:
        found, why = is_there(tmp_path), "it is another"
    except (AttributeError, TypeError, KeyError, OSError) as error:
        found, why = False, str(error)
    if not found:
        module = "snakemake_seam" if name in INTERNALS else "snakemake_planning"
        pytest.fail(
            f"Snakemake {version('snakemake')} no longer has {name} as workflow/{module}.py needs it {purpose} "
            f"({why}): find its successor and mend that module",
            pytrace=False,
        )


@pytest.mark.parametrize("name", INTERNALS)
def test_the_seam_says_what_it_leans_on(name):
    assert f"`{name}`" in snakemake_seam.__doc__


@pytest.mark.parametrize("name", PLANNING)
def test_the_planning_says_what_it_leans_on(name):
    assert f"`{name}`" in snakemake_planning.__doc__


# --- what it does ----------------------------------------------------------------------------------------------


@pytest.fixture
def call(monkeypatch):
    """A function that lets a workflow execute; it returns what was done before, in order, and the workflow."""
    monkeypatch.setattr(snakemake_seam, "begin", lambda run: done.append(("begin", run)))
    monkeypatch.setenv(WATCHED_VARIABLE, "")
    done: list[tuple] = []

    def function(*targets, dry=False, is_main=True, log=("run.log",), touch=False, left=()):
        workflow = SimpleNamespace(
            is_main_process=is_main,
            basedir="/code",
            dryrun=dry,
            touch=touch,
            dag=SimpleNamespace(_finished=set()),
            dag_settings=SimpleNamespace(targets=frozenset(targets), forcerun=frozenset()),
            logger_manager=SimpleNamespace(get_logfile=lambda: list(log)),
            _prepare_dag=lambda **options: done.append(("prepare", options)),
        )
        workflow.execute = lambda **options: (
            workflow._prepare_dag(lock_warn_only=dry, nolock=False, shadow_prefix=None),
            done.append(("execute", options)),
        )
        left = iter(left)
        planner = SimpleNamespace(tidy=lambda: None, outdated_after_run=lambda: next(left, False))
        monkeypatch.setattr(snakemake_seam, "plan_by_content", lambda *_: planner)
        guard_runs(workflow, ("a", "b"))
        plugin = SimpleNamespace(name="cluster-generic", common_settings=SimpleNamespace(dryrun_exec=dry))
        settings = SimpleNamespace(cancel_cmd="cancel", status_cmd="status")
        workflow.execute(executor_plugin=plugin, executor_settings=settings, updated_files=None)
        return [step[0] for step in done if step[0] != "prepare"], done, workflow

    return function


def test_a_run_takes_its_folder_before_it_executes(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps, done, _ = call("all")
    assert steps == ["begin", "execute"]
    _, run = done[0]
    assert run.books == str(tmp_path / ".snakemake")
    assert (run.pid, run.log, run.executor) == (os.getpid(), str(tmp_path / "run.log"), "cluster-generic")
    assert (run.cancel, run.status) == ("cancel", "status")
    assert run.process == os.environ[WATCHED_VARIABLE]
    assert set(done[-1][1]) == {"executor_plugin", "executor_settings", "updated_files"}


@pytest.mark.parametrize(
    ("targets", "options"), [(["all"], {"dry": True}), (["status"], {}), (["all"], {"is_main": False})]
)
def test_what_writes_nothing_and_the_jobs_of_a_run_take_no_folder(call, targets, options):
    assert call(*targets, **options)[0] == ["execute"]


@pytest.mark.parametrize(
    ("left", "options", "n_rounds"),
    [((), {}, 1), ((True,), {}, 2), ((True,) * 3, {}, 4), ((True,), {"dry": True}, 1), ((True,), {"touch": True}, 1)],
)
def test_a_run_goes_on_while_it_has_left_something_outdated(call, left, options, n_rounds):
    assert call("all", left=left, **options)[0].count("execute") == n_rounds


def test_a_run_that_does_not_come_to_rest_ends_with_an_error(call):
    with pytest.raises(WorkflowError, match="still outdated after 3 more rounds"):
        call("all", left=(True,) * 9)


@pytest.mark.parametrize("dry", [False, True])
def test_only_a_dry_run_asks_for_no_locks_of_snakemake(call, dry):
    (options,) = [step[1] for step in call("all", dry=dry)[1] if step[0] == "prepare"]
    assert options == {"lock_warn_only": False, "nolock": dry, "shadow_prefix": None}


@pytest.mark.parametrize("targets", [[], ["status", "all"]])
def test_other_targets_take_it(call, targets):
    assert call(*targets)[0] == ["begin", "execute"]


def test_a_run_without_a_log_has_none(call):
    assert call(log=())[1][0][1].log is None


def test_scans_that_are_asked_for_are_forced_in_dry_runs_too(call):
    _, _, workflow = call("index_videos_a", dry=True)
    assert workflow.dag_settings.forcerun == {"index_videos_a", "list_shards_a"}


def test_a_mistaken_call_is_refused_before_anything_is_done(call):
    with pytest.raises(WorkflowError, match="index is asked for together with all") as refused:
        call("index", "all")
    assert refused.value.__traceback__ is None
