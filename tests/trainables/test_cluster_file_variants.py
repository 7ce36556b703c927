"""Cluster files that say the same in other ways are good as well, and what is not known is not held against them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.bad_input.test_bad_input import changed
from trainables.cluster_check import provider, run_instances

BUCKET = {"s3://YOUR-BUCKET": "s3://my-bucket"}


def test_settings_may_stand_in_files_that_shells_read_in_a_container_too(checked: Any) -> None:
    """Each name: how a command of the setup writes it; the container's options lack it."""
    written = {
        "RAY_AUTH_MODE=token": "echo export RAY_AUTH_MODE=token >> ~/.bashrc",
        "RAY_USAGE_STATS_ENABLED=0": "echo RAY_USAGE_STATS_ENABLED=0 | sudo tee -a /etc/environment > /dev/null",
        "MINBERT_GPUS_PER_TRIAL=1": "printf 'export %s\\n' MINBERT_GPUS_PER_TRIAL=1 > $HOME/.more && echo '. ~/.more' >> ~/.profile",
    }
    changes = {f"    - --env {setting}": "    #" for setting in written}
    setup = "".join(f"  - {command}\n" for command in written.values())
    text = changed({"change": BUCKET | changes | {"setup_commands:\n": "setup_commands:\n" + setup}})
    code, _, errors = checked(text)
    assert (code, errors) == (0, [])


@pytest.mark.parametrize(
    "change",
    [
        {"--env RAY_AUTH_MODE=token": "--env=RAY_AUTH_MODE=token"},
        {"--env RAY_AUTH_MODE=token": "-e RAY_AUTH_MODE=token"},
        {"- --env RAY_AUTH_MODE=token": "- --env\n    - RAY_AUTH_MODE=token"},
        {"constraints.txt boto3": "constraints.txt boto3 'wandb[media]==0.30.1'"},
        {"constraints.txt boto3": "constraints.txt --index-url https://example.org/simple boto3"},
        {"constraint constraints.txt boto3": "constraint=~/minbert-search/constraints.txt boto3 | tail"},
        {"constraints.txt boto3": "constraints.txt boto3 git+https://example.org/x.git@0123456789abcdef"},
        {"  - /data\n  - /results\n": "  - data/\n  - '**/results'\n"},
        {"    GroupName: minbert": "    GroupName: minbert\n    IpPermissions: [{IpProtocol: '-1', UserIdGroupPairs: [{GroupId: sg-1}]}]"},
        {"{MarketType: spot}": "{MarketType: spot, SpotOptions: {MaxPrice: '.5', SpotInstanceType: one-time}}"},
        {"{Name: minbert-head}": "{Arn: 'arn:aws:iam::1:instance-profile/minbert-head'}"},
        {"    priority: 1": "    priority: 1\n    docker: {worker_image: 'rayproject/ray:2.60.0-py311-cu128'}"},
        {"  - ray start --address": "  - ulimit -n hard; nohup ray start --address"},
    ],
    ids=lambda change: next(iter(change.values()))[:50],
)  # fmt: skip
def test_other_ways_to_say_the_same_are_good_as_well(checked: Any, change: dict[str, str]) -> None:
    code, _, errors = checked(changed({"change": BUCKET | change}))
    assert (code, errors) == (0, [])


@pytest.mark.parametrize(
    "setup",
    [
        "TOKEN=$(curl -s http://example.org/token); true",
        "echo 'export WANDB_API_KEY=$KEY_OF_MINE' >> ~/.more",
        'export MY_SECRET="${ELSEWHERE}" MY_PASSWORD= HF_TOKEN=""; true',
        "aws configure get aws_secret_access_key --profile other",
        "aws configure set aws_secret_access_key $(cat /run/key)",
        "export RAY_AUTH_TOKEN_PATH=~/.ray/auth_token RAY_AUTH_MODE=token",
    ],
)
def test_a_secret_that_is_taken_from_elsewhere_is_none_of_the_file(checked: Any, setup: str) -> None:
    command = "setup_commands:\n  - " + json.dumps(setup) + "\n"
    code, _, errors = checked(changed({"change": BUCKET | {"setup_commands:\n": command}}))
    assert (code, errors) == (0, [])


def test_what_holds_no_private_key_may_be_copied_from_the_folder_of_ssh(checked: Any, tmp_path: Path) -> None:
    for name in ("id_ed25519.pub", "known_hosts"):
        (tmp_path / "home/.ssh" / name).touch()
    mounts = "".join(f"  ~/.ssh/{name}: ~/.ssh/{name}\n" for name in ("id_ed25519.pub", "known_hosts"))
    code, _, errors = checked(changed({"change": BUCKET | {"file_mounts:\n": "file_mounts:\n" + mounts}}))
    assert (code, errors) == (0, [])


def test_a_link_to_keys_is_one_of_them(checked: Any, tmp_path: Path) -> None:
    (tmp_path / "keys").symlink_to(tmp_path / "home/.ssh")
    mount = {"file_mounts:\n": "file_mounts:\n  ~/keys: keys\n"}
    code, _, (error,) = checked(changed({"change": BUCKET | mount}))
    assert code == 2
    assert "'keys' is not allowed: it may hold private keys" in error


def test_machines_without_a_role_may_get_keys_for_a_bucket(checked: Any, tmp_path: Path) -> None:
    (tmp_path / "home/.aws").mkdir()
    change = {"file_mounts:\n": "file_mounts:\n  ~/.aws: ~/.aws\n"}
    code, _, errors = checked(changed({"of": "cluster/on_prem.yaml", "change": change}))
    assert (code, errors) == (0, [])


def test_a_share_cannot_be_held_against_workers_whose_number_is_no_number(checked: Any) -> None:
    change = BUCKET | {"    max_workers: 8": "    max_workers: eight"}
    _, _, (error,) = checked(changed({"change": change}))
    assert "'eight' is not allowed" in error


def test_without_botocore_the_keys_alone_are_known(checked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(run_instances.KEYS) == set(run_instances.request().members)
    known = (run_instances.request, provider._regions)
    for name in ("botocore", "botocore.loaders", "botocore.model"):
        monkeypatch.setitem(sys.modules, name, None)
    try:
        for each in known:
            each.cache_clear()
        wrong = {"MarketType: spot": "MarketType: spot}\n      IamInstanceProfil: {Name: x"}
        _, _, (error,) = checked(
            changed(
                {
                    "change": BUCKET
                    | wrong
                    | {
                        "-west-2 ": "-west-9 ",
                        "zone: us-west-2a": "zone: us-west-9a",
                        ",us-west-2b,us-west-2c": "",
                    }
                }
            )
        )
    finally:
        for each in known:
            each.cache_clear()
    assert "AWS knows no such key here; did you mean 'IamInstanceProfile'" in error


@pytest.mark.parametrize("hosts", ["head.example.org, gpu-1, fd00::12", "10.0.0.10, 10.0.0.11, gpu-2.lan"])
def test_machines_of_ones_own_have_names_or_addresses(checked: Any, hosts: str) -> None:
    head, *workers = hosts.split(", ")
    changes = {"head_ip: 10.0.0.10": f"head_ip: {head}", "[10.0.0.11, 10.0.0.12]": f"{workers}"}
    code, output, errors = checked(changed({"of": "cluster/on_prem.yaml", "change": changes}))
    assert (code, errors) == (0, [])
    assert f"head {head}, 2 workers, " in output


def test_the_summary_counts_the_machines_that_may_be_used(checked: Any) -> None:
    one = {"cluster_name: minbert": "cluster_name: minbert\nmin_workers: 1\nmax_workers: 1"}
    text = changed({"of": "cluster/on_prem.yaml", "change": one})
    _, output, _ = checked(text)
    assert "head 10.0.0.10, 1 worker, " in output
    validate_config(prepare_config(yaml.safe_load(text)))  # what Ray takes, too


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "0 to 8 workers of"),
        ({"max_workers: 8\n\n": "max_workers: 16\n\n"}, "0 to 10 workers of"),
        ({"    max_workers: 8": "    max_workers: 0"}, "0 to 2 workers of"),
    ],
)
def test_the_summary_counts_no_workers_that_no_node_type_allows(
    checked: Any, change: dict[str, str], said: str
) -> None:
    code, output, _ = checked(changed({"change": BUCKET | change}))
    assert code == 0
    assert said in output


def test_the_summary_says_which_region_its_prices_are_of(checked: Any) -> None:
    text = changed({"change": BUCKET})
    assert "at list prices on demand of us-west-2, July 2025: look them up" in checked(text)[1]
    _, output, _ = checked(text.replace("us-west-2", "eu-central-1"))
    assert (
        "at list prices on demand of us-west-2, not those of eu-central-1, July 2025: look them up" in output
    )


def test_the_summary_names_the_older_autoscaler_unless_the_file_itself_takes_it(checked: Any) -> None:
    own = {"ray start --head": "RAY_enable_autoscaler_v2=0 ray start --head"}
    _, without, _ = checked(
        changed({"of": "cluster/on_prem.yaml", "change": {}}).replace("RAY_enable_autoscaler_v2=0 ", "")
    )
    _, with_it, _ = checked(changed({"of": "cluster/on_prem.yaml", "change": own}))
    assert "start them with RAY_UP_enable_autoscaler_v2=0 ray up cluster.yaml" in without
    assert "start them with ray up cluster.yaml" in with_it
