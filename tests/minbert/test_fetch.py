"""Data and encoder come from a hub, go on where they were cut off, and are never taken unchecked.

Nothing here reaches the real hub (:mod:`tests.minbert.hub`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from rich.console import Console

from minbert.config import build_config
from minbert.corpora.reader import Examples, read_corpus, text_keys
from minbert.corpora.texts import texts_needed
from minbert.data_checks import check_data
from minbert.errors import UserError
from minbert.fetch import main
from minbert.files.durable import exclusive
from minbert.hub import client
from minbert.hub.catalogue import Entry, chosen
from minbert.hub.client import Unreachable
from minbert.hub.layouts import LAYOUTS
from minbert.hub.obtaining import obtain
from minbert.hub.progress import Watch
from minbert.sources import resolve
from tests.minbert.hub import FakeHub, miniature, on_the_hub, served

TOKEN = "hf_secret"
(SST,) = chosen(["sst"])
(QQP,) = chosen(["qqp"])
(WIKI,) = chosen(["wiki"])


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[FakeHub]:
    """A running hub with a miniature of everything."""
    with served(files) as fake:
        yield fake


@pytest.fixture(scope="module")
def files(tiny_encoder: Path) -> dict[str, bytes]:
    return miniature(tiny_encoder)


def _command(*arguments: str, **environment: str) -> tuple[list[str], dict[str, str]]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not re.match(r"HF_|.*proxy$", name, re.IGNORECASE)
    }
    return [sys.executable, "-m", "minbert.fetch", *arguments], {**kept, **environment}


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSES", (0.0, 0.0))
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def test_everything_comes_through_a_proxy_and_is_ready_for_a_search(hub: FakeHub, tmp_path: Path) -> None:
    """The whole command: a mirror's name that only the proxy knows."""
    command, environment = _command(
        HF_ENDPOINT="http://hub.invalid",
        HTTP_PROXY=f"http://me:pass@{urlsplit(hub.endpoint).netloc}",
        HF_TOKEN=TOKEN,
        HF_HOME=str(tmp_path / "home"),
    )
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (line,) = re.findall(r"^search on it with: (.+)$", run.stdout, re.MULTILINE)
    assert line in (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").splitlines()
    assert "--encoder data/bert-base-uncased" in line and "not the course's rows" in run.stderr

    config = build_config({"max_length": 24, "stages": {"simcse": {"epochs": 1, "text": "sentences"}}})
    sources = resolve(
        str(tmp_path / "data"),
        str(tmp_path / "data" / "bert-base-uncased"),
        config.tasks,
        None,
        texts_needed(config),
    )
    check_data([config], sources)
    assert not sources.corpus.notes  # nothing of what was fetched is passed over or skipped
    sizes = {
        task: {split: len(each) for split, each in splits.items()}
        for task, splits in sources.corpus.splits.items()
    }
    assert sizes == {
        "sst": {"train": 40, "dev": 20, "test": 8},
        "qqp": {"train": 70, "dev": 10, "test": 20},
        "sts": {"train": 40, "dev": 40, "test": 9},
    }
    assert all(splits["test"].labels is None for splits in sources.corpus.splits.values())
    assert not (tmp_path / "data" / "fetched" / "downloads").exists()
    assert all("/resolve/" in path for _, path, _, _ in hub.asked)


def test_an_encoder_of_the_hub_is_all_that_is_asked_for(hub: FakeHub, tmp_path: Path) -> None:
    command, environment = _command(HF_ENDPOINT=hub.endpoint, HF_HOME=str(tmp_path / "home"))
    (tmp_path / "config.yaml").write_text("stages: {finetune: {epochs: 1}}\n")
    command[2:] = [
        "minbert.train",
        "--config",
        "config.yaml",
        "--encoder",
        "someone/an-encoder",
        "--out",
        "run",
    ]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and run.stderr.startswith(
        "error: --encoder someone/an-encoder: no such folder"
    )
    assert hub.asked and all("someone/an-encoder" in path for _, path, _, _ in hub.asked)


def test_texts_and_labels_are_those_of_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    assert obtain(chosen(["sst", "qqp", "sts", "nli"]), tmp_path, Watch(), hub.endpoint) == []
    splits = read_corpus(tmp_path, build_config({}).tasks).splits
    assert _labels(splits["sst"]["train"]) == [number % 5 for number in range(40)]
    assert _labels(splits["sts"]["dev"]) == [round(0.2 * (number % 26), 1) for number in range(40)]
    assert splits["sst"]["dev"].texts[0][0] == "ba bo be"
    assert splits["sts"]["train"].texts[1][3] == 'a "bo ba ba" x'
    with (tmp_path / "nli.csv").open(newline="") as file:
        triplets = [["sent0", "sent1", "hard_neg"], ["ba be", 'be, he said "bi"', "bo"], ["bi", "bo", "bu"]]
        assert list(csv.reader(file)) == triplets
    labels = {
        key: label
        for part in ("train", "dev")
        for key, label in zip(text_keys(splits["qqp"][part]), _labels(splits["qqp"][part]), strict=True)
    }
    keys = sorted(
        [*labels, *text_keys(splits["qqp"]["test"])], key=lambda key: hashlib.sha256(key.encode()).digest()
    )
    assert len(set(keys)) == 100 and text_keys(splits["qqp"]["dev"]) == keys[:10]
    ids = dict(zip(splits["qqp"]["train"].ids, _labels(splits["qqp"]["train"]), strict=True))
    assert all(label == (int(name.rsplit("-", 1)[1]) % 2 == ("train" in name)) for name, label in ids.items())


@pytest.mark.parametrize(
    ("empty", "said"),
    [
        (0, []),
        (1, ["1 row with an empty text is left out"]),
        (2, ["2 rows with an empty text are left out"]),
    ],
)
def test_triplets_with_an_empty_text_are_counted(tmp_path: Path, empty: int, said: list[str]) -> None:
    source, target = tmp_path / "source.csv", tmp_path / "nli.csv"
    source.write_text("sent0,sent1,hard_neg\nba,be,bo\n" + "bi,,bu\n" * empty)
    assert LAYOUTS["triplets"]([source], [target])[1:] == said


def test_a_second_run_checks_what_is_there_and_asks_nobody(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    obtain([SST, WIKI], tmp_path, Watch(), hub.endpoint)
    hub.asked.clear()
    left = _download_of(tmp_path, WIKI)  # as a crash right before the end leaves it
    left.parent.mkdir(parents=True)
    left.touch()
    assert obtain([SST, WIKI], tmp_path, Watch(), hub.endpoint) == []
    assert not left.parent.parent.exists()
    assert not hub.asked and "wiki: there, and as it was written" in capsys.readouterr().err
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "fetched/SHA256SUMS"], cwd=tmp_path, check=True
    )


def test_a_broken_connection_goes_on_where_it_broke_and_only_the_hub_sees_the_token(
    hub: FakeHub, tmp_path: Path
) -> None:
    hub.cut["wiki1m_for_simcse.txt"] = [100, 50, 0]
    assert obtain([WIKI], tmp_path, Watch(), hub.endpoint) == []
    assert [span for _, span in hub.downloads()] == [None, "bytes=100-", "bytes=150-", "bytes=150-"]
    path = on_the_hub(WIKI, *WIKI.paths)
    assert (tmp_path / WIKI.writes[0]).read_bytes() == hub.files[path]
    assert {asked: token for _, asked, _, token in hub.asked} == {
        path: f"Bearer {TOKEN}",
        f"/cdn{path}": None,
    }


def test_a_run_that_was_interrupted_is_gone_on_with_by_the_next(hub: FakeHub, tmp_path: Path) -> None:
    hub.stalls["wiki1m_for_simcse.txt"] = 200
    command, environment = _command("--only", "wiki", "--to", str(tmp_path), HF_ENDPOINT=hub.endpoint)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as run:
        part = (
            tmp_path
            / "fetched"
            / "downloads"
            / "princeton-nlp--datasets-for-simcse"
            / "wiki1m_for_simcse.txt.part"
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (part.exists() and part.stat().st_size):
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=60)
    assert run.returncode == 130 and told.splitlines()[-1].startswith("interrupted: what came is kept")
    there = part.stat().st_size
    hub.stalls.clear()
    hub.asked.clear()
    assert obtain([WIKI], tmp_path, Watch(), hub.endpoint) == []
    assert there == 200 and [span for _, span in hub.downloads()] == ["bytes=200-"]


def test_a_file_without_the_hubs_checksum_is_thrown_away(hub: FakeHub, tmp_path: Path) -> None:
    hub.corrupt = {"dev.jsonl", "wiki1m_for_simcse.txt"}
    failures = obtain([SST, WIKI], tmp_path, Watch(), hub.endpoint)
    assert [re.sub(r" http\S+", "", line) for line in failures] == [
        f"{name}: what came has not the hub's checksum and was thrown away; give the same command again"
        for name in ("sst", "wiki")
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["fetched"] and not list(tmp_path.rglob("*.part"))
    hub.corrupt.clear()
    hub.asked.clear()
    assert obtain([SST, WIKI], tmp_path, Watch(), hub.endpoint) == []
    assert not any("train.jsonl" in path for path, _ in hub.downloads())  # that one had come


def _remove(hub: FakeHub) -> None:
    del hub.files[on_the_hub(WIKI, *WIKI.paths)]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_remove, r"wiki: http\S+wiki1m_for_simcse.txt: not found \(404\)"),
        (lambda hub: hub.status.update({".txt": 401}), r"refused \(401\): set HF_TOKEN"),
        (lambda hub: hub.status.update({".txt": 503}), r"the hub is in trouble \(503\)"),
        (
            lambda hub: hub.cut.update({".txt": [70, 0, 0, 0]}),
            r"broke off after 0.0 MB, which are kept \(.+\)",
        ),
        (
            lambda hub: hub.sizes.update({".txt": 10**18}),
            r"MB are free, and 1,000,000,000,000 MB are still to come",
        ),
    ],
)
def test_what_one_entry_lacks_is_one_line_at_once_and_at_the_end_and_the_others_come(
    hub: FakeHub, tmp_path: Path, spoil: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(hub)
    (line,) = obtain([WIKI, SST], tmp_path, Watch(), hub.endpoint)
    assert re.search(said, line) and "\n" not in line
    before, told, after = capsys.readouterr().err.partition(
        f"wiki: failed, the others go on: {line.removeprefix('wiki: ')}\n"
    )
    assert told and "sst: " not in before and "sst: " in after
    assert (tmp_path / SST.writes[0]).is_file() and not (tmp_path / WIKI.writes[0]).exists()


def test_a_proxys_page_is_not_taken_for_a_file(hub: FakeHub, tmp_path: Path) -> None:
    hub.page = True
    with pytest.raises(Unreachable, match=r"no file of a Hugging Face hub .* does a proxy want a log-in"):
        obtain([SST], tmp_path, Watch(), hub.endpoint)
    with pytest.raises(Unreachable, match="a web page came instead of the file"):
        client.Hub(hub.endpoint).download(
            client.Remote(f"{hub.endpoint}/x", 9, "0" * 40), tmp_path / "x", print
        )


def test_without_a_connection_it_says_what_to_put_where_and_takes_what_is_put_there(
    hub: FakeHub, tmp_path: Path
) -> None:
    nobody = "http://127.0.0.1:9"
    command, environment = _command("--only", "sst", "--to", str(tmp_path / "d"), HF_ENDPOINT=nobody)
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 3 and run.stderr.startswith(f"error: {nobody} cannot be reached: ")
    told = re.findall(r"^  https://huggingface.co(/\S+)\n    as (\S+)$", run.stderr, re.MULTILINE)
    assert len(told) == 3 and not (tmp_path / "d").exists()
    for path, place in told:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_bytes(hub.files[path])
    assert obtain([SST], tmp_path / "d", Watch(), nobody) == []
    assert (tmp_path / "d" / SST.writes[0]).is_file()
    assert "not compared with the hub's checksums" in (tmp_path / "d" / "fetched" / "README.md").read_text()


def test_a_file_put_there_by_hand_is_compared_where_the_hub_answers(hub: FakeHub, tmp_path: Path) -> None:
    place = (
        tmp_path / "fetched" / "downloads" / "princeton-nlp--datasets-for-simcse" / "wiki1m_for_simcse.txt"
    )
    place.parent.mkdir(parents=True)
    place.write_text("another file\n")
    (line,) = obtain([WIKI], tmp_path, Watch(), hub.endpoint)
    assert f"{place}: has not the checksum" in line and place.read_text() == "another file\n"


def test_a_file_that_somebody_else_wrote_or_changed_is_left_alone(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "quora-dev.csv").write_text("mine")
    with pytest.raises(UserError, match=r"quora-dev.csv: is there, and not as this .* come with --only sst$"):
        obtain([SST, QQP], tmp_path, Watch(), hub.endpoint)
    assert not hub.asked and not (tmp_path / "fetched").exists()
    obtain([SST], tmp_path, Watch(), hub.endpoint)
    with (tmp_path / SST.writes[0]).open("a") as file:
        file.write("mine")
    (tmp_path / SST.writes[1]).unlink()
    with pytest.raises(UserError, match=r"ids-sst-train.csv: is there, and not as"):
        obtain([SST], tmp_path, Watch(), hub.endpoint)
    (tmp_path / SST.writes[0]).unlink()
    assert obtain([SST], tmp_path, Watch(), hub.endpoint) == []
    assert all((tmp_path / name).is_file() for name in SST.writes)


def test_two_at_once_do_not_write_into_one_folder(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "fetched").mkdir()
    with (
        exclusive(tmp_path / "fetched" / ".lock", 0),
        pytest.raises(UserError, match="another fetch is at work"),
    ):
        obtain([SST], tmp_path, Watch(), hub.endpoint)
    assert not hub.asked


def test_another_revision_takes_the_place_of_what_was_fetched(hub: FakeHub, tmp_path: Path) -> None:
    obtain([WIKI], tmp_path, Watch(), hub.endpoint)
    newer = replace(WIKI, repository=replace(WIKI.repository, revision="0" * 40))
    hub.files[on_the_hub(newer, *newer.paths)] = b"ba\nbe\n"
    assert obtain([newer], tmp_path, Watch(), hub.endpoint) == []
    assert (tmp_path / WIKI.writes[0]).read_bytes() == b"ba\nbe\n"


def test_content_of_another_form_than_documented_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    hub.files[on_the_hub(SST, "dev.jsonl")] = b'{"sentence": "ba"}\n'
    (line,) = obtain([SST], tmp_path, Watch(), hub.endpoint)
    assert "sst: not of the form that SetFit/sst5 documents (KeyError: 'text')" in line
    assert [path.name for path in tmp_path.iterdir()] == ["fetched"]


def test_the_list_says_what_is_there(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    obtain([SST, WIKI], tmp_path, Watch(), hub.endpoint)
    (tmp_path / SST.writes[2]).unlink()
    (tmp_path / "nli.csv").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["fetch", "--list", "--to", str(tmp_path)])
    assert main() == 0
    states = dict(re.findall(r"^(\S+) +[\d.]+ MB  (.+)$", capsys.readouterr().out, re.MULTILINE))
    assert states == {
        "sst": "incomplete",
        "qqp": "not there",
        "sts": "not there",
        "nli": "not ours",
        "wiki": "there",
        "bert-base-uncased": "not there",
    }
    with pytest.raises(UserError, match=r"there is sst, .*; did you mean 'wiki'"):
        chosen(["wikis"])
    with pytest.raises(UserError, match=r"separated by blanks: --only sst wiki$"):
        chosen(["sst,wiki"])


def test_a_terminal_sees_a_bar_and_other_readers_lines(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    obtain([WIKI], tmp_path / "a", Watch(terminal), hub.endpoint)
    assert "━" in terminal.file.getvalue()  # type: ignore[attr-defined]
    hub.cut["wiki1m_for_simcse.txt"] = [100, 0, 0, 0]
    obtain([WIKI], tmp_path / "b", Watch(), hub.endpoint)
    obtain([WIKI], tmp_path / "b", Watch(), hub.endpoint)
    assert "wiki: wiki1m_for_simcse.txt (0.0 MB), going on after 0.0 MB\n" in capsys.readouterr().err


def _download_of(folder: Path, entry: Entry) -> Path:
    return folder / "fetched" / "downloads" / entry.repository.name.replace("/", "--") / entry.paths[0]


def _labels(examples: Examples) -> list[float]:
    assert examples.labels is not None
    return examples.labels.tolist()  # type: ignore[no-any-return]
