"""What the `bq` command makes of `--parameter` flags: parameters.py PLATFORM_BQ FILE, a JSON array of flags.

Prints a JSON array: of each flag the parameter as the API gets it, or null where `bq` refuses it or falls over it.
PLATFORM_BQ is the folder of the command's own code, `platform/bq` of Google's SDK. A program of its own, for that code brings
its own versions of many modules.
"""

import contextlib
import io
import json
import pathlib
import sys
import warnings


def main(platform: str, file: str) -> int:
    sys.path[:0] = [platform, f"{platform}/third_party"]
    warnings.simplefilter("ignore")
    from frontend import utils

    def parsed(flag: str):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                # Only what can be sent counts: NaN, for one, is no JSON.
                parameter = utils.ParseParameter(flag)
                json.dumps(parameter, allow_nan=False)
                return parameter
        # It leaves by SystemExit where it has a message, and by whatever happens where it has none.
        except (Exception, SystemExit):
            return None

    flags = json.loads(pathlib.Path(file).read_text())
    json.dump([parsed(flag) for flag in flags], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
