"""Reference values of ComBat from neuroCombat 0.2.12 (PyPI, MIT licence), which is not needed to run the tests.

Run with neuroCombat importable: `python tests/golden/combat.py > tests/golden/combat.json`. Its iteration stops at a
relative change of 1e-4; here it goes on to 1e-10, so that the numbers are the fixed point itself.
"""

import json
import sys

import numpy as np
import pandas as pd
from neuroCombat import neuroCombat as reference

rng = np.random.default_rng(11)
rows, width = 36, 6
site = np.repeat(["a", "b", "c"], [15, 12, 9])
age = rng.uniform(30, 80, rows).round(1)
sex = rng.integers(0, 2, rows)
shift = {"a": rng.normal(0, 1, width), "b": rng.normal(2, 1, width), "c": rng.normal(-1, 2, width)}
scale = {"a": 1.0, "b": 1.8, "c": 0.6}
table = np.stack([rng.normal(shift[name], scale[name]) for name in site])
table = (table + 0.05 * age[:, None] * np.linspace(-1, 1, width) + 0.8 * sex[:, None]).round(4)
module = sys.modules[reference.__module__]
module.it_sol.__defaults__ = (1e-10,)
facts = pd.DataFrame({"site": site, "age": age, "sex": sex})


def harmonised(**options):
    return reference(dat=table.T, covars=facts, batch_col="site", **options)["data"].T.round(8).tolist()


standard_output, sys.stdout = sys.stdout, sys.stderr
found = {
    "origin": "neuroCombat 0.2.12, iteration to 1e-10",
    "site": site.tolist(),
    "age": age.tolist(),
    "sex": sex.tolist(),
    "features": table.tolist(),
    "plain": harmonised(),
    "protected": harmonised(continuous_cols=["age"], categorical_cols=["sex"]),
    "unshrunk": harmonised(eb=False),
}
sys.stdout = standard_output
print(json.dumps(found))
