"""The diagram in README.md is the graph of the shipped workflow's rules."""

from __future__ import annotations

import re

import yaml

from helpers.small_run import ROOT, snakemake


def folded(rule: str, datasets) -> str:
    """A rule of one data set under the name that all data sets share."""
    for dataset in datasets:
        rule = rule.removesuffix(f"_{dataset}")
    return rule


def test_the_diagram_in_the_readme_has_the_edges_of_snakemakes_rule_graph(tmp_path):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    printed = snakemake(tmp_path, "--rulegraph", config=config)
    names = {
        number: folded(label, config["datasets"]) for number, label in re.findall(r'(\d+)\[label = "(\w+)"', printed)
    }
    edges = {(names[begin], names[end]) for begin, end in re.findall(r"^\s*(\d+) -> (\d+)$", printed, re.MULTILINE)}
    planned = {edge for edge in edges if "all" not in edge}
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    # dotted arrows are of what is no rule: the raw videos and the result
    drawn = re.findall(r"^\s*(\w+) --> (\w+)$", diagram, re.MULTILINE)
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == planned
