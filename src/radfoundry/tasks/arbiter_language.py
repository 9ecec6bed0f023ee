"""An outside language model as arbiter, off unless an address is given; it is told votes alone, no person, no pixel."""

from __future__ import annotations

import http.client
import json
import math
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.records import InputError
from radfoundry.tasks.arbiter import Evidence

SECONDS = 30.0
MOST_BYTES = 100_000


@dataclass(frozen=True)
class Client:
    """Asks a language model over HTTP, one question a case.

    Sent is JSON `{"prompt": text, "options": ["yes", "no"]}`; wanted back is JSON `{"answer": "yes" or "no",
    "confidence": 0.5 to 1}`. Specialists are called A, B, C …: no name of a file, case, patient or site is sent.
    """

    address: str
    question: str

    def decide(self, evidence: Evidence) -> np.ndarray:
        """(n,) chances of yes."""
        return np.array([self._ask(prompt(evidence, row)) for row in range(len(evidence))])

    def _ask(self, text: str) -> float:
        if not self.address.startswith(("http://", "https://")):
            raise InputError("is no http address", where=self.address, remedy="task.address=http://HOST:PORT/PATH")
        body = json.dumps({"prompt": text, "options": ["yes", "no"]}).encode()
        request = urllib.request.Request(self.address, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                said = json.loads(answer.read(MOST_BYTES))
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise InputError(
                f"the language model cannot be reached ({reason})",
                where=self.address,
                remedy="start it, or use task.arbiter=stacker",
                finding="unreachable",
            ) from None
        except ValueError:
            raise InputError("the language model did not answer in JSON", where=self.address) from None
        return _chance(said, self.address)


def _chance(said: Any, where: str) -> float:
    answer = said.get("answer") if isinstance(said, dict) else None
    confidence = said.get("confidence", 1.0) if isinstance(said, dict) else None
    sure = isinstance(confidence, (int, float)) and math.isfinite(confidence) and 0.5 <= confidence <= 1
    if answer not in ("yes", "no") or not sure:
        raise InputError(
            "the language model gave no answer yes or no with a confidence of 0.5 to 1", where=where, finding="answer"
        )
    return float(confidence) if answer == "yes" else 1 - float(confidence)


def prompt(evidence: Evidence, row: int) -> str:
    """What the model is told about one case: chances by letter, the generalist's, and how similar cases turned out.

    >>> one = Evidence(("secret", "other"), np.array([[0.9, np.nan]]), np.array([0.4]), np.array([0.3]))
    >>> print(prompt(one, 0))
    A finding is present or not. Chance that it is present, as said by:
    specialist A: 0.90
    specialist B: did not answer
    generalist: 0.40
    Of the most similar earlier cases, a share of 0.30 had it.
    Specialists may be wrong together. Is the finding present? Answer yes or no with a confidence from 0.5 to 1.
    """
    lines = ["A finding is present or not. Chance that it is present, as said by:"]
    for place, chance in enumerate(evidence.votes[row]):
        said = "did not answer" if np.isnan(chance) else f"{chance:.2f}"
        lines.append(f"specialist {chr(ord('A') + place)}: {said}")
    lines.append(f"generalist: {evidence.generalist[row]:.2f}")
    lines.append(f"Of the most similar earlier cases, a share of {evidence.retrieved[row]:.2f} had it.")
    lines.append(
        "Specialists may be wrong together. Is the finding present? Answer yes or no with a confidence from 0.5 to 1."
    )
    return "\n".join(lines)
