"""All operators: each takes a correct target and yields changes of it that may leak."""

from collections.abc import Callable, Iterator

from mutant import Mutant, Subject
from object_operators import OBJECT_OPERATORS
from policy_operators import POLICY_OPERATORS

Operator = Callable[[Subject], Iterator[Mutant]]
OPERATORS: tuple[Operator, ...] = (*POLICY_OPERATORS, *OBJECT_OPERATORS)


def all_mutants(subject: Subject) -> dict[str, Mutant]:
    """What all operators make of a target, by name. Not all of it leaks: see the catalogue."""
    found: dict[str, Mutant] = {}
    for operator in OPERATORS:
        for mutant in operator(subject):
            if mutant.name in found:
                raise ValueError(f"two mutants of one name: {mutant.name}")
            found[mutant.name] = mutant
    return found
