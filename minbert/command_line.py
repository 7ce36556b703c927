"""What all command lines share: errors as one line, exit codes, quiet libraries."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

from minbert.errors import UserError

EXIT_USER, EXIT_FAILED, EXIT_INTERRUPTED = 2, 3, 130


def run(main: Callable[[], int]) -> int:
    """Run a command line; a user's mistake becomes ``error: …`` on stderr and exit code 2."""
    warnings.filterwarnings("ignore")
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        return 0
