"""The verb `samples`: raw samples as CSV, for a spreadsheet or another tool."""

import argparse
import csv
import sys
from pathlib import Path

from loadtest.measure import sample_files
from loadtest.measure.samples import COLUMNS


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb to a command line."""
    text = "print the raw samples of a run as CSV, in scheduled order"
    parser = verbs.add_parser("samples", help=text, description=text)
    parser.add_argument("folder", type=Path, help="folder of the run")
    parser.set_defaults(verb=run)


def run(namespace: argparse.Namespace) -> int:
    """Prints them.

    Raises:
        RunError: the folder holds none.
    """
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(COLUMNS)
    out.writerows(sample_files.read(namespace.folder).tolist())
    return 0
