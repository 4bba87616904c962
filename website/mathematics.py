"""Formulas, typeset when the site is built: MathML, which browsers draw themselves, without scripts or network."""

import re
from html import unescape

from math_core import LatexError, LatexToMathML
from mkdocs.exceptions import PluginError

# What pymdownx.arithmatex makes of $...$ and $$...$$.
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def typeset(html: str, where: str) -> str:
    """Return a page with its formulas as MathML.

    Args:
        html: of the page, with formulas as ``pymdownx.arithmatex`` marks them.
        where: the page's name, for the message.

    Raises:
        PluginError: if a formula cannot be read; the build ends.

    Example:
        >>> typeset('<span class="arithmatex">\\\\(a &lt; b\\\\)</span>', "page.md")
        '<span class="formula"><math><mi>a</mi><mo>&lt;</mo><mi>b</mi></math></span>'
    """
    converter = LatexToMathML(fancy_error=False)

    def drawn(found: re.Match[str]) -> str:
        latex, is_block = unescape(found["latex"]), found["open"] == "["
        try:
            mathml = converter.convert_with_local_state(latex, displaystyle=is_block)
        except LatexError as error:
            raise PluginError(f"{where}: formula {latex!r}: {error}") from None
        # A long formula scrolls by itself, also by keyboard; the page does not.
        attributes = 'class="formula" tabindex="0"' if is_block else 'class="formula"'
        return f"<{found['tag']} {attributes}>{mathml}</{found['tag']}>"

    return _FORMULA.sub(drawn, html)
