"""A program that trains models of scikit-learn on a cluster and without one: `ADDRESS KEY`; prints `ok`."""

import sys
from typing import Any

import joblib
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score

import distq
import distq.contrib.joblib

ROWS = 1500
COLUMNS = 100
"""The features have 1.2 MB: they are shared."""


def results() -> list[Any]:
    """Train with every CPU or slot; the numbers depend on the data alone, up to the rounding of sums."""
    random = np.random.default_rng(3)
    features = random.random((ROWS, COLUMNS))
    labels = (features[:, 0] + features[:, 1] > 1).astype(int)
    search = GridSearchCV(LogisticRegression(max_iter=200), {"C": [0.1, 1.0, 10.0]}, cv=3, n_jobs=-1)
    search.fit(features, labels)
    scores = cross_val_score(LogisticRegression(max_iter=200), features, labels, cv=3, n_jobs=-1)
    forest = RandomForestClassifier(n_estimators=8, max_depth=3, random_state=0, n_jobs=-1).fit(features, labels)
    return [
        search.best_params_["C"],
        search.cv_results_["mean_test_score"],
        scores,
        forest.predict_proba(features[:5]),
    ]


def main() -> None:
    """Compare the results."""
    distq.contrib.joblib.register()
    alone = results()
    with distq.Client(*sys.argv[1:3]) as client, joblib.parallel_config("distq", client=client):
        for found, expected in zip(results(), alone, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0.01)
    print("ok")


if __name__ == "__main__":
    main()
