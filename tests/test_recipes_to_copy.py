"""The recipes in calibration/recipes are valid and do what their first line says."""

from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

import dybitq.demo
from dybitq.cli.main import group

RECIPES = sorted((Path(__file__).parent.parent / "calibration" / "recipes").glob("*.yaml"))
DEMO = Path(dybitq.demo.__file__).parent


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Statistics of the demo network."""
    path = tmp_path_factory.mktemp("recipes") / "digits.stats"
    arguments = ["calibrate", str(DEMO / "digits.onnx"), "--data", str(DEMO / "digits.yaml"), "-o", str(path)]
    assert CliRunner().invoke(group, arguments).exit_code == 0
    return path


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_works(recipe, statistics, tmp_path):
    """Each quantizes the demo network, and begins with a sentence that says what it is for."""
    assert recipe.read_text().startswith("# ")
    output = tmp_path / "out.onnx"
    arguments = ["quantize", str(DEMO / "digits.onnx"), "--statistics", str(statistics), "-o", str(output)]
    result = CliRunner().invoke(group, [*arguments, "--recipe", str(recipe)])
    assert result.exit_code == 0, result.output
    onnx.checker.check_model(str(output), full_check=True)
