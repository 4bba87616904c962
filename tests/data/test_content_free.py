"""Queries without content: the template's rules hold for an empty text, too."""

from functools import partial

import pytest

from iclgd.data.content_free import content_free_prompts
from iclgd.data.prompt_tokens import PromptError, encode
from iclgd.data.text_task import TextTask, task_from_rows
from tests.language_models import tiny_tokenizer

ROOM = 500


def task(template: str) -> TextTask:
    return task_from_rows([], [], template=template, answers=["good", "bad"])


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Day: {text} It is", ["Day: N/A It is", "Day: [MASK] It is", "Day:  It is"]),
        ("Day: {text}", ["Day: N/A", "Day: [MASK]", "Day:"]),  # no white space at the end: the answer brings its own
        ("{text} and {other}:", ["N/A and N/A:", "[MASK] and [MASK]:", " and :"]),
    ],
)
def test_every_field_of_the_template_has_the_same_text(template: str, expected: list[str]) -> None:
    tokenizer = tiny_tokenizer()
    found, notes = content_free_prompts(partial(encode, tokenizer), task(template), ROOM)
    assert [tokenizer.decode(list(tokens)) for tokens in found] == expected
    assert notes == ()


def test_what_has_no_token_or_does_not_fit_is_left_out_and_said() -> None:
    tokenizer = tiny_tokenizer()
    found, notes = content_free_prompts(partial(encode, tokenizer), task("{text}"), ROOM)
    assert [tokenizer.decode(list(tokens)) for tokens in found] == ["N/A", "[MASK]"]
    assert notes == ("evaluation.calibrate: the content-free query of '' has no token, and is left out",)
    found, notes = content_free_prompts(partial(encode, tokenizer), task("{text}"), 4)
    assert [tokenizer.decode(list(tokens)) for tokens in found] == ["N/A"]
    assert notes[0] == (
        "evaluation.calibrate: the content-free query of '[MASK]' has 6 tokens, of which 4 fit, and is left out"
    )
    with pytest.raises(
        PromptError, match=r"^evaluation.calibrate: rows has no content-free query: .*, and is left out$"
    ):
        content_free_prompts(partial(encode, tokenizer), task("{text}"), 0)
