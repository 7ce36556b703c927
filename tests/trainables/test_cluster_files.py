"""Cluster files: the project's own are good, whatever is not is told in lines, and nothing else ever happens.

Broken variants, each with its line, stand in tests/bad_input/clusters.yaml.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minbert.files.yaml_dialect import dump_yaml
from tests.bad_input.test_bad_input import changed
from trainables.cluster_check.instance_types import INSTANCE_TYPES

ROOT = Path(__file__).parents[2]
FILES = ("cluster.yaml", "cluster/on_prem.yaml")
BUCKET = {"s3://YOUR-BUCKET": "s3://my-bucket"}
"""What whoever starts the cluster must change."""
DATA: dict[str, dict[str, Any]] = {name: yaml.safe_load((ROOT / name).read_text()) for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_the_projects_own_files_are_good_once_the_bucket_is_named(name: str, checked: Any) -> None:
    code, output, errors = checked(changed({"of": name, "change": BUCKET if name == "cluster.yaml" else {}}))
    assert (code, errors) == (0, [])
    assert output.startswith("cluster.yaml: good: ")
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("name", FILES)
def test_rays_launcher_takes_the_projects_own_files(name: str) -> None:
    program = (
        "import sys, yaml; from ray.autoscaler._private.util import prepare_config, validate_config; "
        "validate_config(prepare_config(yaml.safe_load(open(sys.argv[1]))))"
    )
    subprocess.run(
        [sys.executable, "-c", program, name], cwd=ROOT, check=True, capture_output=True, timeout=120
    )


@pytest.mark.parametrize("name", FILES)
def test_our_dialect_and_rays_read_the_same(name: str) -> None:
    from minbert.files.yaml_dialect import read_yaml  # noqa: PLC0415

    assert read_yaml(ROOT / name).data == DATA[name]


@pytest.mark.parametrize("name", FILES)
def test_every_command_is_shell(name: str) -> None:
    commands = [text for key, texts in DATA[name].items() if key.endswith("_commands") for text in texts]
    assert len(commands) >= 8
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_commands_on_machines_of_ones_own_find_everything_set(tmp_path: Path) -> None:
    """The first commands really run, in a home of their own, and a shell as Ray starts it shows what they left."""
    data = DATA["cluster/on_prem.yaml"]

    def run(command: str) -> str:
        shell = ["bash", "--login", "-c", "-i", f"source ~/.bashrc; ({command})"]
        ended = subprocess.run(
            shell, env={"HOME": str(tmp_path), "PATH": os.defpath}, check=True, capture_output=True, text=True
        )
        return ended.stdout

    (tmp_path / ".bashrc").touch()
    for command in (*data["setup_commands"][:2], *data["head_setup_commands"]) * 2:  # `ray up` may come again
        run(command)
    found = dict(line.split("=", 1) for line in run("env").splitlines() if "=" in line)
    wanted = {
        "RAY_AUTH_MODE": "token",
        "RAY_ADDRESS": "auto",
        "MINBERT_DATA": "/mnt/minbert/data",
        "MINBERT_RESULTS": "/mnt/minbert/results",
        "MINBERT_GPUS_PER_TRIAL": "1",
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert found["PATH"].startswith(f"{tmp_path}/minbert-venv/bin:")
    assert (tmp_path / ".bashrc").read_text().count("minbert_environment") == 1


def test_the_price_is_that_of_the_head_and_the_dearest_workers(checked: Any) -> None:
    dear = changed(
        {"change": BUCKET | {"max_workers: 8": "max_workers: 3", "    max_workers: 8": "    max_workers: 3"}}
    )
    dear = dear.replace("InstanceType: g5.xlarge\n", "InstanceType: g5.12xlarge\n")  # on demand, at most 2
    dear = dear.replace("{CPU: 4, GPU: 1, on_demand: 1}", "{CPU: 48, GPU: 4, on_demand: 1}")
    _, output, _ = checked(dear)
    prices = [INSTANCE_TYPES[name].usd_per_hour for name in ("m7i.xlarge", "g5.12xlarge", "g5.xlarge")]
    most = prices[0] + 2 * prices[1] + prices[2]
    assert f"at most {most:.2f} dollars an hour" in output


@pytest.mark.parametrize("results", ["/mnt/minbert/results", "file:///mnt/minbert/results"])
def test_results_in_a_folder_are_allowed_where_every_node_mounts_it(checked: Any, results: str) -> None:
    changes = {
        "s3://YOUR-BUCKET/results": f"{results}\n    - --volume /mnt/minbert:/mnt/minbert",
        "MINBERT_DATA=/home/ray/data": "MINBERT_DATA=/mnt/minbert/data",
        "  - sudo usermod": "  - sudo mount -t nfs4 10.0.0.5:/ /mnt/minbert\n  - sudo usermod",
    }
    code, _, errors = checked(changed({"change": changes}))
    assert (code, errors) == (0, [])


def test_a_bucket_serves_machines_of_ones_own_too(checked: Any) -> None:
    bucket = {"MINBERT_RESULTS=/mnt/minbert/results": "MINBERT_RESULTS=s3://my-bucket/results"}
    code, _, errors = checked(changed({"of": "cluster/on_prem.yaml", "change": bucket}))
    assert (code, errors) == (0, [])


def test_a_machine_that_the_file_describes_is_taken(checked: Any) -> None:
    described = "metadata: {instance_types: {x9.huge: {cpus: 8, gpus: 2, usd_per_hour: 7.5}}}\n"
    machine = {"g5.xlarge             # CHANGE": "x9.huge  #", "{CPU: 4, GPU: 1} ": "{CPU: 8, GPU: 2} "}
    text = changed({"change": BUCKET | machine})
    code, output, _ = checked(described + text)
    assert code == 0
    assert "x9.huge on spot" in output
    assert f"at most {INSTANCE_TYPES['m7i.xlarge'].usd_per_hour + 8 * 7.5:.2f} dollars" in output


def test_everything_that_is_wrong_is_listed_in_the_files_order(checked: Any) -> None:
    changes = {
        "cache_stopped_nodes: false": "cache_stopped_nodes: true",
        "    - --env MINBERT_DATA=/home/ray/data\n": "",
        "MarketType: spot": "MarketType: sopt",
        "--dashboard-host=127.0.0.1": "--dashboard-host=0.0.0.0",
    }
    code, output, errors = checked(changed({"change": changes}))
    assert (code, output) == (2, "")
    numbers = [int(line.split(":")[2]) for line in errors]
    assert numbers == sorted(numbers)
    told = ("cache_stopped_nodes", "MINBERT_DATA", "YOUR-BUCKET", "'sopt'", "--dashboard-host")
    assert [next(text for text in told if text in line) for line in errors] == list(told)


def test_a_key_of_ones_own_needs_its_name_at_aws(checked: Any) -> None:
    key = BUCKET | {"  ssh_user: ubuntu": "  ssh_private_key: ~/.ssh/id_ed25519\n  ssh_user: ubuntu"}
    code, _, errors = checked(changed({"change": key}))
    assert code == 2
    assert [line.split(": ")[2] for line in errors] == [
        f"available_node_types.{name}.node_config.KeyName" for name in ("head", "spot_gpu", "on_demand_gpu")
    ]


def test_without_a_token_the_file_is_refused(checked: Any, tmp_path: Path) -> None:
    (tmp_path / "home/.ray/auth_token").unlink()
    code, _, (error,) = checked(changed({"change": BUCKET}))
    assert code == 2
    assert "ray get-auth-token --generate makes it" in error


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("nowhere")], ids=["pipe", "lost link"]
)
def test_what_ray_could_not_read_of_a_mount_is_found_before_a_machine_is_paid(
    checked: Any, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    (tmp_path / "deep").mkdir()
    make(tmp_path / "deep" / "strange")
    code, _, (error,) = checked(changed({"change": BUCKET}))
    assert code == 2
    assert "file_mounts.~/minbert-search: 'deep/strange' cannot be read as a file" in error


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from places(below, (*path, key))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.sampled_from(["/", "~", "a\0b", "--env RAY_AUTH_MODE=", "rayproject/ray:", "g5.xlarge", 300 * "n"])
    | st.sampled_from(["--env MINBERT_RESULTS=s3://[", "--env MINBERT_RESULTS=s3://a b?#"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), inner, max_size=2)
    ),
    max_leaves=3,
)
PATIENT = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PATIENT
@given(content=st.binary(max_size=200))
def test_bytes_of_any_kind_are_answered_in_one_line(checked: Any, content: bytes) -> None:
    code, _, errors = checked(content)
    assert code == 2
    assert errors
    assert all(line.startswith("error: cluster.yaml:") for line in errors)


@PATIENT
@given(data=st.data(), name=st.sampled_from(FILES))
def test_anything_in_any_place_is_answered_in_lines(checked: Any, data: st.DataObject, name: str) -> None:
    spoilt = copy.deepcopy(DATA[name])
    *above, last = data.draw(st.sampled_from(list(places(spoilt))))
    inner = spoilt
    for key in above:
        inner = inner[key]
    inner[last] = data.draw(ANYTHING)
    code, output, errors = checked(dump_yaml(spoilt))
    assert (code, len(output.splitlines()), bool(errors)) in ((0, 1, False), (2, 0, True))
    assert all(line.startswith("error: cluster.yaml:") for line in errors)
