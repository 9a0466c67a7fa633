"""The architecture, held: imports run one way, and `dvc.yaml` lists what each stage really reads and imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

# From the bottom up; a module imports only from its own part and from parts above it in this list.
LAYERS = [
    ("src.core",),
    ("src.stats",),
    ("src.params",),
    ("src.data",),
    ("src.models",),
    ("src.compute",),
    ("src.evaluation",),
    ("src.training",),
    ("src.figures", "src.tracking"),
    ("src.prediction", "src.search", "src.auditing"),
    ("src.review",),
    tuple(f"src.{file.stem}" for file in Path("src").glob("*.py") if file.stem != "__init__"),  # commands
]

# Code that stages import without depending on it, and why.
EXEMPT = {
    "src.core": "how files are found, read and written, and how a program ends: not what is in them",
    "src.params": "the values that a stage reads are listed instead",
    "src.tracking": "records what happened; of the outputs only the spelling of settings on the page is its",
}

PIPELINE = YAML(typ="safe", pure=True).load(Path("dvc.yaml"))["stages"]
SEARCH = YAML(typ="safe", pure=True).load(Path("tune/dvc.yaml"))["stages"]
GRAPH = grimp.build_graph("src", "stages", cache_dir=None)


def test_every_file_directly_in_src_is_a_command() -> None:
    for file in Path("src").glob("*.py"):
        assert file.name == "__init__.py" or "command(main" in file.read_text(encoding="utf-8"), file


def test_contributing_describes_the_structure_that_there_is() -> None:
    text = Path("CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:src|stages|tests|recipes|benchmarks)/[\w/]+\.(?:py|yaml)\b", text))
    assert {path for path in named if not Path(path).exists()} == {"recipes/NAME.yaml"}
    for name, path in re.findall(r"`(\w+)`\s(?:in\s|\()`(\w+/[\w/]+\.py)`", text):
        assert re.search(rf"^ *(def|class)? ?{name}\b", Path(path).read_text(encoding="utf-8"), re.MULTILINE), name
    structure = text.partition("## Structure")[2].partition("## How to add")[0]
    folders = {file.parent.name for file in Path("src").glob("*/__init__.py")}
    assert set(re.findall(r"src/(\w+)/  ", structure)) == folders
    (commands,) = re.findall(r"commands: (.+)", structure)
    assert {f"src.{name}" for name in commands.split(", ")} == set(LAYERS[-1])


def test_extras_pin_what_the_main_lock_pins() -> None:
    def pins(lock: Path) -> set[tuple[str, str]]:
        return set(re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE))

    main = pins(Path("requirements.lock"))
    for extra in sorted(Path().glob("requirements-*.lock")):
        shared = {(name, version) for name, version in pins(extra) if name in dict(main)}
        assert shared <= main, extra


def test_every_part_has_its_layer_and_imports_from_above_only() -> None:
    assert GRAPH.find_children("src") == {name for names in LAYERS for name in names}, "place each in LAYERS"
    layers = [grimp.Layer(*names, independent=False) for names in (("stages",), *reversed(LAYERS))]
    assert GRAPH.find_illegal_dependencies_for_layers(layers) == set()


def test_the_import_graph_has_no_cycles() -> None:
    for module in GRAPH.modules:
        for imported in GRAPH.find_modules_directly_imported_by(module):
            chain = GRAPH.find_shortest_chain(imported, module)
            assert chain is None, f"{module} imports {imported}, which leads back by {chain}"


def exempt(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in EXEMPT)


def imported_code(start: str) -> set[str]:
    """List the files that a module imports, directly or not, without those that only exempt modules need."""
    found: set[str] = set()
    todo = [start]
    while todo:
        module = todo.pop()
        if module in found or exempt(module):
            continue
        found.add(module)
        todo += GRAPH.find_modules_directly_imported_by(module)
    files = (Path(*module.split(".")) for module in found)
    return {f"{file}.py" for file in files if not file.is_dir()}


MODULES = {**{stage: f"stages.{stage}" for stage in PIPELINE}, "tune": "src.tune"}


@pytest.mark.parametrize("stage", MODULES)
def test_a_stage_lists_the_code_it_imports(stage: str) -> None:
    dependencies = (PIPELINE | SEARCH)[stage]["deps"]
    listed = {path for path in dependencies if path.startswith(("src/", "stages/")) and not path.endswith(".jinja")}
    imported = imported_code(MODULES[stage])
    assert {file for file in imported if not any(Path(file).is_relative_to(entry) for entry in listed)} == set()
    assert {entry for entry in listed if not any(Path(file).is_relative_to(entry) for file in imported)} == set()


def parameters_read(stage: str) -> set[str]:
    """Return the dotted keys that a stage's source reads from the variable `params`."""
    keys = set()
    inner = set()
    for node in ast.walk(ast.parse(Path(f"stages/{stage}.py").read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute) or node in inner:
            continue
        names: list[str] = []
        value: ast.expr = node
        while isinstance(value, ast.Attribute):
            inner.add(value)
            names.insert(0, value.attr)
            value = value.value
        if isinstance(value, ast.Name) and value.id == "params":
            keys.add(".".join(names).removesuffix(".model_dump"))
    # Who reads a whole section needs no line for one of its values.
    return {key for key in keys if not any(key.startswith(f"{section}.") for section in keys)}


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_lists_the_parameters_it_reads(stage: str) -> None:
    assert set(PIPELINE[stage]["params"]) == parameters_read(stage)


def test_the_pipeline_has_no_templates() -> None:
    assert "${" not in Path("dvc.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_is_thin(stage: str) -> None:
    assert len(Path(f"stages/{stage}.py").read_text(encoding="utf-8").splitlines()) <= 80


def test_only_evaluation_and_figures_depend_on_the_test_images() -> None:
    found = {name for name, stage in (PIPELINE | SEARCH).items() if "data/prepared/test" in stage["deps"]}
    assert found == {"evaluate", "visualize"}


# By module, in their order: what one may import, those after it may.
LIGHT = {"torch", "torchvision", "pandas", "mlflow", "sklearn", "matplotlib", "scipy"}
UNNEEDED = {
    "stages.download": LIGHT,
    "stages.split": LIGHT,
    "src.tracking.sync": LIGHT,  # `make repro` ends with it, even where nothing was to be done
    "src.predict": {"torchvision", "pandas", "mlflow", "sklearn", "matplotlib"},
    "stages.train": {"torchvision", "mlflow", "sklearn", "matplotlib"},
    "stages.evaluate": {"torchvision", "mlflow", "sklearn", "matplotlib"},
    "stages.visualize": {"torchvision", "mlflow", "sklearn"},
}


def test_a_program_does_not_import_what_it_may_not_need() -> None:
    """A small run consists mostly of imports; torch alone takes 2 to 3 seconds."""
    code = "\n".join(f"import sys, {module}; print(*sys.modules)" for module in UNNEEDED)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for (module, unneeded), imported in zip(UNNEEDED.items(), run.stdout.splitlines(), strict=True):
        assert not unneeded & set(imported.split()), module
