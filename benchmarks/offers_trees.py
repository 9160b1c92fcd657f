"""LightGBM and CatBoost on the same decisions of the market: training, memory, scoring, and what their models earn.

    python -m benchmarks.offers_trees [--decisions 100000] [--repeats 200]

Each in a process of its own, one thread, 100 trees, the same columns, trained on 70 % of the subjects and judged on the others.
CatBoost is no dependency of ours: where it is not installed, its rows say so. ``own`` are CatBoost's ordered target statistics
for the offer, ``one-hot`` a column for each offer. DR is the doubly robust value with SquareCB as it would serve.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from typing import Any, Final

import numpy as np

from benchmarks.machine import percentile, say
from benchmarks.market_log import write_log
from offer_engine.exploration import Exploration
from offer_engine.features import DEFAULT_SCHEMA, Matrix, Vector
from offer_engine.judging.estimators import Estimator
from offer_engine.judging.judge import Judge, from_lines
from offer_engine.judging.policies import explored
from offer_engine.learning.files import read_lines
from offer_engine.learning.gbdt import PARAMETERS, ROUNDS, with_offers
from offer_engine.learning.log import Arms, Batch, Reading
from offer_engine.learning.rewards import RewardRule

AS_OF_MS: Final = 3_000_000_000_000
KINDS: Final = ("LightGBM", "CatBoost one-hot", "CatBoost own")
Predict = Callable[[Matrix], Vector]


@dataclass(frozen=True)
class Trees:
    """A model as a policy; offers are numbered as in ``known``."""

    predict: Predict
    known: list[str]
    name: str = "model"

    def scores(self, batch: Batch, arms: Arms) -> Vector:
        """What the trees expect."""
        places = np.array([self.known.index(name) if name in self.known else -1 for name in arms.names])
        return self.predict(with_offers(batch.features, places[batch.arm]))

    def probabilities(self, batch: Batch, arms: Arms) -> Vector:
        """As it would serve."""
        return explored(Exploration(), self.scores(batch, arms), batch)


def lightgbm(columns: Matrix, reward: Vector) -> Predict:
    """100 trees of 31 leaves."""
    import lightgbm as library

    data = library.Dataset(columns, reward, categorical_feature=[columns.shape[1] - 1])
    model = library.train({**PARAMETERS, "num_threads": 1}, data, num_boost_round=ROUNDS)
    return lambda rows: np.asarray(model.predict(rows, num_threads=1))


def catboost(columns: Matrix, reward: Vector, one_hot_max_size: int) -> Predict:
    """100 trees of depth 6."""
    from catboost import CatBoostRegressor, FeaturesData  # type: ignore[import-not-found, unused-ignore]  # never installed here

    def pool(rows: Matrix) -> Any:
        offers = np.array([[b"%d" % place] for place in rows[:, -1].astype(np.int64)], dtype=object)
        return FeaturesData(num_feature_data=rows[:, :-1].astype(np.float32), cat_feature_data=offers)

    model = CatBoostRegressor(
        iterations=ROUNDS,
        learning_rate=PARAMETERS["learning_rate"],
        depth=6,
        l2_leaf_reg=PARAMETERS["lambda_l2"],
        one_hot_max_size=one_hot_max_size,
        random_seed=1,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
    )
    model.fit(pool(columns), reward)
    return lambda rows: np.asarray(model.predict(pool(rows), thread_count=1))


def read(paths: list[Path], share: tuple[int, int], only_chosen: bool) -> tuple[Reading, list[Batch]]:
    """A part of the subjects."""
    reading = Reading(DEFAULT_SCHEMA, RewardRule(), AS_OF_MS, share, only_chosen)
    return reading, list(reading.batches(read_lines(paths)))


def measured(kind: str, paths: list[Path], repeats: int) -> None:
    """Prints one kind's line."""
    reading, batches = read(paths, (0, 70), only_chosen=True)
    columns = np.concatenate([with_offers(batch.features, batch.arm) for batch in batches])
    reward = np.concatenate([batch.reward for batch in batches])
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = process_time()
    fit: dict[str, Callable[[], Predict]] = {
        "LightGBM": lambda: lightgbm(columns, reward),
        "CatBoost one-hot": lambda: catboost(columns, reward, 255),
        "CatBoost own": lambda: catboost(columns, reward, 2),
    }
    predict = fit[kind]()
    took = process_time() - started
    more_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb
    times = []
    for _ in range(repeats):
        began = process_time()
        predict(columns[:100])
        times.append((process_time() - began) * 1_000)
    policy = Trees(predict, reading.arms.names)
    others, apart = read(paths, (70, 100), only_chosen=True)
    errors = np.concatenate([policy.scores(batch, others.arms) - batch.reward for batch in apart])
    judging = Reading(DEFAULT_SCHEMA, RewardRule(), AS_OF_MS, (70, 100))
    verdict = Judge(replicates=200).judge(judging, from_lines(judging, lambda: read_lines(paths)), [policy]).verdicts
    value = verdict["model"].values.get(Estimator.DR)
    said = f"{value.value:.4f} [{value.lower:.4f}, {value.upper:.4f}]" if value else "the log cannot tell"
    say(
        f"{kind:18}{len(reward) / took:>12,.0f}{more_mb:>10.0f}{percentile(times, 50):>9.2f} /{percentile(times, 99):6.2f}"
        f"{float(np.sqrt(np.mean(errors**2))):>9.4f}   {said}\n"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where the log stays")
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_log(arguments.folder or Path(folder), arguments.decisions)
        if arguments.only:
            measured(arguments.only, paths, arguments.repeats)
            return
        say(f"{'':18}{'rows/s':>12}{'MB more':>10}{'100 rows, ms':>17}{'RMSE':>9}   DR [95 %]\n")
        for kind in KINDS:
            if not find_spec(kind.split()[0].lower()):
                say(f"{kind:18}{kind.split()[0]} is not installed\n")
                continue
            command = [sys.executable, "-m", "benchmarks.offers_trees", "--only", kind]
            command += ["--decisions", str(arguments.decisions), "--repeats", str(arguments.repeats)]
            command += ["--folder", str(arguments.folder or folder)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
