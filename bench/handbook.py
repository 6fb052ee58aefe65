"""The published handbook data, judged as its book judges: how good is one pass over the stream?

Why: the figures of Le Borgne et al., *Reproducible Machine Learning for Credit Card Fraud
Detection*, ULB 2022, are the best known on public data. The book trains on one week (25 to 31 July
2018), waits for labels for another, and tests on a third (8 to 14 August); ours has seen everything
from the first day on, once, every label seven days late. A card that is known to be compromised by
a test day is left out from that day on, as in the book's `get_train_test_set`.

Needs `--data` with the data as one Parquet file (README.md, figures).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from time import perf_counter

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.given import Given
from bench.report import Figure, Report, figure, say
from dataflows.evaluate import Scored, evaluate
from models.roster import HANDBOOK
from tidegate.readers import TransactionFile
from tidegate.schema import DAY, Bools, Ints, Texts, to_micros

START = "2018-08-08T00:00:00+00:00"
DAYS, DELAY_DAYS = 7, 7
CARDS = 100  # looked at a day
RANKS = ((1, 20), (21, 40), (41, 60), (61, 100), (101, 400))
WEEKS_BEFORE = 8  # that ranks are looked at in

# Average precision, of the book's chapter 3, for the same week.
BOOK = {"logistic regression": 0.606, "random forest": 0.658, "XGBoost": 0.639}


def bench(given: Given) -> Report:
    """The three measures of the test week, beside the book's average precision, and the pace."""
    if given.data is None:
        say("  give the handbook data with --data")
        return Report("handbook", 0, 0, [], ["not run: it needs --data"])
    cards = _cards(given)
    begin = perf_counter()
    scored = evaluate([given.data], delay_days=DELAY_DAYS)
    seconds = perf_counter() - begin
    card = np.array([cards[name] for name in scored.transaction_id], dtype=object)
    auc, ap, cp = judge(scored, card, _day(START))
    say("  again with the book's features alone")
    fewer = evaluate([given.data], delay_days=DELAY_DAYS, champion=HANDBOOK)
    few_auc, few_ap, few_cp = judge(fewer, card, _day(START))
    figures = [
        figure("area under the ROC curve", [auc], ""),
        *(
            figure("average precision", [ap], "", ap / book, f"{name} in the book, {book}")
            for name, book in BOOK.items()
        ),
        figure(f"card precision@{CARDS}", [cp], ""),
        figure("with the book's features: area under the ROC curve", [few_auc], ""),
        figure("with the book's features: average precision", [few_ap], "", few_ap / ap, "all"),
        figure(f"with the book's features: card precision@{CARDS}", [few_cp], ""),
        *_by_rank(scored, card),
        figure("whole evaluation", [seconds], "seconds"),
        figure("whole evaluation", [len(scored.score) / seconds], "rows a second"),
    ]
    return Report("handbook", len(scored.score), 1, figures)


def judge(scored: Scored, card: Texts, start: int) -> tuple[float, float, float]:
    """ROC AUC, average precision and card precision@100 of the week from day `start` on (days
    since the epoch). card: of each payment."""
    day = scored.event_time // DAY
    rows = _tested(day, card, scored.fraud, start)
    fraud, score = scored.fraud[rows], scored.score[rows]
    return (
        float(roc_auc_score(fraud, score)),
        float(average_precision_score(fraud, score)),
        card_precision(day[rows], card[rows], fraud, score),
    )


def card_precision(
    day: Ints, card: Texts, fraud: Bools, score: npt.NDArray[np.float64], most: int = CARDS
) -> float:
    """Of the `most` cards with the highest score of each day, the share that is compromised, as a
    mean over days; a card that was found is not looked at again."""
    ranked = _ranked(day, card, fraud, score, most)
    return float(np.mean([np.sum(bad[:most]) / most for bad in ranked]))


def _ranked(
    day: Ints, card: Texts, fraud: Bools, score: npt.NDArray[np.float64], most: int = CARDS
) -> Iterator[Bools]:
    """For each day, whether each card is compromised, by its highest score."""
    found: set[str] = set()
    for today in np.unique(day):
        highest: dict[str, float] = {}
        bad: set[str] = set()
        rows = np.flatnonzero(day == today)
        for name, value, is_fraud in zip(card[rows], score[rows], fraud[rows], strict=True):
            if name not in found:
                highest[name] = max(value, highest.get(name, 0.0))
                if is_fraud:
                    bad.add(name)
        order = sorted(highest, key=lambda name: -highest[name])
        found |= bad.intersection(order[:most])
        yield np.array([name in bad for name in order], np.bool_)


def _by_rank(scored: Scored, card: Texts) -> list[Figure]:
    """How many of a hundred cards are compromised at which ranks, over the weeks before the test
    week."""
    day = scored.event_time // DAY
    totals = np.zeros((len(RANKS), 2))
    for week in range(1, WEEKS_BEFORE + 1):
        rows = _tested(day, card, scored.fraud, _day(START) - 7 * week)
        for bad in _ranked(day[rows], card[rows], scored.fraud[rows], scored.score[rows]):
            for number, (first, last) in enumerate(RANKS):
                part = bad[first - 1 : last]
                totals[number] += part.sum(), len(part)
    return [
        figure(f"compromised, ranks {first} to {last}", [100 * bad / count], "% of the cards")
        for (first, last), (bad, count) in zip(RANKS, totals, strict=True)
    ]


def _tested(day: Ints, card: Texts, fraud: Bools, start: int) -> Ints:
    """The payments of the test week whose cards are not known to be compromised by their day."""
    trained = (day >= start - 2 * DELAY_DAYS) & (day < start - DELAY_DAYS)
    known = set(card[trained & fraud])
    rows: list[Ints] = []
    for number in range(DAYS):
        known |= set(card[(day == start - DELAY_DAYS - 1 + number) & fraud])
        today = np.flatnonzero(day == start + number)
        rows.append(today[np.array([name not in known for name in card[today]], np.bool_)])
    return np.concatenate(rows)


def _cards(given: Given) -> dict[str, str]:
    assert given.data is not None
    return {
        name: card
        for chunk in TransactionFile(given.data).chunks()
        for name, card in zip(chunk.rows.transaction_id, chunk.rows.card_token, strict=True)
    }


def _day(text: str) -> int:
    return to_micros(datetime.fromisoformat(text)) // DAY
