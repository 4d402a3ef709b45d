"""Reads JSON files and validates their content; errors name the file and the key."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from affect.errors import InvalidFileError, MissingFileError, UserError
from affect.storage.text_file import read_text

Content = TypeVar("Content")

_STRICT: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def json_content(kind: type[Content]) -> type[Content]:
    """Mark a dataclass as the content of a JSON file: no extra keys, no type conversions, only finite numbers."""
    return with_config(_STRICT)(kind)


def read_json(
    path: str | Path,
    content: type[Content],
    remedy: str,
    file_format: str | None = None,
    error: type[UserError] = InvalidFileError,
) -> Content:
    """Read a JSON file and validate it.

    Args:
        path: The file.
        content: Expected content: a dataclass marked with `json_content`, or a type such as `dict[str, float]`.
        remedy: What the user can do about a missing or damaged file, for the error message.
        file_format: Expected value of the key `format`; None if the file has no such key.
        error: Class of all errors except that for a missing file.

    Returns:
        The content; a dataclass checks its values in `__post_init__`.

    Raises:
        MissingFileError: If there is no such file.
        UserError: An `error`, if it is not a regular file of JSON, or its content differs from the expected.
    """
    try:
        text = read_text(path, error, exact=True)
    except MissingFileError as reason:
        raise MissingFileError(f"there is no {path}; {remedy}") from reason
    except error as reason:
        raise error(f"{reason}; {remedy}") from reason
    try:
        return parse_json(text, content, file_format)
    except ValueError as reason:
        raise error(f"{path}: {reason}; {remedy}") from reason


def parse_json(text: str, content: type[Content], file_format: str | None = None) -> Content:
    """Parse JSON text and validate it.

    Args:
        text: The text.
        content: Expected content, as in `read_json`.
        file_format: Expected value of the key `format`, which is not part of `content`.

    Raises:
        ValueError: If the text has other content; the message names the key.
    """
    try:
        found = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
        if file_format is not None:
            if not isinstance(found, dict) or found.get("format") != file_format:
                kind = found.get("format") if isinstance(found, dict) else type(found).__name__
                raise ValueError(f"it has the format {kind!s:.80}, not {file_format!r}")
            del found["format"]
        # Serialised again, since pydantic converts arrays to tuples only when it parses the JSON itself. A number such
        # as 1e999 has been read as infinity, which is refused here.
        adapter = _adapter(content)  # type: ignore[arg-type]
        return adapter.validate_json(json.dumps(found, allow_nan=False), strict=True)
    except ValidationError as error:
        raise ValueError(_describe(error)) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


@functools.cache
def _adapter(content: Any) -> TypeAdapter[Any]:
    return TypeAdapter(content)


def _describe(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"]))
    reason = first["msg"].removeprefix("Value error, ")
    more = "" if error.error_count() == 1 else f" (and {error.error_count() - 1} more)"
    return (f"key {key:.80}: {reason}" if key else reason) + more


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {max(keys, key=keys.count):.80} occurs more than once")
    return found
