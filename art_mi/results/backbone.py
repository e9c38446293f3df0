"""Should I reuse this encoder? The floor, the ceiling and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from art_mi.results.result import Result
from art_mi.results.robustness import Accuracy
from art_mi.results.vulnerability import RepresentationVulnerability


@dataclass(frozen=True)
class Probe(Result):
    """A head trained on a frozen encoder, on samples held out from its training.

    :param clean: Clean accuracy.
    :param robust: Accuracy under attack.
    """

    clean: Accuracy
    robust: Accuracy


@dataclass(frozen=True)
class BackboneReport(Result):
    """What can be built on a frozen encoder.

    :param probes: Heads by name: `"SLF"` and `"ALF"`, linear heads trained on clean and on adversarial inputs, and
        `"standard MLP"` and `"robust MLP"`.
    :param best: Name of the probe of highest accuracy under attack, chosen on samples of its own.
    :param representation: Information and vulnerability of the encoder's output.
    :param verdict: One line.
    :param settings: Everything needed to repeat it.
    """

    probes: Mapping[str, Probe]
    best: str
    representation: RepresentationVulnerability
    verdict: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ceiling(self) -> float:
        """Accuracy that no head behind the noise exceeds: the lower of the exact and the label-aware ceiling."""
        ceilings = self.representation.ceilings
        return min(ceilings["exact"], ceilings.get("label_aware", 1.0))

    @property
    def floor(self) -> Accuracy:
        """Accuracy under attack of the best probe."""
        return self.probes[self.best].robust
