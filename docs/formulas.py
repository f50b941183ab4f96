"""A hook of MkDocs: formulas become MathML, which browsers draw without a script."""

import html
import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
# A name of several letters, and the commands in front of which there may be one
NAME = re.compile(
    r"\\(?:text|mathrm|operatorname|begin|end)\{[^}]*\}|\\[A-Za-z]+|([A-Za-z]{3,})"
)
# Browsers leave no gap between the name of a function and what it is of
FUNCTION = re.compile(r"<m[io]>(ln|logit)</m[io]>(?!<mo)")
# What renders nowhere: a role of Sphinx, a formula that was not recognised
UNRENDERED = re.compile(
    r":(?:class|func|meth|mod|data|attr|math):|\.\. \w+::|\$\$|\$\\"
)


def on_page_content(content: str, page, **_) -> str:
    """Render the formulas of a page.

    Raises:
        PluginError: There is something that renders nowhere.
    """
    content = FORMULA.sub(_to_mathml, content)
    text = re.sub(r"<pre.*?</pre>|<code.*?</code>", "", content, flags=re.S)
    found = UNRENDERED.search(text)
    if found:
        around = text[max(found.start() - 80, 0) : found.end() + 80]
        raise PluginError(f"{page.file.src_path} does not render: {around!r}")
    return content


def _to_mathml(match: re.Match) -> str:
    kind, latex = match.groups()
    latex = NAME.sub(
        lambda m: f"\\text{{{m[1]}}}" if m[1] else m[0], html.unescape(latex).strip()
    )
    display = "block" if kind == "div" else "inline"
    mathml = convert(latex, display=display)
    mathml = FUNCTION.sub(r'<mi>\1</mi><mspace width="0.2em"/>', mathml)
    return f"<{kind}>{mathml}</{kind}>"
