"""Planning by content: what runs is what `workflow.up_to_date` says, and no finished file goes before its successor.

Snakemake decides by times, by its own record in `.snakemake` of what was started with which parameters, and by what
runs above a job. For the rules of this workflow it is told otherwise; rules that a user adds keep Snakemake's ways.

What it leans on, though Snakemake does not promise it; tests/workflow/test_snakemake_seam.py names what a new Snakemake
has taken away:

- `DAG.check_incomplete`, called before a plan, when `Workflow.persistence` is there;
- `DAG.update_needrun`, which decides what runs, and what it fills: `_needrun`, `_n_until_ready`, `_len`, `_reason`; of
  `DAG` also `jobs`, `targetjobs`, `targetrules`, `targetfiles`, `forcerules`, `forcefiles`, `omitforce`,
  `dependencies`, `depending`, `finished`, `_finished`, `workflow` and `toposorted`;
- `_IOFile.is_ancient`: true for an input whose time and whose job's running make nothing run;
- the questions `params_changed`, `input_changed`, `code_changed`, `software_stack_changed` and `has_metadata` of
  `Workflow.persistence`, and its `incomplete`;
- `Job.remove_existing_output` and `Job.cleanup`, which remove outputs before a job and after one that failed;
- `DAG.finish`, called in the main process for each job that has ended well;
- `Workflow.execute` can be called a second time.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snakemake.dag import DAG
from snakemake.io import _IOFile
from snakemake.jobs import Job, Reason
from snakemake.logging import logger
from snakemake.persistence import NO_PARAMS_CHANGE

from preprocess.running.cli import UserError
from preprocess.store.origin import read_origin
from workflow.config import setting_defaults
from workflow.made import Books
from workflow.moved import moved, places_of
from workflow.plan import OUTDATED_VARIABLE, Outdated
from workflow.scans import scan_rule
from workflow.up_to_date import Task, judge, other_params

# Parameters that decide no results: where a collection lies (the scan is asked whether it is the same there, and the
# stages compare each file with the index), and the path of a file that is an input as well.
_PLACES = ("root", "predictor")
# A few of many are named.
_TOLD = 3


class Because(Reason):
    """Why a job runs, in our words."""

    __slots__ = ("words",)

    def __init__(self, words: str):
        super().__init__()
        self.words = words

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return ("Finished (was: {})" if self.finished else "{}").format(f"Outdated: {self.words}")

    def get_names(self) -> Iterable[str]:
        """What a table of reasons calls it."""
        yield "outdated"


class ContentPlanner:
    """Knows of one workflow which files are right.

    Args:
        workflow: Snakemake's workflow.
        rules: Folder of the files with our rules.
    """

    def __init__(self, workflow: Any, rules: Path):
        self._workflow = workflow
        self._rules = str(rules)
        self._persistence: Any = None
        self._cut_short: set[Any] = set()

    @functools.cached_property
    def books(self) -> Books:
        """What is known of the files; read when it is first asked for, when the run has its folder to itself."""
        return Books()

    def owns(self, rule: Any) -> bool:
        """Whether a rule is one of ours."""
        return str(rule.snakefile).startswith(self._rules)

    def decides(self, job: Any) -> bool:
        """Whether a job is of our rules and makes files."""
        return bool(job.output) and self.owns(job.rule)

    def outdated(self, dag: Any) -> dict[Any, str]:
        """The jobs of a plan that have to run although their files are there, and why."""
        jobs = {}
        for level in dag.toposorted():
            for job in level:
                if self.decides(job):
                    jobs[tuple(map(str, job.output))] = job
        tasks = {outputs: self._task(job) for outputs, job in jobs.items()}
        verdicts = judge(tasks.values(), self.books, lambda task: self._unknown(task, jobs[task.outputs]), moved)
        return {jobs[outputs]: words for outputs, words in verdicts.items()}

    def speaks_for(self, persistence: Any) -> None:
        """Keep Snakemake's own record of past runs out of what is decided over our jobs."""
        if persistence is not self._persistence:
            self._persistence = persistence
            _answer_for_ours(persistence, self)

    def tidy(self) -> None:
        """Bring the books in order, where they can be written to."""
        with contextlib.suppress(UserError):
            self.books.tidy()

    async def look_for_cut_short(self, dag: Any) -> None:
        """Ask Snakemake's record which jobs began and did not end, of those of whose files no book tells."""
        persistence = self._workflow.persistence
        for job in dag.jobs:
            is_unknown = self.decides(job) and self.books.of(str(job.output[0])) is None
            if is_unknown and await type(persistence).incomplete(persistence, job):
                self._cut_short.add(job)

    def outdated_after_run(self) -> bool:
        """Whether a run that has ended well has left something outdated; then the next one forces nothing by itself."""
        dag = self._workflow.dag
        if not dag._finished or not (left := self.outdated(dag)):
            return False
        some = "; ".join(f"{job.output[0]} ({words})" for job, words in itertools.islice(left.items(), _TOLD))
        logger.info(f"What was made has changed what stands on it: {len(left)} steps more, such as {some}")
        settings = self._workflow.dag_settings
        settings.forcerun, settings.forcetargets, settings.forceall = set(), False, False
        return True

    def finished(self, job: Any) -> None:
        """Enter what a job has made into the book."""
        task = self._task(job)
        try:
            self.books.add(task.rule, dict(task.params), task.inputs, task.outputs, dict(task.places))
        except OSError as error:
            logger.warning(f"What {task.outputs[0]} was made from cannot be noted ({error}): it will be made again.")

    def _task(self, job: Any) -> Task:
        params = {name: _plain(value) for name, value in job.params.items() if name not in _PLACES}
        rule = job.rule.name
        return Task(
            rule=rule,
            params=params,
            # what a rule calls ancient it waits for, and reads nothing of
            inputs=tuple(str(file) for file in job.input if "ancient" not in file.flags),
            outputs=tuple(map(str, job.output)),
            places=places_of(job.params["root"]) if _reads_raw_folder(rule, params) else {},
            defaults=setting_defaults(rule, params),
        )

    def _unknown(self, task: Task, job: Any) -> str | None:
        """Why a job has to run of whose files no book tells, as far as Snakemake or they themselves know."""
        if job in self._cut_short:
            return "its job was cut short"
        persistence = self._workflow.persistence
        kind = type(persistence)  # its own answers, not those that it gives while it is asked about our jobs
        if kind.params_changed(persistence, job):
            return "its parameters have changed"
        if any(kind.input_changed(persistence, job)):
            return "its set of inputs has changed"
        wanted = task.params.get("settings")
        for path in task.outputs:
            # files of the store say how their stage was set
            if wanted is None or not path.startswith("data/") or Path(path).suffix not in (".parquet", ".h5"):
                continue
            try:
                origin = read_origin(path)
            except (OSError, KeyError, ValueError):
                return f"{path} does not say what it was made from"
            made = {"settings": origin.settings, "version": origin.version}
            if words := other_params(made, {"settings": wanted, "version": task.params["version"]}, task.defaults):
                return words
        return None


def plan_by_content(workflow: Any, rules: Path) -> ContentPlanner:
    """Have a workflow's jobs run, and keep their files, as `ContentPlanner` says.

    Args:
        workflow: Snakemake's workflow, the main one or one inside a cluster's job, where only the files are kept.
        rules: Folder of the files with our rules.
    """
    workflow.content_planner = planner = ContentPlanner(workflow, rules)
    for cls, name, hook in _HOOKS:
        setattr(cls, name, hook)
    return planner


def _planner(rule: Any) -> ContentPlanner | None:
    """Who decides over a rule; None: Snakemake does."""
    planner = getattr(rule.workflow, "content_planner", None) if rule is not None else None
    return planner if planner is not None and planner.owns(rule) else None


def _main_planner(workflow: Any) -> ContentPlanner | None:
    """Who decides what runs; None: this process is a job, which is told."""
    return getattr(workflow, "content_planner", None) if workflow.is_main_process else None


_snakemakes_is_ancient = _IOFile.is_ancient.fget


def _is_ancient(file: Any) -> bool:
    return _planner(file.rule) is not None or _snakemakes_is_ancient(file)


_snakemakes_check_incomplete = DAG.check_incomplete


async def _check_incomplete(dag: Any) -> None:
    """Before it plans: a job that was cut short has left our files as they were."""
    planner = getattr(dag.workflow, "content_planner", None)
    if planner is not None:
        planner.speaks_for(dag.workflow.persistence)
    await _snakemakes_check_incomplete(dag)


_snakemakes_update_needrun = DAG.update_needrun


async def _update_needrun(dag: Any, create_inventory: bool = False) -> None:
    """What is asked for and missing, or forced, as Snakemake finds it; what is outdated; and what these lack."""
    await _snakemakes_update_needrun(dag, create_inventory)
    planner = _main_planner(dag.workflow)
    if planner is None:
        return
    await planner.look_for_cut_short(dag)
    found = {job: words for job, words in planner.outdated(dag).items() if not dag.finished(job)}
    if OUTDATED_VARIABLE in os.environ:
        jobs = [Outdated([str(file) for file in job.output], words)._asdict() for job, words in found.items()]
        Path(os.environ[OUTDATED_VARIABLE]).write_text(json.dumps(jobs))
    asked = [job for job in dag.jobs if await _is_asked_for(dag, planner, job)]
    for job in found.keys() - set(asked):
        dag._reason[job] = Because(found[job])
    new = [*asked, *found]
    dag._needrun.clear()
    while new:
        job = new.pop()
        if dag.needrun(job):
            continue
        dag._needrun.add(job)
        for source, files in dag.dependencies[job].items():
            if not dag.finished(source) and (missing := [file async for file in source.missing_output(files)]):
                dag.reason(source).missing_output.update(missing)
                new.append(source)
        for user, files in dag.depending[job].items():
            if not planner.decides(user):
                dag.reason(user).updated_input_run.update(files)
                new.append(user)
    dag._n_until_ready.clear()
    for job in dag._needrun:
        dag._n_until_ready[job] = sum(source in dag._needrun for source in dag.dependencies[job])
    dag._len = len(dag._finished | dag._needrun)


async def _is_asked_for(dag: Any, planner: ContentPlanner, job: Any) -> bool:
    """Whether a job runs for its own sake, not for what it reads, or what reads it.

    Snakemake's answer is of no use where something above a job runs: then it no longer looks at the job itself.
    """
    if dag.finished(job):
        return False
    reason = dag.reason(job)
    if job in dag.targetjobs:
        if not job.has_products(include_logfiles=False):
            missing = [file for file in job.input if not await file.exists()]
            reason.updated_input_run.update(missing)
            if missing or reason.noio or reason.nooutput:
                return True
        else:
            all_wanted = job.rule in dag.targetrules
            wanted = [file for file in job.output if all_wanted or file in dag.targetfiles]
            reason.missing_output.update([file async for file in job.missing_output(wanted)])
            if reason.missing_output:
                return True
    if not dag.forcefiles.isdisjoint(job.output) or (job.rule in dag.forcerules and job not in dag.omitforce):
        reason.forced = True
        return True
    if planner.decides(job):
        return False
    own = (reason.noio, reason.nooutput, reason.missing_output, reason.updated_input, reason.is_provenance_triggered())
    return dag.needrun(job) and any(own)


_snakemakes_finish = DAG.finish


async def _finish(dag: Any, job: Any, *args: Any, **options: Any) -> None:
    await _snakemakes_finish(dag, job, *args, **options)
    planner = _main_planner(dag.workflow)
    if planner is not None and not (dag.workflow.dryrun or dag.workflow.touch):
        for one in job if job.is_group() else [job]:
            if planner.decides(one):
                planner.finished(one)


_snakemakes_remove_existing_output = Job.remove_existing_output


async def _remove_existing_output(job: Any) -> None:
    """Before a job: of ours only the log goes, its files are replaced when the new ones are whole."""
    if _planner(job.rule) is None:
        await _snakemakes_remove_existing_output(job)
        return
    for file in job.log:
        await file.remove(remove_non_empty_dir=False)


_snakemakes_cleanup = Job.cleanup


async def _cleanup(job: Any, skip_outputs: Any) -> None:
    """After a job that failed: files of ours are the last whole ones."""
    if _planner(job.rule) is None:
        await _snakemakes_cleanup(job, skip_outputs)


_HOOKS = (
    (_IOFile, "is_ancient", property(_is_ancient)),
    (DAG, "check_incomplete", _check_incomplete),
    (DAG, "update_needrun", _update_needrun),
    (DAG, "finish", _finish),
    (Job, "remove_existing_output", _remove_existing_output),
    (Job, "cleanup", _cleanup),
)


async def _nothing_incomplete(job: Any) -> list:
    return []


# What Snakemake is told when it asks its own record about our jobs, which then make nothing run.
_ANSWERS = {
    "params_changed": lambda job: NO_PARAMS_CHANGE,
    "input_changed": lambda job: [],
    "code_changed": lambda job: [],
    "software_stack_changed": lambda job: [],
    "has_metadata": lambda job: True,
    "has_outdated_metadata": lambda job: False,
    "incomplete": _nothing_incomplete,
}


def _answer_for_ours(persistence: Any, planner: ContentPlanner) -> None:
    """Keep Snakemake's own record of past runs out of what is decided over our jobs."""
    for name, answer in _ANSWERS.items():
        asked = getattr(persistence, name)

        def ask(job: Any, *args: Any, asked: Any = asked, answer: Any = answer, **options: Any) -> Any:
            return answer(job) if planner.decides(job) else asked(job, *args, **options)

        setattr(persistence, name, ask)


def _reads_raw_folder(rule: str, params: dict) -> bool:
    """Whether a job looks at, or makes, what lies under a root: a scan, or the rendering of a collection."""
    return rule in ("make_synthetic", scan_rule(params.get("dataset", "")))


def _plain(value: Any) -> Any:
    """A parameter as JSON has it."""
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value]
