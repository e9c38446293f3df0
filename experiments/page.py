"""The docs' page of results, drawn from the files."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from art_mi.datasets import SOURCES, load
from experiments import EXPERIMENTS
from experiments.plan import Plan
from experiments.record import RESULTS, Record, key, made_from
from experiments.tables import QUANTITIES, Relation, accuracy, markdown_table, named

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FIGURES = DOCS / "results.md", DOCS / "figures"
HEAD = """# Results

What the papers' tables and figures look like on data and sizes of our own; their numbers were measured on other data,
networks and budgets and are not repeated here. Each section names the command that makes it, the radius, and how small
its networks are. Accuracies are means over training runs ± their standard deviation, with the 95 % Wilson interval of
that mean over the test images; PGD-20 is ART's, AutoAttack that of the package pyautoattack in its standard version, on
the first of those images only: `PGD-20 there` is PGD-20 on these. `best` is the epoch of highest accuracy under PGD-20
on held-out training images. Claims are held against differences image by image, of last checkpoints. Their standard
error is over images, and over training runs where there are several: of one run another may differ by more, and the
same seed on another processor is another run. Within two standard errors, more of few runs (Student's), a claim is
undecided. Claims about nats, losses and ranks are held against the numbers shown.
Seconds an epoch, validation included, are of one worker on a machine that did other work beside: no measure of speed.
Bars in plots are the interval over images; two settings, measured on the same images, differ with less error than
theirs. The files lie in `experiments/results/`, from which this page is drawn.

What was chosen, and on what: sizes, epochs and attack once for all methods; one learning rate for all, raised from 8e-3
to 1e-2 after a look at accuracies on held-out images, and tried out for each method below; weights of TRADES, MART and
MIMAE are the published ones and two beside, compared on held-out images. The margins of DALE and of the combination,
the step size of their dual variable and the epochs before it moves were changed several times while results of earlier
choices, test accuracies among them, were in view; so were the values of tau. No baseline had that much attention.
"""


AGREEMENT = """## What agreed with the papers and what did not

On one machine without a GPU: narrow networks, a part of the images, few epochs. A claim that failed here may hold at
full size, and the other way round. The numbers behind each answer are in the section of its experiment; `1 run` are
answers from a single training run of each model, `so far` those of an experiment that is still to be finished."""
HOLDS = {True: "yes", False: "**no**", None: "undecided"}


def page(records: Iterable[Record]) -> str:
    """All results as Markdown.

    :param records: One an experiment and data set.
    """
    every = list(records)
    shown = [record for record in every if counted(record)]
    return "\n".join([HEAD, _agreement(shown), *_repeated(shown), *map(_section, every)])


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


def _agreement(records: Sequence[Record]) -> str:
    """Which claims of each experiment hold on which data, a table an experiment."""
    data = list(dict.fromkeys(record.data for record in records))
    claims: dict[str, dict[str, dict[str, str]]] = {}
    for record in records:
        of_experiment = claims.setdefault(_module(record).TITLE, {})
        for relation in _module(record).relations(counted(record)):
            of_experiment.setdefault(relation.says, {})[record.data] = _answer(relation, record)
    tables = (
        f"**{title}**\n\n"
        + markdown_table(
            ["claim", *data], [[says, *(holds.get(name, "") for name in data)] for says, holds in of.items()]
        )
        for title, of in claims.items()
        if of
    )
    return "\n\n".join([AGREEMENT, *tables]) + "\n"


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
        yield f"{REPEATED}\n\n{markdown_table(['data', 'model', 'seed', 'files', *QUANTITIES], lines)}\n"


def _claims(record: Record) -> str:
    """What was found of each claim."""
    relations = _module(record).relations(counted(record))
    return markdown_table(["claim", "found", "holds"], [[r.says, r.found, _answer(r, record)] for r in relations])


def _answer(relation: Relation, record: Record) -> str:
    if not current(record):
        return "measured by earlier code"
    if relation.chosen_on == record.data:
        return "chosen here"
    if relation.holds is None:
        return HOLDS[None]
    limits = ["1 run"] * (_seeds(record) == 1) + ["so far"] * (missing(record) > 0)
    return ", ".join([HOLDS[relation.holds], *limits])


def _section(record: Record) -> str:
    module, rows = _module(record), counted(record)
    pictures = [f"![{name}](figures/{_file(record, name)}.svg)" for name in module.figures(rows)] if rows else []
    parts = [f"## {_title(record)}", _made(record), _open(record)]
    parts += [module.section(rows), _claims(record), *pictures] if rows else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _module(record: Record) -> Any:
    return importlib.import_module(f"experiments.{record.experiment}")


def counted(record: Record) -> list[Mapping[str, Any]]:
    """Rows that tables, figures and claims are made of: neither failed nor outdated."""
    asked = _asked(record)
    return [row for known, row in record.finished.items() if known in asked]


def _title(record: Record) -> str:
    return f"{_module(record).TITLE}, {record.data}"


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
