"""Models in MLflow: logged once per digest, registered once per digest, found by name.

Most of it runs in MLflow's own process (see ``client``). ``find`` starts a process of its own for one answer: this
module, run as a script.
"""

import importlib.metadata
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tasks.engine.helper_process import answer_once, ask_once
from tasks.errors import InputError, did_you_mean
from tasks.redaction import redacted, revealed
from tasks.tracking.client import TrackingError
from tasks.tracking.database import NAME, created_once, explained, reason_line

SCHEME = "registry:"
_PINNED = ("mlflow", "numpy", "openvino")


@dataclass(frozen=True)
class Found:
    """A registered model.

    Attributes:
        name: Its name.
        version: Its version.
        digest: Its digest; None if this project did not make it.
        folder: The folder with its files; None if its digest is among those known.
    """

    name: str
    version: str
    digest: str | None
    folder: str | None


def find(reference: str, uri: str | None, home: Path, known: tuple[str, ...], folder: Path) -> Found:
    """The registered model of a reference. Its files are downloaded unless its digest is known.

    Args:
        reference: ``NAME@ALIAS`` or ``NAME/VERSION``.
        uri: Tracking URI; None stands for SQLite in ``home``.
        home: Folder of the database.
        known: Digests whose files are not needed.
        folder: Where to put the files.

    Raises:
        InputError: There is no such model, alias or version.
        TrackingError: MLflow does not answer.
    """
    question = {"reference": reference, "uri": revealed(uri), "home": str(home), "known": known, "folder": str(folder)}
    environment = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"} | os.environ
    answer = ask_once([sys.executable, "-P", "-m", "tasks.tracking.registry"], environment, question)
    if "error" in answer:
        reason = redacted(explained(answer["error"], uri, home))
        raise TrackingError(f"{SCHEME}{reference}: MLflow does not answer: {reason}")
    if "problem" in answer:
        raise InputError(f"{SCHEME}{reference}: {redacted(answer['problem'])}")
    return Found(**answer)


def log_model(client: Any, uri: str, run: str, model: Mapping[str, Any], alone: bool) -> str:
    """The identifier of the logged model, an output of the run; one model is logged per digest.

    Args:
        client: MLflow's client.
        uri: Tracking URI.
        run: Identifier of the run.
        model: See ``package_model.package_files``.
        alone: Whether no other process logs models now, so that a half-logged model is the remains of a killed run.
    """
    import mlflow  # noqa: PLC0415 - see client
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus  # noqa: PLC0415
    from mlflow.models import Model  # noqa: PLC0415

    mlflow.set_tracking_uri(uri)
    found = client.get_run(run)
    tag, oldest = f"tags.digest = '{model['digest']}'", [{"field_name": "creation_timestamp", "ascending": True}]
    there = client.search_logged_models([found.info.experiment_id], tag, order_by=oldest)
    for each in there:
        if (alone or each.source_run_id == run) and each.status == LoggedModelStatus.PENDING:
            client.finalize_logged_model(each.model_id, LoggedModelStatus.FAILED)
    ready = [each for each in there if each.status == LoggedModelStatus.READY]
    if ready:
        has = {output.model_id for output in found.outputs.model_outputs} if found.outputs else set()
        if ready[0].model_id not in has:
            client.log_outputs(run, [LoggedModelOutput(ready[0].model_id, 0)])
        return str(ready[0].model_id)
    names = {role: [tensor["name"] for tensor in model[role]] for role in ("inputs", "outputs")}
    source = found.data.tags.get("mlflow.source.name", "ptq-quantize")
    mlflow.set_experiment(experiment_id=found.info.experiment_id)
    with tempfile.TemporaryDirectory() as folder:
        interface = Path(folder) / "interface.json"
        interface.write_text(json.dumps(names), encoding="utf-8")
        # `mlflow.pyfunc.log_model` needs an active run, which would be marked finished on leaving it.
        logged = Model.log(
            artifact_path=None,
            flavor=SimpleNamespace(save_model=_save_model),
            flavor_name="pyfunc.ModelFromCode",
            run_id=run,
            name=re.sub(r"""[/:.%"']""", "_", model["name"]),
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            # As URIs: MLflow reads a path as one and would misread a # or % in it.
            artifacts={"ir": Path(model["folder"]).as_uri(), "interface": interface.as_uri()},
            signature=_signature(model),
            input_example=_example(model["example"], names["inputs"]),
            pip_requirements=[f"{package}=={importlib.metadata.version(package)}" for package in _PINNED],
            tags={"digest": model["digest"], "mlflow.source.name": source},
            validate_serving_input=False,
        )
    return str(logged.model_id)


def _save_model(*, validate_serving_input: bool, **settings: Any) -> None:
    """Save as MLflow does, without inferring the example: OpenVINO might crash the process."""
    import mlflow  # noqa: PLC0415

    assert not validate_serving_input  # noqa: S101 - it has no other use
    mlflow.pyfunc.save_model(**settings)


def release(client: Any, run: str, identifier: str, digest: str, rule: Mapping[str, Any]) -> dict[str, str]:
    """Register a logged model and move the alias if the rule allows it; returns tags for the run.

    The alias moves last: wherever a run is killed, the version that has the alias is registered and described in full.

    Args:
        client: MLflow's client.
        run: Identifier of the run.
        identifier: Identifier of the logged model.
        digest: Digest of the model.
        rule: ``records.Promotion`` as a dictionary.
    """
    name, alias, reasons = rule["name"], rule["alias"], rule["reasons"]
    version = _registered(client, name, identifier, digest)
    client.set_model_version_tag(name, version, "source_run", run)
    if reasons:
        client.set_model_version_tag(name, version, "refused", "; ".join(reasons))
    elif "refused" in client.get_model_version(name, version).tags:
        client.delete_model_version_tag(name, version, "refused")
    before = _version_of(client, name, alias)
    if not reasons and before != version:
        client.set_registered_model_alias(name, alias, version)
    after = _version_of(client, name, alias)
    text = "; ".join(
        [f"{name} version {version}, alias {alias} {_whereabouts(version, before, after, reasons)}", *reasons]
    )
    return {"release": text, "release.version": version, "release.promoted": str(not reasons).lower()}


def _whereabouts(version: str, before: str | None, after: str | None, reasons: Sequence[str]) -> str:
    """Which version has the alias. Another run may move it at any time: on a server there is no common lock."""
    if reasons:
        return f"stays at version {after}" if after else "is given to no version"
    origin = f" from version {before}" if before else ""
    moved = "is here already" if before == version else f"moved here{origin}"
    return moved if after == version else f"{moved}; another run has moved it on to version {after}"


def _registered(client: Any, name: str, identifier: str, digest: str) -> str:
    """The version of that digest; a new one if there is none.

    If two runs find none and register one each, both keep the version with the lower number, and the run that made the
    other one removes it.
    """
    import mlflow  # noqa: PLC0415

    there = _versions(client, name, digest)
    if there:
        return there[0]
    made = str(mlflow.register_model(f"models:/{identifier}", name, tags={"digest": digest}).version)
    kept = _versions(client, name, digest)[0]
    if kept != made:
        client.delete_model_version(name, made)
    return kept


def _versions(client: Any, name: str, digest: str) -> list[str]:
    """Versions of that digest, the earliest first."""
    found = client.search_model_versions(f"name = '{name}' AND tag.digest = '{digest}'")
    return [str(number) for number in sorted(int(each.version) for each in found if str(each.status) == "READY")]


def _signature(model: Mapping[str, Any]) -> Any:
    import numpy as np  # noqa: PLC0415
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    def schema(role: str) -> Any:
        tensors = model[role]
        # A single input has no name, so that callers may send the bare array.
        named = role == "outputs" or len(tensors) > 1
        specs = [(np.dtype(each["type"]), each["shape"], each["name"] if named else None) for each in tensors]
        return None if any(shape is None for _, shape, _ in specs) else Schema([TensorSpec(*spec) for spec in specs])

    return ModelSignature(schema("inputs"), schema("outputs"))


def _example(file: str | None, names: list[str]) -> Any:
    if file is None:
        return None
    from safetensors.numpy import load_file  # noqa: PLC0415

    arrays = load_file(file)
    return arrays[names[0]] if len(names) == 1 else arrays


def _version_of(client: Any, name: str, alias: str) -> str | None:
    found = client.get_registered_model(name).aliases.get(alias)
    return None if found is None else str(found)


def _find_here(question: Mapping[str, Any]) -> dict[str, Any]:
    import mlflow  # noqa: PLC0415
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    reference, home = question["reference"], Path(question["home"])
    name, sign, which = re.fullmatch(r"([^@/]*)([@/]?)(.*)", reference).groups()  # type: ignore[union-attr]
    if not (name and sign and which):
        raise InputError("expected registry:NAME@ALIAS or registry:NAME/VERSION")
    if question["uri"] is None and not (home / NAME).is_file():
        raise InputError(f"no model is registered in '{home}'")
    with created_once(question["uri"], home) as uri:
        client = MlflowClient(uri)
    mlflow.set_tracking_uri(uri)
    models = {each.name: each for each in client.search_registered_models(max_results=1000)}
    if not models:
        raise InputError(f"no model is registered in '{question['uri'] or home}'")
    if name not in models:
        raise InputError(f"no such model.{did_you_mean(name, models)} Registered: {', '.join(sorted(models))}")
    versions = {str(each.version): each for each in client.search_model_versions(f"name = '{name}'")}
    aliases = {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    choices = aliases if sign == "@" else {version: version for version in versions}
    if which not in choices:
        kind = "alias" if sign == "@" else "version"
        there = f" It has: {', '.join(sorted(choices))}" if choices else f" It has no {kind}"
        raise InputError(f"'{name}' has no {kind} '{which}'.{did_you_mean(which, choices)}{there}")
    version = versions[choices[which]]
    digest = version.tags.get("digest")
    folder = None
    if digest not in question["known"]:
        folder = mlflow.artifacts.download_artifacts(f"models:/{name}/{version.version}", dst_path=question["folder"])
    return {"name": name, "version": str(version.version), "digest": digest, "folder": folder}


def _answer(question: Any) -> dict[str, Any]:
    try:
        return _find_here(question)
    except InputError as problem:
        return {"problem": str(problem)}
    except Exception as failure:  # noqa: BLE001 - the user gets any reason of MLflow's
        return {"error": reason_line(failure)}


if __name__ == "__main__":
    answer_once(_answer)
