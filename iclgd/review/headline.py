"""The numbers of a section at first sight: ours with intervals, the published implementation's, the paper's."""

from collections.abc import Sequence

from iclgd.report.tables import by_numbers
from iclgd.review.document import Cell, Table
from iclgd.review.published import Published, how_other, published
from iclgd.review.settings import Setting
from iclgd.review.texts import counted, shortened

HEADLINES: dict[str, tuple[str, ...]] = {
    "regression": (
        "loss/transformer",
        "loss/gd",
        "loss/gd_plus_plus",
        "loss/gd_momentum",
        "loss/mlp_gd",
        "loss/interpolated",
        "loss/ridge",
        "loss/least_squares",
        "alignment/sensitivity_cosine",
        "alignment/sensitivity_l2",
        "alignment/prediction_l2",
        "alignment/sensitivity_cosine_gd_plus_plus",
        "alignment/sensitivity_l2_gd_plus_plus",
        "alignment/prediction_l2_gd_plus_plus",
        "alignment/sensitivity_cosine_gd_momentum",
        "alignment/sensitivity_l2_gd_momentum",
        "alignment/prediction_l2_gd_momentum",
        "gd/learning_rate",
    ),
    "text": (
        "accuracy/zero_shot",
        "accuracy/in_context",
        "accuracy/finetuned",
        "rec2ftp",
        "sim_aou",
        "sim_aou_random",
        "sim_am",
        "sim_am_zero_shot",
        "sim_am_delta",
        "kendall",
        "kendall_random",
        "update_similarity",
        "attention_demonstrations",
        "attention_demonstrations_even",
        "attention_right_label",
        "attention_right_label_even",
    ),
    "few_shot": (),
    "language_modeling": ("val/loss", "val/perplexity", "val/label_loss"),
    "functions": ("error/transformer",),
    "sequences": ("loss/transformer", "loss/least_squares", "loss/delayed_least_squares", "loss/gd"),
}
KEY_NUMBERS: dict[str, tuple[str, ...]] = {  # of tables that have a row for each run or setting
    "regression": ("loss/transformer", "loss/gd", "loss/gd_plus_plus", "alignment/sensitivity_cosine"),
    "text": ("accuracy/zero_shot", "accuracy/in_context", "accuracy/finetuned", "sim_aou", "kendall", "rec2ftp"),
    "few_shot": ("accuracy/0_demonstrations", "accuracy/4_demonstrations", "accuracy/32_demonstrations"),
    "language_modeling": ("val/loss", "val/perplexity"),
    "functions": ("error/transformer", "error/least_squares"),
    "sequences": ("loss/transformer", "loss/least_squares", "loss/gd"),
}
OF_LANGUAGE = ("val/perplexity/", "accuracy/")
MORE = {  # what begins more headline numbers, whose names depend on the config
    "few_shot": OF_LANGUAGE,
    "language_modeling": OF_LANGUAGE,
    "functions": ("error/", "new_functions/error/"),
}
ENDS = ("_low", "_high")  # of intervals
MOST_OTHERS = 12  # numbers of an experiment that is not known here
MOST_SETTINGS = 6  # that headline and verdicts have; a table has more
PARTS = ("draw_", "/layer_", "/seed_", "_low", "_high")  # of names that are no headlines


def headline(settings: Sequence[Setting]) -> Table:
    """Return the headline table of a section.

    Args:
        settings: of its complete runs.
    """
    shown, several = settings[:MOST_SETTINGS], len(settings) > 1
    columns = [*(["setting"] if several else []), "number", "ours", "published implementation", "paper"]
    rows: list[list[Cell]] = []
    sources: dict[str, None] = {}
    notes: dict[str, None] = {}
    for setting in shown:
        known = published(setting.config)
        for name in names_of(setting):
            ours = setting.estimate(name)
            if ours is None:
                continue
            theirs = [_first(known, name, kind, sources) for kind in ("published implementation", "paper")]
            rows.append([*([setting.label] if several else []), name, ours, *theirs])
        if known and (other := how_other(setting.config)):
            notes.setdefault(f"Beside the papers' numbers, {other}")
    told = [_repetitions(shown), *notes, *sources]
    if len(settings) > len(shown):
        told.append(
            f"The first {len(shown)} of {counted(len(settings), 'setting')}; the others are in the table of them"
        )
    return Table("Headline numbers", columns, rows, ". ".join(text for text in told if text) + ".")


def names_of(setting: Setting) -> list[str]:
    """Return the numbers that are shown of a setting, in their order."""
    there = list(dict.fromkeys(name for each in setting.repetitions for name in each.numbers))
    if (known := HEADLINES.get(setting.experiment)) is None:
        return [name for name in there if not any(part in name for part in PARTS)][:MOST_OTHERS]
    beginnings = MORE.get(setting.experiment, ())
    more = [name for name in there if name.startswith(beginnings) and not name.endswith(ENDS) and name not in known]
    return [name for name in (*known, *sorted(more, key=by_numbers)) if name in there]


def _first(known: Sequence[Published], name: str, kind: str, sources: dict[str, None]) -> Cell:
    """Return a published number if there is one, and note its source."""
    for each in known:
        if each.name == name and each.kind == kind:
            sources.setdefault(each.source)
            return each.value
    return None


def _repetitions(settings: Sequence[Setting]) -> str:
    """Say what intervals are over."""
    parts = []
    for setting in settings:
        number = len(setting.repetitions)
        of = f"{shortened(setting.label)}: " if setting.label else ""
        if number > 1:
            parts.append(f"{of}means with 95 % intervals of {counted(number, setting.what)}")
        elif setting.has_draws:
            parts.append(f"{of}one draw of demonstrations; 95 % intervals are over queries")
        else:
            parts.append(f"{of}one seed, so no intervals")
    return "; ".join(parts)
