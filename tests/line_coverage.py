"""Line coverage by file, of what ``make test`` recorded: prints the lowest files, and ends with 1 where one is too low.

coverage.py itself knows one threshold for all files together.
"""

import sys
from pathlib import Path

import coverage

LEAST = 85.0  # percent of the lines of each file
SHOWN = 10


def main():
    recorded = coverage.Coverage()
    recorded.load()
    files = []
    for path in recorded.get_data().measured_files():
        _, lines, _, missing, where = recorded.analysis2(path)
        if lines:
            files.append((100 * (1 - len(missing) / len(lines)), Path(path), where, len(lines), len(missing)))
    files.sort()
    print(f"line coverage: {100 * (1 - sum(f[4] for f in files) / sum(f[3] for f in files)):.1f} %; the lowest files:")
    for percent, path, where, *_ in files[:SHOWN]:
        print(f"{percent:6.1f} %  {path.relative_to(Path.cwd())}  not run: {where or 'none'}")
    low = sum(percent < LEAST for percent, *_ in files)
    if low:
        print(f"{low} file(s) under {LEAST:g} %: test what their other lines do", file=sys.stderr)
    return int(low > 0)


if __name__ == "__main__":
    sys.exit(main())
