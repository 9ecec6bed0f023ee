"""Makes stats_c_readers.csv: a small invented reader study, 2 arms x 4 readers x 36 cases on a scale of 1 to 5."""

import csv
from pathlib import Path

import numpy as np


def main():
    rng = np.random.default_rng(20240607)
    truth = np.arange(36) < 15
    case = rng.normal(size=36) * 0.6
    with (Path(__file__).parent / "stats_c_readers.csv").open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["arm", "reader", "case", "truth", "rating"])
        for arm, gain in (("a", 1.1), ("b", 1.5)):
            for reader in range(4):
                signal = truth * (gain + 0.25 * rng.normal()) + case + rng.normal(size=36) * 0.8
                rating = np.digitize(signal, [-0.6, 0.2, 0.9, 1.6]) + 1
                writer.writerows([arm, f"r{reader + 1}", k + 1, int(truth[k]), rating[k]] for k in range(36))


if __name__ == "__main__":
    main()
