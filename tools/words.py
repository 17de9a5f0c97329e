"""Prints the words of a make variable, each quoted for the shell: `python tools/words.py NAME VALUE`.

Words stand apart and are quoted as in a shell; but nothing in them is run or expanded. A value that is a file's name as
a whole is one word, whatever stands in it.
"""

import os
import shlex
import sys


def words(value: str) -> list[str]:
    """The words of a value.

    Raises:
        ValueError: a quote has no end.
    """
    return [value] if os.path.exists(value) else shlex.split(value)


def main(name: str, value: str) -> None:
    """Prints the words, or says which variable cannot be read."""
    try:
        quoted = shlex.join(words(value))
    except ValueError as error:
        sys.exit(f"{name}={value}: {error}; put a quote at both ends of what has blanks in it")
    sys.stdout.buffer.write(os.fsencode(quoted))


if __name__ == "__main__":
    main(*sys.argv[1:])
