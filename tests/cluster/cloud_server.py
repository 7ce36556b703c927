"""moto's server, with a market: while a file is there, no spot machine can be had.

A program by itself, started by ``instances.py``: ``python cloud_server.py FILE -H HOST -p PORT``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from moto import server
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import InstanceBackend


def main(sold_out: Path, arguments: list[str]) -> None:
    """Serve until killed."""
    run_instances = InstanceBackend.run_instances

    def run_if_there_are(self: InstanceBackend, *positional: Any, **named: Any) -> Any:
        if named.get("instance_market_options") == "spot" and sold_out.exists():
            # As EC2 answers; its longer text names other zones.
            raise EC2ClientError(
                "InsufficientInstanceCapacity",
                "There is no Spot capacity available that matches your request.",
            )
        return run_instances(self, *positional, **named)

    InstanceBackend.run_instances = run_if_there_are  # type: ignore[method-assign]
    server.main(arguments)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
