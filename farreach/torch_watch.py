"""What a recorder watches of PyTorch while it is open: the clip functions, and the steps of loss scalers.

A module that did ``from torch.nn.utils import clip_grad_norm_`` holds the function itself, and so may a closure, a
default argument or the main module of a spawned process, which no list of modules names. So what is changed is not the
name but the code of the one function object; it gets its own back afterwards.
"""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

WATCHED: dict[str, Any] = {
    name: getattr(torch.nn.utils, name)
    for name in ("clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_")
    if hasattr(torch.nn.utils, name)
}


def _copy(function: Any) -> Any:
    """Return a function that does what this one does, and goes on to when the other one's code is changed."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


PLAIN: dict[str, Any] = {name: _copy(function) for name, function in WATCHED.items()}
"""What torch's clip functions do by themselves."""

Listener = Callable[[str, list[Any], tuple[Any, ...], dict[str, Any]], Any]
"""Is given a clip function's name, its parameters and its other arguments; uses `call_plain` if it is its own."""

_listeners: list[Listener] = []
_inside = threading.local()
_scaled: list[Callable[[torch.optim.Optimizer, bool], None]] = []


def _ask(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Let the newest recorder whose clip this is answer; with none, torch itself."""
    if getattr(_inside, "plain", False):  # torch's clip by norm calls another of these
        return PLAIN[name](*arguments, **named)
    first, *rest = arguments or (named.pop("parameters", ()),)
    given = [first] if isinstance(first, torch.Tensor) else [*first]
    for listener in reversed(_listeners):
        answer = listener(name, given, tuple(rest), named)
        if answer is not NotImplemented:
            return answer
    return call_plain(name, given, *rest, **named)


def call_plain(name: str, *arguments: Any, **named: Any) -> Any:
    """Call torch's own clip function, which no recorder sees."""
    _inside.plain = True
    try:
        return PLAIN[name](*arguments, **named)
    finally:
        _inside.plain = False


@functools.cache
def _make_code(function: Any, name: str) -> types.CodeType:
    """Return code that hands a call to `_ask`, with as many free variables as the function's own, as Python asks."""
    free = function.__code__.co_freevars
    lines = [
        f"def outer({', '.join(free)}):",
        "    def watched(*arguments, **named):",
        f"        {'; '.join(free) or 'pass'}",
        "        from farreach import torch_watch",
        f"        return torch_watch._ask({name!r}, arguments, named)",
        "    return watched",
    ]
    space: dict[str, Any] = {}
    exec("\n".join(lines), space)  # noqa: S102 - the names of free variables are known only now
    code: types.CodeType = space["outer"](*free).__code__
    return code.replace(co_filename=__file__)


@contextmanager
def watch_clips(listener: Listener) -> Iterator[None]:
    """Hand every call of torch's clip functions, by whatever name, to a listener inside the block."""
    _listeners.append(listener)
    if len(_listeners) == 1:
        for name, function in WATCHED.items():
            function.__code__ = _make_code(function, name)
    try:
        yield
    finally:
        _listeners.remove(listener)
        if not _listeners:
            for name, function in WATCHED.items():
                function.__code__ = PLAIN[name].__code__


_scaler_step = torch.amp.GradScaler.step


def _step_watched(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer, *arguments: Any, **named: Any) -> Any:
    """Do what a scaler's step does, and say to the recorders when it begins and when it has ended."""
    if not scaler.is_enabled():
        return _scaler_step(scaler, optimizer, *arguments, **named)
    for note in [*_scaled]:
        note(optimizer, True)  # noqa: FBT003
    result = _scaler_step(scaler, optimizer, *arguments, **named)
    for note in [*_scaled]:
        note(optimizer, False)  # noqa: FBT003
    return result


def watch_scalers(note: Callable[[torch.optim.Optimizer, bool], None]) -> Callable[[], None]:
    """Tell `note` of every step of an enabled loss scaler, at its begin (True) and its end; return what ends that."""
    _scaled.append(note)
    torch.amp.GradScaler.step = _step_watched  # type: ignore[method-assign,assignment]

    def stop() -> None:
        if note in _scaled:
            _scaled.remove(note)
        if not _scaled:
            torch.amp.GradScaler.step = _scaler_step  # type: ignore[method-assign]

    return stop
