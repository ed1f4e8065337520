"""The variables of the environment: those that a framework wants on a device, and those that can move a bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FLAGS = "_FLAGS"
"""How the name of a variable ends that holds several settings: ours join those that the user has there."""


def merge_environment(wanted: Mapping[str, str], here: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the environment that a framework wants, as they are to be set where `here` is set.

    Args:
        wanted: the framework's ``ENVIRONMENT`` on a device.
        here: the environment now; of a variable that ends in `FLAGS` its settings stay, before the framework's.

    """
    merged = {}
    for name, value in wanted.items():
        flags = here.get(name, "").split() if name.endswith(FLAGS) else []
        merged[name] = " ".join([*flags, *([] if value in flags else [value])])
    return merged


def describe_environment(environment: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Return those variables as they are really set, for a record."""
    return ", ".join(f"{name}={here[name]}" for name in environment if name in here)


KINDS = (
    *("ATEN_", "BLIS_", "C10_", "CUBLAS_", "CUBLASLT_", "CUDA_", "CUDNN_", "DNNL_", "FLAX_", "GOMP_", "GOTO_", "JAX_"),
    *("KERAS_", "KMP_", "LIBXSMM_", "MKL_", "MKLDNN_", "NCCL_", "NPY_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTORCH_"),
    *("TF_", "TORCH_", "TORCHINDUCTOR_", "TRITON_", "VECLIB_", "XLA_"),
)
"""How the names of variables begin that the frameworks and the libraries below them read."""

FOREIGN = ("TF_CLI_", "TF_VAR_")
"""How the names of Terraform's variables begin, which no framework reads."""

SINGLE = ("GLIBC_TUNABLES", "LD_PRELOAD", "NVIDIA_TF32_OVERRIDE")
"""Further variables that can move a bit: the kernels of the C library, libraries put before others, TF32."""

_LOGS = "it says what is logged"
_FILES = "it names a folder or a file"
_MEMORY = "it says how memory is taken from the device, not what is computed in it"
_SET_HERE = "the framework's file sets it itself when a worker starts"
IDLE = {
    **dict.fromkeys(("TF_CPP_MIN_LOG_LEVEL", "TF_CPP_MAX_VLOG_LEVEL", "TF_CPP_MIN_VLOG_LEVEL"), _LOGS),
    **dict.fromkeys(("TF_CPP_VMODULE", "TORCH_CPP_LOG_LEVEL", "TORCH_LOGS", "TORCH_SHOW_CPP_STACKTRACES"), _LOGS),
    **dict.fromkeys(("DNNL_VERBOSE", "MKL_VERBOSE", "MKLDNN_VERBOSE", "ONEDNN_VERBOSE", "OPENBLAS_VERBOSE"), _LOGS),
    **dict.fromkeys(("KMP_SETTINGS", "KMP_VERSION", "KMP_WARNINGS", "OMP_DISPLAY_AFFINITY", "OMP_DISPLAY_ENV"), _LOGS),
    **dict.fromkeys(("JAX_LOG_COMPILES", "JAX_TRACEBACK_FILTERING", "NCCL_DEBUG"), _LOGS),
    **dict.fromkeys(("CUDA_HOME", "CUDA_PATH", "TORCH_HOME", "TRITON_CACHE_DIR"), _FILES),
    **dict.fromkeys(("CUDA_CACHE_PATH", "JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"), _FILES),
    **dict.fromkeys(("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TF_FORCE_GPU_ALLOW_GROWTH"), _MEMORY),
    **dict.fromkeys(("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"), _MEMORY),
    **dict.fromkeys(("JAX_DEFAULT_MATMUL_PRECISION", "JAX_ENABLE_X64"), _SET_HERE),
    **dict.fromkeys(("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"), "the device's name is recorded"),
    "CUDA_VERSION": "the version of the libraries that are loaded is recorded",
    "GOMP_CPU_AFFINITY": "it says on which cores threads run, not how many there are",
    "JAX_DEBUG_NANS": "it says what ends a run, not what is computed in it",
}
"""The variables of these kinds that move no bit, and why."""


def read_variables(here: Mapping[str, str]) -> dict[str, str]:
    """Return the two columns of a record that say how such variables are set, each a JSON object.

    Args:
        here: the environment of the process that trains.

    Returns:
        ``variables``: those that can move a bit; ``variables_idle``: those of `IDLE`.

    """
    kinds = [name for name in sorted(here) if name.startswith(KINDS) and not name.startswith(FOREIGN)]
    found = {name: here[name] for name in [*kinds, *(name for name in SINGLE if name in here)]}
    # Of where something lies the last part stays: rows are published, and the rest says nothing.
    idle = {name: Path(value).name if IDLE[name] == _FILES else value for name, value in found.items() if name in IDLE}
    moving = {name: value for name, value in found.items() if name not in IDLE}
    return {"variables": json.dumps(moving), "variables_idle": json.dumps(idle)}
