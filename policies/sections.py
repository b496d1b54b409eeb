"""Sections: what all tables of the configuration file share, and errors in the file's words."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from tenantfuzz.policies.suggestions import alternatives, did_you_mean


class Section(BaseModel):
    """A table of the file: strict, and an unknown key is an error that names the nearest one."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    unknown_key_hint: ClassVar[str] = ""

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            explained = [cls._explained(details) for details in error.errors()]
            raise ValidationError.from_exception_data(cls.__name__, explained) from None

    @classmethod
    def _explained(cls, details: ErrorDetails) -> InitErrorDetails:
        """The same error in the file's words, which the sections around it leave as it is."""
        loc, message = details["loc"], details["msg"]
        if details["type"] != "configuration":
            if details["type"] in ("extra_forbidden", "missing"):
                *outer, key = loc
                loc = tuple(outer)
                message = cls._about_key(details["type"], str(key))
            else:
                message = _in_words(details)
        problem = PydanticCustomError("configuration", "{message}", {"message": message})
        return InitErrorDetails(type=problem, loc=loc, input=details["input"])

    @classmethod
    def _about_key(cls, error: str, key: str) -> str:
        if error == "missing":
            return f"missing key '{key}'"
        known = [field.alias or name for name, field in cls.model_fields.items()]
        near = did_you_mean(key, known, quote="'")
        if not near:
            near = f"; {cls.unknown_key_hint or 'known are ' + ', '.join(known)}"
        return f"unknown key '{key}'{near}"


def _in_words(details: ErrorDetails) -> str:
    """pydantic's error as what was expected and what was there."""
    context = details.get("ctx", {})
    value = details["input"]
    match details["type"]:
        case "form":
            expected = details["msg"]
        case "string_type":
            expected = "a string"
        case "int_type":
            expected = "a whole number"
        case "bool_type":
            expected = "true or false"
        case "tuple_type" | "list_type":
            expected = "a list"
        case "dict_type" | "mapping_type" | "model_type" | "model_attributes_type":
            expected = "a table"
        case "enum" | "literal_error":
            words = re.findall(r"'([^']*)'", str(context["expected"]))
            near = did_you_mean(value, words, quote="'") if isinstance(value, str) else ""
            quoted = [f"'{word}'" for word in words]
            return f"expected {alternatives(quoted)}, not {_described(value)}{near}"
        case "greater_than_equal":
            expected = f"a number of at least {context['ge']}"
        case "greater_than":
            expected = "a time longer than none"
        case "string_too_short" | "too_short":
            return "must not be empty"
        case "value_error":
            return str(context["error"])
        case _:
            return details["msg"]
    return f"expected {expected}, not {_described(value)}"


def _described(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the string '{value}'"
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
        case _:
            return f"a value of type {type(value).__name__}"


# Tags of unions stand in the location of an error; the mark keeps them apart from keys.
MARK = "\0"


def form(expected: str, **forms: type) -> Discriminator:
    """Tells the forms of a value apart by its type, so that an error speaks of one form only."""

    def tag(value: object) -> str | None:
        for name, kind in forms.items():
            if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
                return MARK + name
        return None

    return Discriminator(
        tag,
        custom_error_type="form",
        custom_error_message=expected,
    )


def _listed(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a string or a list of strings, not {_described(value)}")
    return value


def _seconds(value: object) -> object:
    """``90``, ``"90s"``, ``"1m30s"``, ``"2h"`` as seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = value if isinstance(value, str) else ""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"expected a time such as '60s', '5m' or '1h', not {_described(value)}")
    return sum(float(number) * {"h": 3600, "m": 60}.get(unit, 1) for number, unit in parts)


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Strict(strict=False)]
OneOrMore = Annotated[Texts, BeforeValidator(_listed)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_seconds)]


def path_text(location: Sequence[int | str]) -> str:
    """A place in the file as the file writes it: ``access."*".issues``, ``accept[0].code``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not part.startswith(MARK):
            key = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{key}" if text else key
    return text


def problems_of(error: ValidationError) -> list[str]:
    """The errors of a validation, each with its place in the file in front."""
    problems = []
    for details in error.errors():
        path, message = path_text(details["loc"]), details["msg"]
        problems.append(f"{path}: {message}" if path else message)
    return problems
