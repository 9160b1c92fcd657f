"""The small Open Bandit logs, read in place, and the policy whose value is published for them.

Logs: Saito, Aihara, Matsutani and Narita 2021, beside the checkout (../shared/data/open_bandit).
PRIORS: alpha and beta of the production policy (Bernoulli Thompson sampling), from st-tech/zr-obp (Apache-2.0) @ 8cbd5fa,
obp/policy/conf/prior_bts.yaml.
"""

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "open_bandit"
POSITIONS = 3
PRIORS = {
    "men": (
        [
            *(47, 8, 62, 142, 3, 6, 100, 48, 23, 71, 61, 13, 16, 518, 30, 7, 4),
            *(23, 8, 10, 11, 11, 18, 121, 11, 4, 32, 30, 9, 22, 6, 23, 5, 54),
        ],
        [
            *(12198, 3566, 15993, 35522, 2367, 3100, 24665, 13210, 7061, 18061, 17449, 5644),
            *(6787, 111326, 8776, 3334, 2271, 7389, 2659, 3665, 4724, 3561, 5085, 27407),
            *(4601, 2923, 8897, 8654, 4000, 6580, 3174, 6766, 2602, 14506),
        ],
    ),
    "women": (
        [
            *(12, 7, 984, 13, 15, 15, 11, 14, 9, 200, 72, 3, 14, 49, 1278, 3, 325, 14, 27, 14, 169, 48, 47),
            *(18, 40, 12, 447, 46, 5, 3, 5, 7, 35, 34, 99, 30, 880, 51, 182, 6, 45, 39, 10, 24, 72, 229),
        ],
        [
            *(3612, 3173, 204484, 4517, 4765, 5331, 4131, 4728, 4028, 44280, 17918, 2309, 4339, 12922, 270771),
            *(2480, 68475, 5129, 7367, 5819, 38026, 13047, 11604, 5394, 10912, 4439, 94485, 10700, 2679, 2319),
            *(2578, 3288, 9566, 9775, 20120, 7317, 172026, 13673, 37329, 3365, 10911, 10734, 4278, 7574, 16826, 47462),
        ],
    ),
}


@dataclass(frozen=True)
class BanditLog:
    """A log by decision. Positions are 0 to 2; the shopper is four hashed categories."""

    item: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    click: npt.NDArray[np.float64]
    propensity: npt.NDArray[np.float64]
    features: npt.NDArray[np.str_]


def read(policy: str, campaign: str) -> BanditLog:
    """The log of a policy (random, bts) on a campaign (men, women)."""
    with gzip.open(FOLDER / policy / f"{campaign}.csv.gz", "rt", encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    return BanditLog(
        item=np.array([int(row["item_id"]) for row in rows]),
        position=np.array([int(row["position"]) - 1 for row in rows]),
        click=np.array([float(row["click"]) for row in rows]),
        propensity=np.array([float(row["propensity_score"]) for row in rows]),
        features=np.array([[row[f"user_feature_{number}"] for number in range(4)] for row in rows]),
    )


def production_policy(campaign: str, draws: int, seed: int) -> npt.NDArray[np.float64]:
    """The probability of each item at each position, shape (items, positions): how often it is drawn there."""
    alpha, beta = PRIORS[campaign]
    rng = np.random.default_rng(seed)
    count = np.zeros((len(alpha), POSITIONS))
    for _ in range(draws // 1_000):
        best = np.argsort(-rng.beta(alpha, beta, size=(1_000, len(alpha))), axis=1)[:, :POSITIONS]
        for position in range(POSITIONS):
            count[:, position] += np.bincount(best[:, position], minlength=len(alpha))
    return count / (draws // 1_000 * 1_000)
