"""Look over a file for Ray's cluster launcher: ``python -m trainables.cluster check cluster.yaml``.

Nothing is started, and no cloud is asked.
"""

from __future__ import annotations

import sys

from minbert.command_line import EXIT_USER, Parser, local_path, run
from trainables.cluster_check.checks import findings, summary
from trainables.machines.cluster_file import ClusterFile


def main() -> int:
    """Print everything that is wrong with a file, one line each, or one line on what it would start."""
    parser = Parser(prog="python -m trainables.cluster", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check", help="say what is wrong with a file, or what it would start and cost"
    )
    check.add_argument("file", type=local_path, help="cluster.yaml or another one")
    file = ClusterFile(parser.parse_args().file)
    found = findings(file)
    for finding in found:
        print(f"error: {file.line(finding)}", file=sys.stderr)
    if found:
        return EXIT_USER
    print(summary(file))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
