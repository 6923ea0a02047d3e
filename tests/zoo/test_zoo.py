"""The zoo itself: the same samples every time, figures that are right, rules that bite, a page that says so."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from tests.zoo import measure, pictures, results, sounds, topologies, words
from tests.zoo.__main__ import main, summary
from tests.zoo.catalogue import NETWORKS
from tests.zoo.networks import CALIBRATION, VALIDATION, Network
from tests.zoo.packages import PACKAGES, find
from tests.zoo.page import markdown
from tests.zoo.rules import broken, broken_together, judged
from tests.zoo.topologies import TOPOLOGIES
from tests.zoo.ways import ROOT, Assets, product_digest

DRAWN = {
    "scenes": lambda generator: pictures.scenes(generator, 2, 20, 24),
    "portraits": lambda generator: pictures.portraits(generator, 2, 24),
    "hands": lambda generator: pictures.hands(generator, 2, 24),
    "people": lambda generator: pictures.people(generator, 2, 48),
    "lines": lambda generator: pictures.lines(generator, 2, 16, 48),
    "pages": lambda generator: pictures.pages(generator, 2, 48, 48),
    "speech": lambda generator: sounds.speech(generator, 2, 1600),
    "music": lambda generator: sounds.music(generator, 2, 1600, 16000),
    "files": lambda generator: np.array([np.frombuffer(words.file(generator), np.uint8).sum() for _ in range(9)]),
    "tokens": lambda generator: topologies.ids(generator, 3),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_a_seed_draws_the_same_samples_and_another_one_others(draw: Callable[[np.random.Generator], Any]) -> None:
    first, again, other = (np.asarray(draw(np.random.default_rng(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_sample_that_validates_is_one_that_calibrated() -> None:
    network = Network("n", "", "", softmax, lambda generator, count: generator.permutation(count)[:, None])
    calibration, validation = network.draw()
    assert len(calibration["x"]) == CALIBRATION
    assert sorted(np.concatenate([calibration["x"], validation["x"]])[:, 0]) == list(range(CALIBRATION + VALIDATION))


def test_mel_bands_of_a_tone_are_where_its_frequency_is() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(4000) / 16000)[None].astype(np.float32)
    bands = sounds.mel(sounds.spectrum(tone, 512, 256), 40, 16000)[0].mean(0)
    mel = 2595 * np.log10(1 + np.array([1000, 8000]) / 700)
    assert abs(int(bands.argmax()) - (mel[0] / mel[1] * 41 - 1)) < 1


def test_there_are_as_many_networks_as_are_promised() -> None:
    assert len(PACKAGES) >= 20
    assert len(TOPOLOGIES) == 15
    assert len(NETWORKS) == len(PACKAGES) + len(TOPOLOGIES)


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no-such-package"):
        find("no-such-package", "model.onnx")


def softmax(scale: float = 1.0) -> ov.Model:
    data = ops.parameter([1, 4], np.float32, "data")
    data.output(0).set_names({"data"})
    scores = ops.softmax(ops.multiply(data, np.float32(scale)), 1)
    return ov.Model([scores, ops.multiply(data, np.array([[scale, 1, 1, 1]], np.float32))], [data], "softmax")


def test_outputs_parts_and_logits_are_compared_apart() -> None:
    network = Network(
        "n", "", "", softmax, topologies.ids, classes=True, parts={1: (-1, {"box": slice(0, 1), "score": slice(1, 4)})}
    )
    samples = [{"data": row} for row in np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)]
    found = measure.compare(network, measure.with_logits(softmax(), samples), softmax(1.1), samples)
    assert set(found["sqnr_db"]) == {"output 0, logits", "output 0, probabilities", "output 1, box", "output 1, score"}
    assert found["sqnr_db"]["output 0, logits"] == pytest.approx(20, abs=1e-3)  # an error of a tenth everywhere
    assert found["sqnr_db"]["output 1, box"] == pytest.approx(20, abs=1e-3)
    assert found["sqnr_db"]["output 1, score"] == 999
    assert found["agreement"] == 100


def test_logits_are_found_behind_what_moves_them_and_behind_quantizers() -> None:
    model = softmax()
    scores = model.get_results()[0].input_value(0)
    border = [np.float32(value) for value in (0, 1, 0, 1)]
    moved = ops.transpose(ops.unsqueeze(ops.fake_quantize(scores, *border, 256), 0), np.array([2, 1, 0]))
    model.get_results()[0].input(0).replace_source_output(moved.output(0))
    model.validate_nodes_and_infer_types()
    data = np.array([3, -1, 5, 1], np.float32)
    _, (logits, _) = measure.with_logits(model, [{"data": data}])
    np.testing.assert_allclose(logits[0, :, 0, 0], data - 2)


def way(*decibels: float | None, agreement: float | None = None, seconds: float = 1.0) -> dict[str, Any]:
    sqnr_db = {f"output {number}": value for number, value in enumerate(decibels)}
    return {"sqnr_db": sqnr_db, "agreement": agreement, "seconds": seconds, "int8_layers": 3, "layers": 4}


def result(speeds: dict[str, float] | None = None, **ways: dict[str, Any]) -> dict[str, Any]:
    return {"title": "a network", "source": "a package", "random": False, "ways": ways, "speeds": speeds or {}}


def test_each_output_is_held_against_the_best_of_the_others() -> None:
    assert broken("n", result(best=way(30, 20), default=way(30.2, 20), nncf=way(25, 20.2))) == []
    found = broken(
        "n", result(best=way(30, 20), default=way(30.4, 19), nncf=way(25, 20.2), nncf_transformer=way(3, 24))
    )
    assert found == [
        "n: best is 0.40 dB below default (output 0)",
        "n: best is 4.00 dB below nncf_transformer (output 1)",
        "n: default is 1.20 dB below nncf (output 1)",
    ]


def test_what_is_not_a_number_is_below_everything() -> None:
    assert broken("n", result(best=way(None), default=way(3))) == ["n: best is inf dB below default (output 0)"]
    assert broken("n", result(best=way(None), default=way(None))) == []


def test_auto_is_held_against_the_defaults_alone() -> None:
    assert broken("n", result(auto=way(20), default=way(20), nncf=way(19), nncf_transformer=way(30))) == []
    assert broken("n", result(auto=way(18), nncf=way(19))) == ["n: auto is 1.00 dB below nncf (output 0)"]


def test_agreement_falls_only_beyond_its_noise() -> None:
    def found(best: float) -> list[str]:
        return broken("n", result(best=way(9, agreement=best), default=way(9, agreement=100.0)))

    assert found(95.0) == []
    assert found(80.0) == ["n: best agrees on 80.0 %, default on 100.0 %"]
    untaught = result(best=way(9, agreement=80.0), default=way(9, agreement=100.0)) | {"random": True}
    assert broken("n", untaught) == []


def test_slow_models_and_failures_are_named() -> None:
    speeds = {"float": 1.0, "nncf": 2.0, "default": 1.5, "best": 0.9}
    assert broken("n", result(speeds, default=way(9), best=way(9), auto={"error": "InputError: no", "seconds": 0})) == [
        "n: auto ends in InputError: no",
        "n: default runs 0.75 x as fast as NNCF's model",
        "n: best runs 0.45 x as fast as NNCF's model",
        "n: best runs 0.90 x as fast as the float model",
    ]


def test_seconds_are_judged_by_the_median() -> None:
    slow, quick = (result(default=way(9), best=way(9, seconds=seconds)) for seconds in (9.0, 3.0))
    assert broken_together([slow, quick, quick]) == []
    assert broken_together([slow, slow, quick]) == ["best takes 9.0 x as long as default, and should take at most 4 x"]


def test_probabilities_count_only_without_logits() -> None:
    assert judged({"output 0, logits": 20.0, "output 0, probabilities": 30.0, "output 1": None}) == {
        "output 0, logits": 20.0,
        "output 1": -math.inf,
    }


def test_the_page_has_every_network_and_says_what_is_wrong_or_missing() -> None:
    found = {
        "good": result({"float": 1.0, "nncf": 2.0, "best": 2.1}, default=way(20), best=way(21), nncf=way(19)),
        "bad": result(default=way(20, 3), best=way(18, 4), nncf={"error": "it | ends", "seconds": 1}),
        "gone": {"missing": "PackageNotFoundError: no package", "ways": {}},
    }
    page = markdown(found, ["default", "best"])
    assert "- bad: best is 2.00 dB below default (output 0)" in page
    assert "| good | output 0 | 20.00 | 21.00 | 19.00 | - | +1.00 | +1.00 |" in page
    assert "| good | `best` |  | 3 of 4 | 2.10 | 1.0 |" in page
    assert "| bad | NNCF | - | - | - | it / ends |" in page
    assert "Missing: gone (PackageNotFoundError: no package)." in page
    assert f"Not run: {', '.join(NETWORKS)}." in page
    assert page.count("| bad | output") == 2
    assert "missing, PackageNotFoundError" in summary("gone", found["gone"])


def test_what_is_kept_is_found_again_for_its_key_only(tmp_path: Path) -> None:
    assets = Assets(tmp_path, "digest")
    results._Kept(assets, "best", "one").keep({"seconds": 1.0})
    assert results._Kept(assets, "best", "one").found == {"seconds": 1.0}
    assert results._Kept(assets, "best", "two").found is None
    assert results._Kept(assets, "best quantization.seed=1", "one").found is None


def test_seconds_of_a_step_add_up_and_the_longest_comes_first() -> None:
    stages = [{"name": name, "seconds": seconds} for name, seconds in (("a", 1.0), ("b", 2.5), ("a", 2.0))]
    assert list(results.seconds_by_step(stages).items()) == [("a", 3.0), ("b", 2.5)]


def test_a_change_of_the_code_is_another_product(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "a.py").write_text("1", encoding="utf-8")
    before = product_digest(tmp_path)
    (tmp_path / "tasks" / "a.py").write_text("2", encoding="utf-8")
    assert product_digest(tmp_path) != before


def test_an_unknown_network_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no_such_network"])
    assert "unknown network 'no_such_network'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_goes_the_whole_way(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    page = tmp_path / "page.md"
    options = ["--presets=default", "--speed=0.01", f"--cache={tmp_path}", f"--page={page}"]
    command = [sys.executable, "-m", "tests.zoo", "gru", *options]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "| gru | output 0 |" in page.read_text(encoding="utf-8"), first.stderr
    kept = (tmp_path / "gru" / "default.json").stat().st_mtime_ns
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.stderr.splitlines()[1:] == first.stderr.splitlines()[1:]
    assert (tmp_path / "gru" / "default.json").stat().st_mtime_ns == kept
