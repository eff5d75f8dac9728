"""From a spec string to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from chogori.chat import ChatModel, Profile, ScriptedModel, profile_for, read_script
from chogori.errors import ConfigError, ModelUnavailable
from chogori.presets.models import KNOWN_MODELS, find_model, models_folder
from chogori.swarm.mapper import SPEC as MAP_SPEC
from chogori.swarm.mapper import Mapper

SPECS = "local, smollm2, gguf:PATH, k2:PATH, k2:nano, scripted:FILE, or http(s)://HOST/v1#MODEL"


def load(
    spec: str = "local",
    *,
    data: Path | None = None,
    api_key: str | None = None,
    environ: Mapping[str, str] | None = None,
    context_tokens: int | None = None,
    memory_bytes: int | None = None,
) -> ChatModel:
    """The model that `spec` names: local, smollm2, gguf:PATH, k2:PATH, k2:nano, scripted:FILE or
    http(s)://HOST/v1#MODEL. Raises `ConfigError` for anything else, and `ModelFileError` where a
    model has to be pulled first. An embedded model is read at its first request.

    `memory_bytes` is what the weights of a k2: model may take; experts beyond that are read from
    its files each time. The key of an endpoint is `api_key`, or is looked for in `data` and
    `environ` (`api.Keys`)."""
    spec = _whole(spec)
    kind, _, rest = spec.partition(":")
    if spec in KNOWN_MODELS:
        known = KNOWN_MODELS[spec]
        profile = known.profile
        return _gguf(find_model(known), profile, context_tokens)
    if kind == "gguf" and rest:
        path = Path(rest)
        return _gguf(path, _gguf_profile(path, spec), context_tokens)
    if kind == "k2" and rest:
        return _k2(spec, context_tokens, memory_bytes)
    if kind == "scripted" and rest:
        return ScriptedModel(read_script(Path(rest)), profile=profile_for("scripted", spec=spec))
    if spec == MAP_SPEC:
        return Mapper()
    if kind in ("http", "https"):
        from chogori.api import Keys, connect

        if api_key is not None:
            return connect(spec, api_key=api_key)
        return connect(spec, key_source=Keys(data, environ or {}))
    raise ConfigError(f"{spec!r} is no model; expected {SPECS}")


def _whole(spec: str) -> str:
    """The same with its path from the root, so that a run finds its model from any folder."""
    kind, _, path = spec.partition(":")
    if kind not in ("gguf", "k2", "scripted") or path in ("", "nano"):
        return spec
    return f"{kind}:{Path(path).expanduser().absolute()}"


def _gguf(path: Path, profile: Profile, context_tokens: int | None) -> ChatModel:
    from chogori.engine.gguf import GgufModel

    if context_tokens:
        profile = replace(profile, context_tokens=context_tokens)
    return GgufModel(path, profile, state_folder=models_folder() / "states")


def _k2(spec: str, context_tokens: int | None, memory_bytes: int | None) -> ChatModel:
    try:
        from chogori.engine.k2 import K2Model, describe, find_folder
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModelUnavailable(
            f"{spec} needs PyTorch, which is not installed: pip install 'chogori[k2]'"
        ) from None
    described = describe(find_folder(spec), spec)
    if context_tokens:
        profile = replace(described.profile, context_tokens=context_tokens)
        described = replace(described, profile=profile)
    kernels = models_folder().parent / "kernels"
    return K2Model(described, kernels=kernels, memory_bytes=memory_bytes)


def _gguf_profile(path: Path, spec: str) -> Profile:
    return Profile(
        name=path.stem,
        spec=spec,
        context_tokens=8_192,
        native_tools=False,
        retention="all",
        temperature=0.7,
        agreement=1,
    )
