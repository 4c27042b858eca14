"""`dmd publish`: what the last report describes goes in one commit; all else is refused, and the Hub's answers told."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, constants
from typer.testing import CliRunner

from dmd.commands.app import app
from dmd.commands.hub import check_name, commit_files
from dmd.params.config import load_config
from dmd.report.model_card import model_card
from tests.commands.publishing_hub import Fault, committed, serve
from tests.pipeline.remotes import ROOT, free_port, make_repository

MODELS, METRICS = "models/mnist-small", "metrics/mnist-small"
GENERATOR, CARD = f"{MODELS}/generator", f"{MODELS}/card/README.md"
PARTS = {"model_index.json", "one_step.py", "unet/config.json", "unet/weights.safetensors"}
PICTURES = {
    f"pictures/{name}.png" for name in ("samples_teacher", "samples_before", "samples_student", "history", "losses")
}
SCORES = json.loads((ROOT / METRICS / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose outputs are locked; the card is a real one, of the scores in git."""
    folder = tmp_path_factory.mktemp("published")
    for name in PARTS:
        (folder / GENERATOR / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / GENERATOR / name).write_bytes(name.encode() * 100)
    params = load_config(ROOT / "params.yaml").model_dump(mode="json")
    card = model_card(params, SCORES, {}, GENERATOR)
    (folder / CARD).parent.mkdir(parents=True)
    (folder / CARD).write_text(card, encoding="utf-8")
    return make_repository(folder)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as running:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{running.server_port}")
        yield running


def publish(repository: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.chdir(repository)
    return CliRunner().invoke(app, ["publish", "org/name", *arguments])


def listed(output: str) -> set[str]:
    return set(re.findall(r"^ +[\d,]+  (\S+)$", output, re.MULTILINE))


def test_folder_card_and_pictures_go_in_one_commit_to_the_hub_of_the_environment(
    repository: Path, hub: ThreadingHTTPServer
) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    settings = {"HF_ENDPOINT": constants.ENDPOINT, "HF_TOKEN": "secret", "HF_HUB_DISABLE_XET": "1"}
    code = "from dmd.commands.app import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", code, "publish", "org/name"],
        cwd=repository,
        env={**kept, **settings, "HF_HOME": str(repository / ".hf"), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = committed(hub)
    assert set(files) == listed(done.stdout) == PARTS | PICTURES | {"README.md"}
    for name in PARTS:
        assert files[name] == (repository / GENERATOR / name).read_bytes()
    for name in PICTURES:
        assert files[name] == (repository / METRICS / Path(name).name).read_bytes()
    assert hub.created == [{"name": "name", "organization": "org"}]
    assert hub.tokens == {"Bearer secret"}
    assert done.stdout.splitlines()[-1].startswith(f"{len(files)} files are in org/name: {constants.ENDPOINT}/org/name")


def test_the_card_on_the_hub_draws_from_there_with_its_pictures_and_scores(
    repository: Path, hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.private = True
    result = publish(repository, monkeypatch, "--private")
    assert result.exit_code == 0, result.output
    assert hub.created[0]["visibility"] == "private"
    files = committed(hub)
    card = ModelCard(files["README.md"].decode())
    assert 'from_pretrained("org/name", trust_remote_code=True)' in card.text
    assert GENERATOR not in card.text
    assert set(re.findall(r"\]\((pictures/[^)]+)\)", card.text)) == PICTURES
    results = {entry.metric_type: entry.metric_value for entry in card.data.eval_results}
    assert results == {name: SCORES["student"][name] for name in ("fd_lenet", "class_accuracy", "precision", "recall")}


def test_a_dry_run_lists_the_same_and_asks_nothing(
    repository: Path, hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    result = publish(repository, monkeypatch, "--dry-run")
    assert result.exit_code == 0, result.output
    assert listed(result.output) == PARTS | PICTURES | {"README.md"}
    assert result.output.splitlines()[-1] == "10 files would go to org/name in one commit; nothing was sent"
    assert hub.asked == []


@pytest.mark.parametrize(
    "name",
    [
        f"{GENERATOR}/unet/weights.safetensors",
        f"{GENERATOR}/one_step.py",
        CARD,
        f"{METRICS}/samples_student.png",
        "data/mnist-small/evaluation/bytes",
    ],
)
def test_what_the_last_report_did_not_see_is_refused(
    name: str, repository: Path, hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository / name
    content = path.read_bytes()
    path.write_bytes(content + b"changed")
    result = publish(repository, monkeypatch, "--dry-run")
    path.write_bytes(content)
    assert result.exit_code == 1
    said = result.output[result.output.index("error: ") :]
    assert said.startswith(f"error: {GENERATOR} is not what the last report describes: ")
    assert any(f"{place} modified" in said for place in (name, str(Path(name).parent), GENERATOR))
    assert said.count("\n") == 1


def test_a_file_that_no_stage_wrote_is_refused_and_one_that_dvc_ignores_stays(
    repository: Path, hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in {"unet/.DS_Store": 0, "notes.txt": 1}.items():
        (repository / GENERATOR / name).write_text("mine", encoding="utf-8")
        result = publish(repository, monkeypatch, "--dry-run")
        (repository / GENERATOR / name).unlink()
        assert result.exit_code == code, result.output
        assert name not in listed(result.output)
    assert f"describes: {GENERATOR} modified" in result.output


@pytest.mark.parametrize("name", ["name", "org/name/more", "org/na me", "https://huggingface.co/org/name", "org/-name"])
def test_what_is_no_name_on_the_hub_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        check_name(name)


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"/repos/create": Fault(401), "GET": Fault(401)}, "the Hub answered 401: the token is not accepted: log in"),
        ({"/repos/create": Fault(403), "GET": Fault(404)}, "the Hub answered 403: the token may not write there"),
        ({"/commit/main": Fault(403)}, "the Hub answered 403: the token may not write there"),
        ({"/preupload": Fault(404, code="RepoNotFound")}, "the Hub answered 404: there is no such owner or repository"),
        ({"/commit/main": Fault(409)}, "the Hub answered 409: another commit came in between: run this again"),
        ({"/repos/create": Fault(500)}, "the Hub answered 500: the Hub itself fails: run this again later"),
        ({"/commit/main": Fault(502, b"<html>")}, "the Hub answered 502: the Hub itself fails: run this again later"),
        ({"/commit/main": Fault(418)}, "the Hub answered 418: look at https://status.huggingface.co"),
        (
            {"/validate-yaml": Fault(400, b'{"errors": [{"message": "no such tag"}]}')},
            "the Hub answered 400: it does not take what was sent (Bad request: no such tag)",
        ),
        ({"/repos/create": Fault(200, b"<html>a page</html>")}, "does not answer as a Hub does; correct HF_ENDPOINT"),
        ({"/repos/create": Fault(200, b"\xff\xfe\x80")}, "does not answer as a Hub does; correct HF_ENDPOINT"),
        ({"/repos/create": Fault(200, b"[1]")}, "does not answer as a Hub does; correct HF_ENDPOINT"),
        ({"/commit/main": Fault(200, b"{}")}, "does not answer as a Hub does; correct HF_ENDPOINT"),
    ],
)
def test_what_the_hub_refuses_or_answers_wrongly_is_one_line_with_a_cure(
    faults: dict[str, Fault], said: str, hub: ThreadingHTTPServer
) -> None:
    hub.faults.update(faults)
    with pytest.raises(ValueError, match=r"^org/name: ") as caught:
        commit_files("org/name", {"README.md": b"---\nlicense: mit\n---\n", "a.txt": b"a"}, False, "Publish")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hub.commits == []


def test_what_a_publication_before_left_goes_and_what_is_not_of_it_stays(hub: ThreadingHTTPServer) -> None:
    hub.there = ["unet/old.safetensors", "unet/config.json", "lora/adapter.safetensors", "notes.md", ".gitattributes"]
    commit_files("org/name", {"unet/config.json": b"{}", "README.md": b"card"}, False, "Publish")
    (lines,) = hub.commits
    assert [line["value"]["path"] for line in lines if line["key"] == "deletedFile"] == ["unet/old.safetensors"]


def test_a_public_repository_is_not_taken_for_a_private_one(hub: ThreadingHTTPServer) -> None:
    with pytest.raises(ValueError, match="org/name is there and public"):
        commit_files("org/name", {"a.txt": b"a"}, True, "Publish")
    assert hub.commits == []


def test_no_token_and_no_hub_are_told_before_anything_is_sent(
    hub: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ValueError, match=r"is not reached: .*; look at the network, HF_ENDPOINT"):
        commit_files("org/name", {"a.txt": b"a"}, False, "Publish")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="there is no token for the Hub: log in with `hf auth login`, or set HF_TOKEN"):
        commit_files("org/name", {"a.txt": b"a"}, False, "Publish")
    assert hub.asked == []
