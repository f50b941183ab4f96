"""Links of the README, files and types that pages name, and that none is left out."""

import importlib
import importlib.util
import re

import pytest
import torch
from mmengine import registry

from tests.pages import NAMES, ROOT, headings, read

from .checked_config import REGISTRIES

REFERENCE = sorted((ROOT / "docs/reference").glob("*.md"))
READMES = [
    str(page.relative_to(ROOT))
    for page in sorted((ROOT / "configs").rglob("README.md"))
]
# What the reference is of; the rest is made of these, or makes tools
DOCUMENTED = (
    "ablation",
    "analysis",
    "datasets",
    "engine.hooks",
    "models.backbones",
    "models.data_preprocessors",
    "models.dense_heads",
    "models.detectors",
    "models.layers",
    "models.losses",
    "models.necks",
    "models.roi_heads",
    "models.semi",
)


def registered() -> set[str]:
    return {
        name
        for key in REGISTRIES
        for name, thing in getattr(registry, key).module_dict.items()
        if thing.__module__.startswith("mmareaaware")
    }


def test_the_readme_is_short_and_answers_on_its_first_screen():
    lines = read("README.md").splitlines()
    assert len(lines) <= 120
    first_screen = "\n".join(lines[:36])
    for answer in ("Does it help?", "--bg-penalty", "area_report.py CONFIG"):
        assert answer in first_screen


def links(name: str) -> list[tuple[str, str]]:
    """Path and anchor of the links of a page to files of the checkout."""
    text = re.sub(r"<!--.*?-->", "", read(name), flags=re.S)
    return re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text)


def test_the_readme_links_to_the_pages():
    assert len(links("README.md")) > 20


@pytest.mark.parametrize("name", ["README.md", *READMES])
def test_links_of_a_readme_lead_somewhere(name):
    folder = (ROOT / name).parent
    for path, place in links(name):
        target = folder / path if path else ROOT / name
        assert target.exists(), path
        if place:
            assert place in dict(headings(target.read_text())), f"{path}#{place}"


@pytest.mark.parametrize("name", NAMES)
def test_files_that_a_page_names_exist(name):
    named = re.findall(
        r"(?<![\w/.])(?:configs|tools|mmareaaware|tests)/[\w./-]*", read(name)
    )
    for path in named:
        assert (ROOT / path.rstrip(".")).exists(), path


@pytest.mark.parametrize("name", NAMES)
def test_types_that_a_page_names_exist(name):
    pattern = r"`(\w+(?:Loss|Weight|Margin|Hook|Head|Metric|Assigner|Detector))`"
    ours = {t for t in re.findall(pattern, read(name)) if t.startswith("AreaAware")}
    own = set(re.findall(r"^class (\w+)", read(name), re.M))
    assert ours <= registered() | own


def test_each_registered_type_has_its_place_in_the_components():
    """A heading, or a row of a table."""
    page = read("docs/components.md")
    headings = re.findall(r"^#+ (\w+)$", page, re.M)
    rows = re.findall(r"^\| (`.+?`) \|", page, re.M)
    assert registered() <= {*headings, *re.findall(r"`(\w+)`", " ".join(rows))}


def test_each_public_name_is_in_the_reference():
    text = "".join(page.read_text() for page in REFERENCE)
    shown = set(re.findall(r"^::: mmareaaware\.(\S+)$", text, re.M))
    for module in DOCUMENTED:
        public = importlib.import_module(f"mmareaaware.{module}").__all__
        assert {f"{module}.{name}" for name in public} <= shown


def test_what_the_reference_shows_exists():
    for page in REFERENCE:
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M):
            module, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), name


@pytest.fixture
def formulas():
    """The hook of MkDocs, where that is installed."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("latex2mathml")
    path = ROOT / "docs/formulas.py"
    spec = importlib.util.spec_from_file_location("formulas", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Page:
    class file:
        src_path = "a.md"


def test_formulas_become_mathml(formulas):
    content = r'<p><span class="arithmatex">\(S = \max(x_{i}, BCE) \)</span></p>'
    made = formulas.on_page_content(content, page=_Page)
    assert "<math" in made
    assert "<mtext>BCE</mtext>" in made
    assert "arithmatex" not in made


@pytest.mark.parametrize("text", [":class:`A`", ".. math:: a", "$$ a $$"])
def test_what_renders_nowhere_is_an_error(formulas, text):
    with pytest.raises(Exception, match=r"a\.md does not render"):
        formulas.on_page_content(f"<p>{text}</p>", page=_Page)


# docs/concepts.md: where the optimum of a location lies. Each formula is compared with
# the minimum of the expected loss, found by its gradient.
PI, TAU = 0.1, 0.7


def optimum(positive: float = 1.0, lambda_bg: float = 0.0) -> float:
    """Where the gradient of the expected loss changes its sign, by halving."""
    low, high = -20.0, 20.0
    while high - low > 1e-9:
        z = torch.tensor((low + high) / 2, dtype=torch.float64, requires_grad=True)
        p = z.sigmoid()
        hit = -TAU * p.log() - (1 - TAU) * (1 - p).log()
        miss = -(1 - p).log() + lambda_bg * p
        (PI * positive * hit + (1 - PI) * miss).backward()
        low, high = (low, z.item()) if z.grad > 0 else (z.item(), high)
    return p.item()


@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_what_a_weight_does_to_the_optimum(weight):
    shifted = torch.tensor(PI, dtype=torch.float64).logit() + torch.tensor(weight).log()
    assert optimum(weight) == pytest.approx(TAU * shifted.sigmoid().item(), rel=1e-5)


@pytest.mark.parametrize("lambda_bg", [0.0, 5.0])
def test_what_the_penalty_does_to_the_optimum(lambda_bg):
    p = optimum(lambda_bg=lambda_bg)
    assert p * (1 + lambda_bg * (1 - PI) * (1 - p)) == pytest.approx(PI * TAU, rel=1e-5)
