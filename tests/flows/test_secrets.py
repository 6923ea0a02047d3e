"""All that commands wrote and printed, searched for the secrets they were given, of commands that end well or not."""

import base64
import binascii
import http.client
import json
import re
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.flows.conftest import Commands, Outcome, finish, server_folder
from tests.flows.test_release import free_port, serving

PASSWORD, TOKEN, KEY, NUMBER = "Pa%21ss-w0rd'x", "tok-u-77f1c2", "key-d-88c2e5", 918273645501
CLOUD = "cl0ud-s3cr3t/k3y"
ADDRESS = f"http://me:{PASSWORD}@127.0.0.1:9/x?token={TOKEN}"
SECRETS = [
    *(
        PASSWORD,
        unquote(PASSWORD),
        json.dumps(PASSWORD)[1:-1],
        repr(PASSWORD)[1:-1],
        PASSWORD.split("'", maxsplit=1)[0],
    ),
    *(unquote(PASSWORD).split("'")[0], TOKEN, KEY, str(NUMBER), CLOUD),
    base64.b64encode(f"me:{unquote(PASSWORD)}".encode()).decode(),
]
SAMPLES = f"""
import numpy as np

def make(api_key, password, n=40):
    if (api_key, password) != ({KEY!r}, {NUMBER}):
        raise RuntimeError(f"refused: {{api_key}} and {{password}}")
    numbers = np.random.default_rng(0)
    return [numbers.random((1, 8, 8), np.float32) for _ in range(n)]
"""
DATA = (
    "dataset=callable",
    "dataset.path=samples.make",
    f"+dataset.arguments.api_key={KEY}",
    f"+dataset.arguments.password={NUMBER}",
)


def uri(address: str) -> str:
    quoted = address.replace("'", "\\'")
    return f"tracking.uri='{quoted}'"


@pytest.fixture
def guarded(commands: Commands, tmp_path: Path) -> Commands:
    """The commands, in a folder and a home of their own, with a secret in the environment."""
    (tmp_path / "samples.py").write_text(SAMPLES)
    more = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "AWS_SECRET_ACCESS_KEY": CLOUD}
    return replace(commands, folder=tmp_path, home=tmp_path / "home", environment=commands.environment | more)


def leaks(*places: Path) -> list[str]:
    """Files that hold a secret, as it is or in what Prefect packs."""
    files = [file for place in places for file in place.rglob("*") if file.is_file() and not file.is_symlink()]
    assert len(files) > 3
    found = [f"{file}: {secret}" for file in files for secret in SECRETS if secret.encode() in unpacked(file)]
    return [line for line in found if "/samples." not in line and "/mine.yaml:" not in line]


def unpacked(file: Path) -> bytes:
    content = file.read_bytes()
    try:
        return content + base64.b64decode(content)
    except binascii.Error:
        return content


def places(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where commands write, and where Prefect's server of all tests does."""
    return [commands.folder, server_folder(tmp_path_factory) / "prefect"]


def nothing_said(*outcomes: Outcome) -> None:
    for outcome in outcomes:
        for secret in SECRETS:
            assert secret not in outcome.out
            assert secret not in outcome.err
        assert "Traceback" not in outcome.err


def test_a_refused_server_is_told_without_the_password(
    guarded: Commands, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outcome = guarded.run("ptq-quantize", uri(ADDRESS), "output_dir=out", *DATA)
    assert outcome.code == 1
    line = outcome.complaints[-1]
    assert line.startswith("tracking.uri 'http://me:***@127.0.0.1:9/x?token=***2': MLflow could not log the run: ")
    assert line.endswith("; the output is written")
    assert json.loads((guarded.folder / "out/manifest.json").read_text())["configuration"]["tracking"][
        "uri"
    ].startswith("http://me:***@")
    nothing_said(outcome)
    assert leaks(*places(guarded, tmp_path_factory)) == []


BAD = {
    "wrong scheme": (uri(ADDRESS.replace("http", "htp")),),
    "bad override next to it": (uri(ADDRESS), "quantization.preset=mixd"),
    "no grammar": (f"tracking.uri={ADDRESS}",),
    "unknown key": (f"tracking.password='{TOKEN}'",),
    "given twice": ("dataset=callable", f"+dataset.arguments={{token:{TOKEN}}}", f"+dataset.arguments.token={KEY}"),
    "of the wrong type": (f"tracking={{uri:{{token:{TOKEN}}}}}",),
    "a sweep without -m": (f"tracking.uri='http://me:{TOKEN}@host','http://me:{KEY}@host'",),
    "a file": (f"model.path=https://me:{TOKEN}@host/model.xml",),
    "refused by a function": (*DATA[:2], f"+dataset.arguments.api_key={TOKEN}", "+dataset.arguments.password=8272625"),
    "bad data": (*DATA[:2], f"+dataset.arguments.secret={TOKEN}"),
}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(each, marks=() if each in ("given twice", "refused by a function") else pytest.mark.slow)
        for each in BAD
    ],
)
def test_bad_input_is_told_without_secrets(
    guarded: Commands, tmp_path_factory: pytest.TempPathFactory, what: str
) -> None:
    outcome = guarded.run("ptq-quantize", *BAD[what])
    assert outcome.code == 2, outcome.err
    nothing_said(outcome)
    assert "8272625" not in outcome.err
    (guarded.folder / "more").mkdir(exist_ok=True)
    for name in "abcd":  # that there is something to search
        (guarded.folder / "more" / name).touch()
    assert leaks(*places(guarded, tmp_path_factory)) == []


@pytest.mark.slow
def test_a_sweep_and_the_command_that_repeats_its_best_trial(
    guarded: Commands, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of two trials one is refused; neither table nor files nor the command to repeat one tell secrets."""
    (guarded.folder / "conf/experiment").mkdir(parents=True)
    (guarded.folder / "conf/experiment/mine.yaml").write_text(
        f"# @package _global_\ndefaults:\n  - override /dataset: callable\ndataset:\n  path: samples.make\n"
        f"  arguments:\n    api_key: {KEY}\n    password: {NUMBER}\n"
    )
    words = (f"{uri(ADDRESS)},null", "output_dir=out", "experiment=mine", "--config-dir=conf")
    for launcher in ("basic", "joblib"):
        outcome = guarded.run("ptq-quantize", "-m", *words, f"hydra/launcher={launcher}")
        assert outcome.code == 1, outcome.err
        assert "MLflow could not log the run" in outcome.out
        nothing_said(outcome)
        assert leaks(*places(guarded, tmp_path_factory)) == []
    command = re.search(r"\d: (ptq-quantize .*)", outcome.out)
    assert command
    again = guarded.run("ptq-quantize", *shlex.split(command[1])[1:])
    assert again.code in (0, 2)
    if again.code:
        assert "*** stands for a secret that was not written down; give it anew" in again.err


@pytest.mark.slow
def test_other_commands(guarded: Commands, tmp_path_factory: pytest.TempPathFactory) -> None:
    outcomes = [
        guarded.run("ptq-plan", uri(ADDRESS), "-m", "quantization.preset=mixed"),
        guarded.run("ptq-plan", uri(ADDRESS), *DATA),
        guarded.run("ptq-evaluate", uri(ADDRESS), "model=registry:ours@champion", "output_dir=eval"),
        guarded.run(
            "ptq-evaluate",
            uri(ADDRESS),
            "output_dir=eval",
            "model.path=pkg://tasks.digits/digits.xml",
            *(word.replace("dataset", "validation") for word in DATA),
        ),
        guarded.run("ptq-compare", "one", "two", uri(ADDRESS)),
    ]
    nothing_said(*outcomes)
    assert [outcome.code for outcome in outcomes][2:] == [1, 0, 1], outcomes[3].err
    assert leaks(*places(guarded, tmp_path_factory)) == []


# --- with the password it works


@contextmanager
def guarded_door(port: int) -> Iterator[str]:
    """The address of a door to a server on that port, which opens to whoever knows the password."""
    expected = f"Basic {base64.b64encode(f'me:{unquote(PASSWORD)}'.encode()).decode()}"

    class Door(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != expected:
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            behind = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
            behind.request(self.command, self.path, body, kept | {"Host": f"127.0.0.1:{port}"})
            answer = behind.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            behind.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as door:
        threading.Thread(target=door.serve_forever, daemon=True).start()
        try:
            yield f"http://me:{PASSWORD}@127.0.0.1:{door.server_address[1]}"
        finally:
            door.shutdown()


@pytest.mark.slow
def test_the_password_opens_the_server_and_is_nowhere(
    guarded: Commands, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, port = guarded.folder / "server", free_port()
    folder.mkdir()
    words = ("server", "--workers=1", f"--port={port}", "--backend-store-uri=sqlite:///t.db")
    health = f"http://127.0.0.1:{port}/health"
    with (
        serving(folder, health, *words, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
        guarded_door(port) as address,
    ):
        given = (uri(address), *DATA)
        process = guarded.start(
            "ptq-quantize",
            *given,
            "output_dir=out",
            "release.name=ours",
            "release.min_speedup=null",
            "release.max_drop=null",
        )
        arguments = arguments_of_children(process.pid)
        quantized = finish(process)
        assert quantized.code == 0, quantized.err
        run = quantized.out.split("MLflow run: ")[1].split()[0]
        swept = guarded.run("ptq-quantize", "-m", *given, "quantization.preset=performance,mixed", "output_dir=swept")
        evaluated = guarded.run("ptq-evaluate", uri(address), "model=registry:ours@champion", "output_dir=evaluated")
        compared = guarded.run("ptq-compare", run, run[:8], uri(address))
        refused = guarded.run("ptq-compare", run, run, uri(address.replace("ss-w0rd", "sswrong")))
    outcomes = (quantized, swept, evaluated, compared)
    assert [outcome.code for outcome in outcomes] == [0, 0, 0, 0], [outcome.err for outcome in outcomes]
    assert refused.code == 1
    nothing_said(*outcomes, refused)
    assert arguments
    assert not [line for line in arguments for secret in SECRETS if secret in line]
    assert leaks(*places(guarded, tmp_path_factory)) == []


def arguments_of_children(process: int) -> list[str]:
    """What the process list shows of the processes that a command starts."""
    found: list[str] = []
    children = Path(f"/proc/{process}/task/{process}/children")
    for _ in range(50):
        try:
            found += [Path(f"/proc/{child}/cmdline").read_text() for child in children.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            break
        threading.Event().wait(0.1)
    return sorted({*found} - {""})


def start_by_hand(deployment: str) -> None:
    """As Prefect's page does; the server of the tests does not start runs by the clock."""
    with get_client(sync_client=True) as client:
        for _ in range(300):
            try:
                client.create_flow_run_from_deployment(client.read_deployment_by_name(deployment).id)
            except ObjectNotFound:
                threading.Event().wait(0.2)
            else:
                return
    pytest.fail(f"no {deployment}")


@pytest.mark.slow
def test_a_schedule_hands_them_over_in_the_environment_alone(
    guarded: Commands, tmp_path_factory: pytest.TempPathFactory
) -> None:
    process = guarded.start(
        "ptq-schedule", "--cron=0 0 1 1 *", "--name=secret", *DATA, "output_dir=out", "evaluation.speed_seconds=0"
    )
    try:
        with temporary_settings({PREFECT_API_URL: guarded.environment["PREFECT_API_URL"]}):
            start_by_hand("scheduled/secret")
        for _ in range(900):
            if (guarded.folder / "out" / "manifest.json").exists() or process.poll() is not None:
                break
            threading.Event().wait(0.1)
    finally:
        process.terminate()
        outcome = finish(process)
    assert (guarded.folder / "out" / "model.xml").is_file(), outcome.err
    for secret in SECRETS:
        assert secret not in outcome.out + outcome.err
    assert leaks(*places(guarded, tmp_path_factory)) == []
