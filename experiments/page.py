"""The docs' page of results, drawn from the files."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from art_mi.datasets import SOURCES, load
from experiments import EXPERIMENTS, OURS, PAPERS
from experiments.plan import Plan
from experiments.record import RESULTS, Record, key, made_from
from experiments.tables import QUANTITIES, UNNOTICED, Relation, accuracy, grouped, markdown_table, named

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FIGURES = DOCS / "results.md", DOCS / "figures"
HEAD = f"""# Results

The papers' tables and figures on data and sizes of our own, and three questions beside. The papers' numbers are not
repeated here: they were measured on other data, networks and budgets. What all this means for a choice is said in words
in [](which-method.md); beta, lambda, rho, nu and tau are in the [](glossary.md).

A section's command makes its numbers again in a clone of the repository, `--quick` on digits without a download. For
Fashion-MNIST put torchvision's four unpacked files into `data/FashionMNIST/raw`, or add `--download`. The results lie
in `experiments/results/`; this page is drawn from them.

How to read it:

- Accuracies are in per cent: the mean over training runs ± their standard deviation, with the 95 % Wilson interval of
  that mean over the test images. PGD-20 is ART's; AutoAttack is the standard version of the package pyautoattack, on
  the first of the test images only, and `PGD-20 there` is PGD-20 on these.
- `best` is the checkpoint of highest accuracy under PGD-20 on held-out training images; all else is of the last one.
- Differences are taken image by image and stand with their standard error, over images and, where there are several,
  over training runs. A claim is undecided within two of these errors, within more of few runs (Student's). `Not worse`,
  `as well` and `costs no` allow for {UNNOTICED:g} point. Claims about nats, losses and ranks are held against the
  numbers shown.
- There are over a hundred claims. Of so many, some will be answered wrongly by chance.
- Of one training run another may differ by more than the error says, and the same seed on another processor is another
  run.
- Bars in plots are intervals over images; two settings, measured on the same images, differ with less error than those.
- Seconds an epoch, validation included, are of one worker of two on a machine of two cores: no measure of speed.

What was chosen, and on what:

- Sizes, epochs, attack and learning rate are the same for all methods. The rate, 1e-2, was chosen on held-out images of
  Fashion-MNIST, and none of three others is shown to be better there for any method; on digits, the quick variant,
  three times as much is 3 to 5 points better under PGD-20 (for TRADES undecided), so that models of digits are not as
  good as they could be.
- Weights of TRADES, MART and MIMAE are the published ones and two beside, compared on held-out images.
- Margins of DALE and of the combination, how their dual variable moves, and the values of tau were changed several
  times while results of earlier choices, test accuracies among them, were in view. No baseline had that much attention.
"""


AGREEMENT = """## What agreed with the papers and what did not

On machines without a GPU: narrow networks, a part of the images, few epochs. A claim that failed here may hold at full
size, and the other way round. The numbers behind each answer are in the section of its experiment; `1 run` are answers
from a single training run of each model, `some of 1 run` where others have several, `so far` those of an experiment
that is still to be finished."""
BESIDE = "## What came of our own questions"
HOLDS = {True: "yes", False: "**no**", None: "undecided"}


def page(records: Iterable[Record]) -> str:
    """All results as Markdown.

    :param records: One an experiment and data set.
    """
    every = list(records)
    shown = [record for record in every if counted(record)]
    parts = [HEAD, AGREEMENT, *_agreement(shown, PAPERS), BESIDE, *_agreement(shown, OURS)]
    for name in dict.fromkeys(record.experiment for record in every):
        of_experiment = [record for record in every if record.experiment == name]
        module = _module(of_experiment[0])
        parts += [f"## {module.TITLE}", module.ABOUT, *map(_section, of_experiment)]
    return "\n\n".join(part.strip("\n") for part in (*parts, *_repeated(shown))) + "\n"


def draw(records: Iterable[Record], folder: Path = FIGURES) -> None:
    """Write the figures of the page, in place of all that were there.

    :param records: As for :func:`page`.
    :param folder: Where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    with mpl.rc_context({"svg.hashsalt": "art_mi"}):
        for record in records:
            rows = counted(record)
            for name, figure in (_module(record).figures(rows) if rows else {}).items():
                figure.savefig(folder / f"{_file(record, name)}.svg", metadata={"Date": None})


def kept() -> list[Record]:
    """All results of this project, in the order of the experiments."""
    records = [Record.read(path) for path in sorted(RESULTS.glob("*.json"))]
    return sorted(records, key=lambda record: EXPERIMENTS.index(record.experiment))


def _agreement(records: Iterable[Record], names: Sequence[str]) -> Iterator[str]:
    """Which claims of each experiment hold on which data, a table an experiment."""
    claims: dict[str, dict[str, dict[str, str]]] = {}
    for record in records:
        if record.experiment in names:
            of_experiment = claims.setdefault(_module(record).TITLE, {})
            for relation in _module(record).relations(counted(record)):
                of_experiment.setdefault(relation.says, {})[record.data] = _answer(relation, record)
    for title, of in claims.items():
        data = list(dict.fromkeys(name for answers in of.values() for name in answers))
        lines = [[says, *(answers.get(name, "") for name in data)] for says, answers in of.items()]
        if lines:
            yield f"**{title}**\n\n{markdown_table(['claim', *data], lines)}"


REPEATED = """## The same seed twice

Several experiments ask for the same model. Where its two files come of different machines, or of code before and after
a change of rounding, it is another training run of the same seed: how far such runs are apart."""


def _repeated(records: Sequence[Record]) -> Iterator[str]:
    """Last checkpoints of models that two files hold differently."""
    made: dict[tuple[str, str], dict[tuple[str, ...], list[str]]] = {}
    for record in records:
        for row in counted(record):
            if "last" in row:
                values = tuple(f"{accuracy(row, quantity):.1f}" for quantity in QUANTITIES)
                of_model = made.setdefault((record.data, key(row["setting"], row["seed"])), {})
                of_model.setdefault(values, []).append(record.experiment)
    lines = []
    for (data, model), runs in sorted(made.items(), key=lambda item: item[0][0]):
        if len(runs) > 1:
            setting, seed = json.loads(model)
            name = f"{setting['network']}{' on an encoder' if setting['encoder'] else ''}, {named(setting)}"
            files = " / ".join(", ".join(experiments) for experiments in runs.values())
            lines.append([data, name, str(seed), files, *map(" / ".join, zip(*runs, strict=True))])
    if lines:
        yield f"{REPEATED}\n\n{markdown_table(['data', 'model', 'seed', 'files', *QUANTITIES], lines)}"


def _claims(record: Record) -> str:
    """What was found of each claim."""
    relations = _module(record).relations(counted(record))
    return markdown_table(["claim", "found", "holds"], [[r.says, r.found, _answer(r, record)] for r in relations])


def _answer(relation: Relation, record: Record) -> str:
    if not current(record):
        return "measured by earlier code"
    if relation.chosen_on == record.data:
        return "chosen here"
    runs = [len(same) for same in grouped(counted(record), lambda row: key(row["setting"], row["seed"])).values()]
    limits = [] if min(runs) > 1 else ["1 run" if max(runs) == 1 else "some of 1 run"]
    return ", ".join([HOLDS[relation.holds], *limits, *["so far"] * (missing(record) > 0)])


def _section(record: Record) -> str:
    module, rows = _module(record), counted(record)
    pictures = [f"![{name}](figures/{_file(record, name)}.svg)" for name in module.figures(rows)] if rows else []
    parts = [f"### {module.TITLE}, {record.data}", _made(record), _open(record)]
    parts += [module.section(rows), _claims(record), *pictures] if rows else []
    return "\n\n".join(part for part in parts if part)


def _module(record: Record) -> Any:
    return importlib.import_module(f"experiments.{record.experiment}")


def counted(record: Record) -> list[Mapping[str, Any]]:
    """Rows that tables, figures and claims are made of: neither failed nor outdated."""
    asked = _asked(record)
    return [row for known, row in record.finished.items() if known in asked]


def _made(record: Record) -> str:
    """Command, sizes, machine, versions and dates."""
    plan = record.plan
    asked = "--quick" if plan["name"] == "quick" else f"--data {record.data} --plan {plan['name']}"
    asked += "" if missing(record) or _seeds(record) == plan["nb_seeds"] else f" --seeds {_seeds(record)}"
    eps = load("digits").eps if record.data == "digits" else SOURCES[record.data].eps
    sizes = (
        f"{record.data}, l_inf radius {eps:.3g}: {plan['nb_train']:,} training and {plan['nb_validation']:,} held-out "
        f"images, {plan['nb_test']:,} test images, {plan['nb_auto_attack']:,} of them for AutoAttack; "
        f"{plan['nb_epochs']} epochs ({plan['head_epochs']} of a head on an encoder) of {plan['batch_size']} images a "
        f"step, {plan['max_iter']} attack steps of eps / 4; Adam, one cycle up to {plan['lr']:g}; {_networks(record)}."
        f"{getattr(_module(record), 'SIZES', '').format(**plan)}"
    )
    made = [row[part] for row in record.rows for part in ("made_by", "measured_by") if part in row]
    machines = sorted({", ".join(f"{value} {key}" for key, value in by["machine"].items()) for by in made})
    versions = sorted({", ".join(f"{name} {version}" for name, version in by["versions"].items()) for by in made})
    dates, commits = (sorted({by[part] for by in made if part in by}) for part in ("date", "commit"))
    kept = sum("commit" in by for by in made)
    at = f" at commits {', '.join(commits)}" if commits else ""
    at += f" ({kept} of {len(made)} readings; of the others it was not kept)" if 0 < kept < len(made) else ""
    measured = (
        f"Measured on {', '.join(dates)} on {'; '.join(machines)}{at}, with {'; '.join(versions)}." if made else ""
    )
    return f"`python -m experiments {record.experiment} {asked}`: {sizes} {measured}"


def _networks(record: Record) -> str:
    """Networks with the sizes they have in place of the published ones."""
    settings = [row["setting"]["encoder"] or row["setting"] for row in record.rows]
    sizes = {name: record.plan["sizes"].get(name, {}) for name in dict.fromkeys(each["network"] for each in settings)}
    return ", ".join(
        f"{name} of {', '.join(f'{size} {value}' for size, value in chosen.items()) or 'published size'}"
        for name, chosen in sizes.items()
    )


def _seeds(record: Record) -> int:
    return len({row["seed"] for row in record.rows})


def missing(record: Record) -> int:
    """Rows that the last call was still to make, or that its recipes ask for by now.

    :param record: One experiment on one data set.
    """
    known = {key(row["setting"], row["seed"]) for row in record.rows}
    return max(record.missing, len(_asked(record) - known))


def current(record: Record) -> bool:
    """Whether the command would go on from these rows: they are of the code there is."""
    return record.made_from == made_from(_module(record))


def _open(record: Record) -> str:
    """What is missing, what the command would no longer make so, and what failed."""
    said = [f"**{missing(record)} training runs are still to come.**"] if missing(record) else []
    if not current(record):
        said.append("**Measured by earlier code: the command would begin anew.**")
    if outdated := _outdated(record):
        said.append(f"**Left out, of settings that this command no longer has: {outdated} training runs.**")
    said += [f"Failed: {named(row['setting'])}, {row['failed']}" for row in record.rows if "failed" in row]
    return "\n\n".join(said)


def _outdated(record: Record) -> int:
    """Rows that no recipe of the experiment asks for any more."""
    return len(record.finished.keys() - _asked(record))


def _asked(record: Record) -> set[str]:
    plan, seeds = Plan(**record.plan), {row["seed"] for row in record.rows}
    return {key(recipe.setting(plan), seed) for seed in seeds for recipe in _module(record).recipes(seed, record.data)}


def _file(record: Record, name: str) -> str:
    return f"{name}-{record.data}-{record.plan['name']}"
