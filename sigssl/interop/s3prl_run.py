"""`python -m sigssl.interop.s3prl_run SCRIPT ...`: run a script of s3prl with sigssl's models among its upstreams.

Example, in the package folder of a clone of s3prl:
    python -m sigssl.interop.s3prl_run run_downstream.py -m train -n try -d phone_linear -u sigssl_local -k exp/tera
With several processes: `torchrun --nproc_per_node 2 -m sigssl.interop.s3prl_run run_downstream.py ...`.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from sigssl.errors import UserError

USAGE = "usage: python -m sigssl.interop.s3prl_run SCRIPT [words of the script ...]"


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare the process for s3prl, register sigssl's upstreams, and run a script as `python SCRIPT` would.

    Args:
        argv: the script and its words; the process's own by default.

    Returns:
        0; 2 where there is no such script, or sigssl refuses what the script asks of it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(f"{USAGE}\n\n{__doc__}")  # noqa: T201
        return 0 if words else 2
    script = Path(words[0])
    try:
        if not script.is_file():
            raise UserError(f"{script}: no such script; expected the path of s3prl's run_downstream.py or of one like it.")
        from sigssl.interop import s3prl, s3prl_shim

        s3prl_shim.install_for_runners()
        s3prl.register()
        sys.argv = words
        sys.path.insert(0, str(script.resolve().parent))
        runpy.run_path(str(script), run_name="__main__")
    except UserError as error:
        print(f"sigssl.interop.s3prl_run: error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
