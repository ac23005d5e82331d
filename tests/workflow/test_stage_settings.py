"""The config knows the stages of the store's list."""

from __future__ import annotations

import copy

import pytest
import yaml

from helpers.small_run import ROOT
from preprocess.running.cli import UserError
from preprocess.store.stages import STAGES
from workflow.config import check_config, resolve

SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
FOR_ALL = [name for name, stage in STAGES.items() if stage.for_all_datasets]


@pytest.mark.parametrize("name", STAGES)
def test_a_stages_settings_stand_at_the_top_of_the_config_where_the_list_says_so(name):
    config = copy.deepcopy(SHIPPED) | {name: {}}
    if name in FOR_ALL:
        next(iter(config["datasets"].values()))[name] = {}
        check_config(config)
    else:
        with pytest.raises(UserError, match=f"unknown key '{name}'"):
            check_config(config)


def test_what_the_rules_read_has_the_settings_of_every_such_stage():
    assert all(set(FOR_ALL) <= resolved.keys() for resolved in resolve(SHIPPED).values())
