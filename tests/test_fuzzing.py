"""Whatever is in a file: a result or one readable line, never a traceback, a warning or a crash."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CASES = 300
ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "fine"), [("ir", 20), ("arrays", 20)])
def test_damaged_files_give_a_result_or_one_line(kind: str, fine: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.fuzzing", kind, str(CASES), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (lines[-1:], done.stderr[-2000:])
    assert done.stderr == ""
    cases = lines[1::2]
    assert len(cases) == CASES
    for number, case in enumerate(cases):
        assert case["traceback"] is None, (number, case["traceback"])
        assert case["code"] in (0, 1, 2)
        if case["line"] is not None:
            shown = case["line"].replace(str(tmp_path), "")
            assert "\n" not in shown, (number, shown)
            assert 10 < len(shown) <= 300, (number, shown)
            assert "Traceback" not in shown
    # Damage that hits nothing is among them, and damage that does.
    assert fine < sum(case["code"] == 0 for case in cases) < CASES - fine
