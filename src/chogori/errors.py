"""What can go wrong, for the person who reads it: what was found, what was expected, what to do.

    ChogoriError
    ├── ConfigError           an option, a spec string or a file people write is wrong
    │   └── RequestError      a request asks what this model cannot do; has `param`
    │       └── SchemaError   it cannot be held to a JSON schema; has `keyword` and `path`
    ├── ModelUnavailable      a model cannot be had or does not answer
    │   ├── EndpointError     an endpoint answered with an error; has `url` and `status`
    │   ├── RateLimited       it refused for now, after every retry
    │   ├── StreamCut         its stream ended before the reply did
    │   └── ModelFileError    a model file is absent, truncated or altered
    │       └── CheckpointError   its tensors or its config.json are not what they must be
    ├── ContextTooLong        the conversation does not fit the model's context
    ├── SandboxUnavailable    nothing on this machine can confine a tool
    ├── RunNotFound           no run of that id is kept here
    ├── RunDamaged            what is kept of a run cannot be read, or was deleted
    ├── RunChanged            a run would not go on as it began: something that decides it changed
    └── StoreError            the database cannot be opened, read or written
        ├── LeaseHeld         somebody else drives it; has `owner` and `until`
        └── LeaseLost         it was taken over; nothing was written

`ToolError` is not among them: it is for the model, and lives in `chogori.chat`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ChogoriError(Exception):
    """The one family of errors whose messages are written for people."""

    def __reduce__(self) -> tuple[Any, ...]:
        """They travel between processes; some were made of more than a message."""
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(kind: type[ChogoriError], args: tuple[Any, ...], state: Mapping[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConfigError(ChogoriError):
    """An option, a spec string or a file people write is wrong."""


class RequestError(ConfigError):
    """A request asks what this model cannot do. `param` names the field at fault, as the API of
    chat completions calls it ("tool_choice", "messages.2.content")."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class SchemaError(RequestError):
    """A JSON schema that nobody can promise to keep to: it is malformed, nothing satisfies it, or
    it uses a keyword that is not held. `path` is a JSON pointer into the schema."""

    def __init__(self, message: str, *, keyword: str, path: str, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.keyword = keyword
        self.path = path


class ModelUnavailable(ChogoriError):
    """A model cannot be had or does not answer."""


class EndpointError(ModelUnavailable):
    """An endpoint answered with an error. `status` is None where there was no answer at all."""

    def __init__(self, message: str, *, url: str, status: int | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.status = status


class RateLimited(EndpointError):
    """The endpoint refused for now, after every retry."""


class StreamCut(EndpointError):
    """The stream ended before the reply did; what had come is lost to the model."""


class ModelFileError(ModelUnavailable):
    """A model file is absent, truncated or altered."""


class CheckpointError(ModelFileError):
    """The tensors or the config.json of a checkpoint are not what they must be."""


class ContextTooLong(ChogoriError):
    """The conversation does not fit the model's context."""


class SandboxUnavailable(ChogoriError):
    """Nothing on this machine can confine a tool."""


class RunNotFound(ChogoriError):
    """No run of that id is kept here."""


class RunDamaged(ChogoriError):
    """What is kept of a run cannot be read, or was deleted."""


class RunChanged(ChogoriError):
    """A run would not go on as it began: its agent has changed, or takes another way."""


class StoreError(ChogoriError):
    """The database cannot be opened, read or written."""


class LeaseHeld(StoreError):
    """Somebody else drives it: `owner`, in words, until `until` (seconds since the epoch)."""

    def __init__(self, message: str, *, owner: str, until: float) -> None:
        super().__init__(message)
        self.owner = owner
        self.until = until


class LeaseLost(StoreError):
    """It was taken over by somebody else; nothing was written."""
