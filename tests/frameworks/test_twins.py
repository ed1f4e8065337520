"""The folders of frameworks are twins: the same files, in them the same public names, with the same arguments."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import registry
from tests.support.outlines import list_outline

FOLDER = registry.ROOT / "frameworks"
PATTERN = "pytorch"
"""The folder that the others are compared with."""

KEEPS_WEIGHTS = "a PyTorch layer keeps its weights, which are an argument in the others"
OWN_STATE_GRADIENTS = "a layer of the framework keeps the gradients with respect to its states to itself"
OWN_LAYERS = "PyTorch has a layer norm and an attention of its own"
CALLS = "the documentation of each framework has it so: the test is of its defaults"
BACKWARD = "NumPy differentiates nothing: the way back is written out"
CUT = "an operation of its own, where PyTorch has hooks"
ONE_PROGRAM = "a program compiled for a chunk of steps, where PyTorch runs step by step"
PIECES = dict.fromkeys(("Differentiate", "make_step", "make_chunk", "prepare_gradient"), ONE_PROGRAM)

KEEPS_NAMES = "a PyTorch layer names its weights itself, and keeps kernels transposed"
STEPS = "step by step alone, as the equations are written"
LAST = "a loop that is part of the program keeps every state, unless it is written otherwise"

NETWORK = {
    "Network.__init__": "the path, and in TensorFlow the type, choose what runs",
    **dict.fromkeys(("Network.__call__", "Network.run_shifted", "Network.run_layer"), KEEPS_WEIGHTS),
}
"""What the network of a family has beside PyTorch's, which has its weights and a layer that keeps them."""

LAYER = {
    "Network.__init__": KEEPS_WEIGHTS,
    "Network.forward": KEEPS_WEIGHTS,
    "Network.run_shifted": KEEPS_WEIGHTS,
}

OWN: dict[tuple[str, str], dict[str, str]] = {
    ("pytorch", "linear"): {
        **LAYER,
        "LinearLayers": KEEPS_WEIGHTS,
        "register_weights": KEEPS_NAMES,
        "name_native": KEEPS_NAMES,
    },
    ("pytorch", "independent"): {
        **LAYER,
        "IndependentLayers": KEEPS_WEIGHTS,
        "project_weights": "weights are changed in place",
    },
    ("jax", "linear"): NETWORK | {"run_steps": LAST},
    ("jax", "independent"): NETWORK | {"project_weights": "weights are an argument"},
    ("tensorflow", "linear"): NETWORK
    | dict.fromkeys(("differentiate_cut", "differentiate_cut_network"), CUT)
    | {"run_steps": LAST},
    ("tensorflow", "independent"): NETWORK | {"project_weights": "weights are an argument", "differentiate_cut": CUT},
    ("reference", "linear"): {
        **{name: reason for name, reason in NETWORK.items() if name != "Network.run_layer"},
        **dict.fromkeys(("run_gated", "run_lru", "sigmoid"), STEPS),
        "compute_gradients": BACKWARD,
    },
    ("reference", "independent"): {
        **{name: reason for name, reason in NETWORK.items() if name != "Network.run_layer"},
        "project_weights": "weights are an argument",
        "compute_gradients": BACKWARD,
    },
    ("pytorch", "__init__"): {"DTYPES": "PyTorch's types have no names as strings"},
    ("reference", "__init__"): {
        "copy_weights": "the shared layout is NumPy's own, so that what is handed out is copied",
        "Framework.compute_gradients": BACKWARD,
    },
    ("pytorch", "paths"): {
        **dict.fromkeys(("WITHOUT_CUDNN", "use_kernels"), "PyTorch takes cuDNN or not by a flag of the process"),
        "FLUSHED": "PyTorch alone keeps subnormal numbers",
        **dict.fromkeys(("COMPILERS", "HEADER", "compile_step"), "torch.compile needs a compiler of C or C++"),
        **dict.fromkeys(
            ("WARM_UP", "Step", "StepGraph", "find_stream"), "PyTorch alone has its CUDA graphs recorded by us"
        ),
        "name_kernel": "PyTorch chooses the library by the weight, too",
    },
    ("tensorflow", "paths"): {
        **PIECES,
        "compile_program": ONE_PROGRAM,
        "name_kernel": "the path alone tells it",
        "COMPILED": "a program is compiled by XLA, or is TensorFlow's graph",
    },
    ("jax", "paths"): {
        **PIECES,
        "compile_program": f"{ONE_PROGRAM}; JAX takes the types from its arguments",
        "name_kernel": "the path alone tells it",
    },
    ("reference", "clip"): {"LEAST_NORM": "its constants are its own, so that a wrong one of the others is found"},
    ("reference", "optimizers"): {
        "MOMENTUM": "its constants are its own, so that a wrong one of the others is found",
        "find_rate": "its schedules are its own: the others have theirs from one place",
    },
    ("reference", "replicas"): {"Framework.compute_gradients": "its step asks for the parts' sum by this name"},
    ("reference", "penalties"): {"PENALISED": BACKWARD, "compute_omega_gradients": BACKWARD},
    ("pytorch", "recurrent"): {
        "LAYERS": "native layers",
        "Network.__init__": KEEPS_WEIGHTS,
        "Network.forward": KEEPS_WEIGHTS,
        "CutLayers": CUT,
        "LoopedLayers": OWN_STATE_GRADIENTS,
    },
    ("tensorflow", "recurrent"): {
        "LAYERS": "native layers",
        "Tensors": "TensorFlow publishes no types",
        "Network.__init__": "a Keras layer has its type and its kernel from its constructor",
        "Network.__call__": KEEPS_WEIGHTS,
        "LayerTrace": OWN_STATE_GRADIENTS,
        "trace_gradients": OWN_STATE_GRADIENTS,
        "differentiate_cut": OWN_STATE_GRADIENTS,
        "cut_derivative": CUT,
    },
    ("jax", "recurrent"): {
        "Tensors": "JAX's weights are a dictionary",
        "Network.__init__": "the path chooses the layer, a scan or cuDNN's",
        "Network.__call__": KEEPS_WEIGHTS,
        "Network.run_shifted": OWN_STATE_GRADIENTS,
        "Network.scan_layer": "JAX has no native layer but cuDNN's",
        "cut_derivative": CUT,
        "run_cudnn_lstm": "the path cudnn",
        "pack_weights": "the path cudnn",
    },
    ("reference", "recurrent"): {
        "Network.__init__": "there is one precision and one path",
        "Network.__call__": KEEPS_WEIGHTS,
        **dict.fromkeys(("DerivativeClip", "Carry", "Step", "Rnn", "Lstm", "Gru"), "the cells are written out"),
        **dict.fromkeys(("LayerRun", "Network.backward", "compute_gradients", "run_batch"), BACKWARD),
        **dict.fromkeys(("differentiate_activation", "sigmoid", "sum_outer_products"), BACKWARD),
    },
    **{
        (framework, part): dict.fromkeys(("Network.__init__", "Network.__call__", "Network.run_shifted"), KEEPS_WEIGHTS)
        | (dict.fromkeys(("NOTHING", "normalise"), OWN_LAYERS) if part == "transformer" else {})
        for framework in ("tensorflow", "jax", "reference")
        for part in ("attention", "transformer")
    },
    ("pytorch", "attention"): dict.fromkeys(
        ("Network.__init__", "Network.forward", "Network.run_shifted"), KEEPS_WEIGHTS
    ),
    ("pytorch", "transformer"): {
        **dict.fromkeys(("Network.__init__", "Network.forward", "Network.run_shifted"), KEEPS_WEIGHTS),
        "Layer": KEEPS_WEIGHTS,
    },
    ("pytorch", "native"): dict.fromkeys(("Network.__init__", "Network.forward", "clip_gradients"), CALLS),
    ("tensorflow", "native"): dict.fromkeys(("Network.__init__", "Network.call", "clip_gradients"), CALLS),
    ("jax", "native"): {
        **dict.fromkeys(("Network.__init__", "Network.__call__", "clip_gradients"), CALLS),
        "make_transformation": "one object for a recipe, so that it compiles once",
        "train_step": "compiled once for a model",
        "predict_scores": "compiled once for a model",
    },
    ("tensorflow", "device"): {"GPU": "TensorFlow names devices by strings"},
    ("jax", "device"): {"plus_one": "compiled once"},
}
"""What a file of one folder has and the others do not have, or have with other arguments, and why it must be so."""

OWN["pytorch", "mixed"] = {"Framework.predict": KEEPS_WEIGHTS}
for _framework in ("tensorflow", "jax"):
    OWN[_framework, "mixed"] = {"compile_program": ONE_PROGRAM}
OWN["jax", "attention"]["run_gru"] = "JAX has no native gru"
OWN["reference", "attention"] |= dict.fromkeys(("run_grus", "sigmoid"), "the gru is written out")
for _part in ("attention", "transformer"):
    OWN["reference", _part]["compute_gradients"] = BACKWARD

ABSENT: dict[tuple[str, str], dict[str, str]] = {
    ("reference", "__init__"): {
        "ENVIRONMENT": "the reference runs on the CPU alone",
        "Framework.stack_batches": "there is no device that a chunk is copied to",
        "Framework.make_tensor": "there is no device that an array is copied to",
    },
    ("reference", "replicas"): {"Framework.kernel": "one process makes all parts, by the same loops"},
    ("reference", "gradient_flow"): {"differentiate_shifts": "its families' own gradients have them"},
    ("reference", "linear"): {
        **dict.fromkeys(("loop_states", "scan_states", "loop_turning", "scan_turning"), STEPS),
        "to_native": "the shared layout is the reference's own",
        "to_shared": "the shared layout is the reference's own",
    },
    ("reference", "recurrent"): {
        "ACTIVATIONS": "the cells are written out",
        "to_native": "the shared layout is the reference's own",
        "to_shared": "the shared layout is the reference's own",
    },
    **{
        ("reference", part): dict.fromkeys(("to_native", "to_shared"), "the shared layout is the reference's own")
        for part in ("attention", "transformer")
    },
}
"""What the other folders have and a file of this one does not have, and why."""

ALONE = {"reference": {"differentiation": "NumPy differentiates nothing by itself"}}
"""Files that one folder alone has, and why."""

NO_FILE = {
    "reference": {
        "native": "it has no defaults of its own",
        "paths": "it has one path",
        "device": "it runs on the CPU alone",
        "own_clips": "it has no clips but ours",
        "own_updates": "it makes no update in parts",
        "mixed": "it is what is right, in float64",
    }
}
"""Files that a folder does not have, and why."""


def is_listed(line: str, heads: dict[str, str]) -> bool:
    """Say whether a line of an outline is one of these names, or belongs to a class among them."""
    name = line.removeprefix("class ").partition("(")[0]
    return name in heads or name.partition(".")[0] in heads


def list_differences(folder: Path) -> list[str]:
    """Return a line for each difference between the folders of frameworks that is not listed, or listed in vain."""
    found = []
    parts = sorted(path.stem for path in (folder / PATTERN).glob("*.py"))
    for framework in registry.list_frameworks():
        here = {path.stem for path in (folder / framework).glob("*.py")}
        missing = NO_FILE.get(framework, {})
        found += [f"{framework} has no {part}.py" for part in parts if part not in here and part not in missing]
        found += [f"{framework} alone has {part}.py" for part in here - set(parts) - set(ALONE.get(framework, {}))]
        found += [f"{framework} has {part}.py, which is listed as missing" for part in here & set(missing)]
        for part in parts:
            if part in here:
                found += _compare(folder, framework, part)
    return found


def _compare(folder: Path, framework: str, part: str) -> list[str]:
    outline = list_outline(folder / framework / f"{part}.py")
    pattern = list_outline(folder / PATTERN / f"{part}.py")
    own, absent = OWN.get((framework, part), {}), ABSENT.get((framework, part), {})
    left = [line for line in outline if not is_listed(line, own)]
    right = [line for line in pattern if not is_listed(line, OWN.get((PATTERN, part), {}) | absent)]
    at = f"{framework}/{part}.py"
    found = [] if left == right else [f"{at} has {left}, and {PATTERN}/{part}.py has {right}"]
    found += [
        f"{at} has no {head}, which is listed" for head in own if not any(is_listed(x, {head: ""}) for x in outline)
    ]
    found += [f"{at} has {head}, listed as absent" for head in absent if any(is_listed(x, {head: ""}) for x in outline)]
    others = [
        name for name in registry.list_frameworks() if name != framework and (folder / name / f"{part}.py").exists()
    ]
    elsewhere = [set(list_outline(folder / name / f"{part}.py")) for name in others]
    same = [line for line in outline if is_listed(line, own) and all(line in lines for lines in elsewhere)]
    return found + [f"{at} has {line} as all others have, and lists it" for line in same if elsewhere]


def test_the_folders_differ_in_nothing_that_is_not_listed_with_its_reason() -> None:
    assert len(registry.list_frameworks()) >= 4
    assert list_differences(FOLDER) == []


@pytest.mark.parametrize(
    ("framework", "part", "right", "wrong"),
    [
        ("jax", "clip", "kind: str,\n    gradients: Tensors,", "gradients: Tensors,\n    kind: str,"),
        ("tensorflow", "clip", "def compute_norm(", "def compute_length("),
        ("pytorch", "clip", "history: torch.Tensor,\n", "history: torch.Tensor,\n    epsilon: float = 0,\n"),
        ("jax", "optimizers", "    *,\n    steps", "    steps"),
        ("reference", "loss", "def compute_loss(", "def find_loss("),
        ("tensorflow", "__init__", "    def state(self)", "    def memory(self)"),
        ("tensorflow", "device", "def prepare_copy(size: int)", "def prepare_copy(size: int, dtype: str)"),
        ("pytorch", "own_clips", "CLIPS:", "FUNCTIONS:"),
        ("jax", "penalties", "def differentiate_omega(", "def _differentiate_omega("),
        ("tensorflow", "native", "    def predict(self", "    def score(self"),
        (
            "jax",
            "gradient_flow",
            "def measure_flow(framework: Framework, batch",
            "def measure_flow(batch: Batch, framework",
        ),
    ],
)
def test_a_planted_difference_is_told(framework: str, part: str, right: str, wrong: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "frameworks")
    path = tmp_path / "frameworks" / framework / f"{part}.py"
    source = path.read_text()
    assert source.count(right) == 1
    path.write_text(source.replace(right, wrong))
    assert any(f"/{part}.py" in line for line in list_differences(tmp_path / "frameworks"))


def test_two_names_that_change_places_are_told(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "frameworks")
    path = tmp_path / "frameworks" / "jax" / "clip.py"
    head, first, second, *rest = path.read_text().replace("\ndef ", "\n\0def ").split("\0")
    path.write_text(f"{head}{second}\n\n{first}{''.join(rest)}")
    assert list_differences(tmp_path / "frameworks")


def test_a_file_too_few_or_too_many_is_told(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "frameworks")
    (tmp_path / "frameworks" / "jax" / "native.py").rename(tmp_path / "frameworks" / "jax" / "own.py")
    told = list_differences(tmp_path / "frameworks")
    assert told == ["jax has no native.py", "jax alone has own.py"]
