"""Where the champion cuts each feature, and which cuts its crosses see.

Fixed by knowledge of payments, not by quantiles: the shares of frauds at terminals are all zero in
a stream's first weeks, and quantiles frozen then never see the rest. Of features that say nearly
the same, one is crossed: crosses cost time and, with few frauds, precision (docs/models.md).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of one feature. A value x falls into the bin [edge i, edge i+1).

    `fine` edges cut the feature's own weights, `coarse` ones those of its crosses with every other
    feature that has any; a coarse edge is a fine one too.
    """

    feature: str
    fine: tuple[float, ...]
    coarse: tuple[float, ...] = ()

    @property
    def edges(self) -> tuple[float, ...]:
        """All edges, ascending."""
        return tuple(sorted({*self.fine, *self.coarse}))


_FEW = (0.5, 1.5, 2.5, 3.5, 5.5, 8.5)
_RATIO = (0.0, 0.2, 0.5, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0)
_RATIO_COARSE = (0.0, 0.8, 1.5, 2.5, 3.5, 5.0)
_SHARE = (-0.5, 1e-6, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.95)
_FRAUDS = (0.5, 1.5, 2.5, 3.5, 5.5, 8.5, 12.5, 20.5)

# fmt: off
DEFAULT = (
    Bins("amount",
         (100, 300, 600, 1000, 1500, 2000, 3000, 4000, 5000, 6500, 8000, 10000, 12500, 15000,
          18000, 20000, 22001, 25000, 30000, 40000, 60000, 100000, 200000, 500000),
         (1000, 3000, 6000, 10000, 15000, 22001, 30000)),
    Bins("hour", tuple(range(1, 24)), (6, 12, 18)),
    Bins("weekend", (0.5,)),
    Bins("night", (0.5,)),
    Bins("card_count_10m", _FEW, (0.5, 1.5, 3.5)),
    Bins("card_count_1h", _FEW, (0.5, 1.5, 3.5)),
    Bins("card_count_1d", (0.5, 1.5, 2.5, 3.5, 4.5, 6.5, 9.5, 14.5), (0.5, 1.5, 3.5, 6.5)),
    Bins("card_count_7d", (0.5, 3.5, 7.5, 12.5, 18.5, 25.5, 35.5, 50.5)),
    Bins("card_count_30d", (0.5, 5.5, 15.5, 30.5, 50.5, 70.5, 90.5, 120.5, 200.5)),
    Bins("card_ratio_1d", _RATIO),
    Bins("card_ratio_7d", _RATIO),
    Bins("card_ratio_30d", _RATIO, _RATIO_COARSE),
    Bins("card_deviation",
         (-2, -1.5, -1, -0.5, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4),
         (-1, 0, 0.75, 1.25, 1.75, 2.5)),
    Bins("card_idle_seconds",
         (0, 60, 300, 900, 3600, 14_400, 43_200, 86_400, 259_200, 604_800),
         (0, 300, 3600, 86_400)),
    Bins("card_terminals_1d", _FEW, (1.5, 3.5)),
    Bins("card_new_terminal", (0.5,), (0.5,)),
    Bins("card_age_days", (0, 1, 3, 7, 14, 30, 60)),
    Bins("card_frauds_30d", (0.5, 1.5, 2.5, 3.5, 5.5, 6.5, 8.5, 12.5)),
    Bins("card_fraud_age_days",
         (-0.5, 5.5, 6.5, 7.5, 8.5, 9.5, 11.5, 14.5, 17.5, 21.5, 28.5),
         (-0.5, 7.5, 9.5, 13.5, 20.5)),
    Bins("terminal_count_10m", (0.5, 1.5, 2.5, 4.5, 8.5)),
    Bins("terminal_count_1h", (0.5, 1.5, 2.5, 4.5, 8.5)),
    Bins("terminal_count_1d", (0.5, 1.5, 2.5, 4.5, 8.5, 16.5)),
    Bins("terminal_count_7d", (0.5, 2.5, 5.5, 8.5, 12.5, 20.5, 40.5)),
    Bins("terminal_count_30d", (0.5, 5.5, 15.5, 25.5, 35.5, 50.5, 100.5)),
    Bins("terminal_ratio_30d", (0, 0.2, 0.5, 0.8, 1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 10)),
    Bins("terminal_share_1d", _SHARE),
    Bins("terminal_share_7d", _SHARE),
    Bins("terminal_share_30d", _SHARE, (-0.5, 1e-6, 0.05, 0.15, 0.3, 0.6)),
    Bins("terminal_frauds_1d", _FRAUDS),
    Bins("terminal_frauds_7d", _FRAUDS),
    Bins("terminal_frauds_30d", _FRAUDS),
    Bins("terminal_labelled_30d", (0.5, 3.5, 8.5, 15.5, 25.5, 40.5, 80.5)),
    Bins("terminal_episode_days",
         (-0.5, 6.5, 8.5, 10.5, 12.5, 14.5, 17.5, 20.5, 24.5, 27.5, 28.5, 29.5, 31.5, 34.5),
         (-0.5, 8.5, 14.5, 21.5, 28.5, 30.5)),
    Bins("terminal_fraud_age_days",
         (-0.5, 5.5, 6.5, 7.5, 8.5, 9.5, 11.5, 14.5, 21.5, 28.5), (-0.5, 7.5, 8.5, 10.5, 14.5)),
    Bins("terminal_genuine_since",
         (-0.5, 0.5, 1.5, 2.5, 3.5, 5.5, 8.5, 15.5), (-0.5, 0.5, 1.5, 3.5, 8.5)),
    Bins("card_unusual_1d", (0.5, 1.5, 2.5), (0.5, 1.5)),
    Bins("card_unusual_7d", (0.5, 1.5, 2.5, 3.5, 5.5), (0.5, 1.5, 3.5)),
    Bins("card_unusual_14d", (0.5, 1.5, 2.5, 3.5, 5.5, 8.5)),
    Bins("card_unusual_age_days", (-0.5, 0.5, 1, 2, 3, 4, 6, 8, 11, 15, 22)),
    Bins("card_ratio_drawn",
         (0.2, 0.5, 0.8, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 4, 4.5, 5, 6, 8,
          12)),
)
# The fifteen features of the handbook alone (chapter 3), its means as ratios; for comparison.
_BOOK_SHARE = (-0.5, 1e-6, 0.05, 0.15, 0.3, 0.6, 0.8)
_CROSSED = {
    **{f"card_ratio_{window}": _RATIO_COARSE for window in ("1d", "7d", "30d")},
    **{f"terminal_share_{window}": _BOOK_SHARE for window in ("1d", "7d", "30d")},
}
BOOK = tuple(
    Bins(bins.feature, bins.edges, _CROSSED.get(bins.feature, bins.coarse))
    for bins in DEFAULT
    if bins.feature in {
        "amount", "weekend", "night",
        *(f"{what}_{window}" for what in ("card_count", "card_ratio", "terminal_count",
                                          "terminal_share") for window in ("1d", "7d", "30d")),
    }
)
# fmt: on
