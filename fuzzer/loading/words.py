"""How SQL spells names, as far as the loader must read statements."""

NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
"""A regular expression for one identifier, quoted or not."""


def unquote(name: str) -> str:
    """The identifier that ``name`` spells: quotes removed, or folded to lower case."""
    if name.startswith('"'):
        return name[1:-1].replace('""', '"')
    return name.lower()
