# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser: nothing on its console, every figure there, legible on a phone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from testbed.browser import Visit, browser, measure, print_to_pdf
from testbed.report_pages import calibration_page, evaluated_page, failed_rollout
from testbed.synthetic import synthetic_rollout

from failure_monitor.report.page import Card, Page, Picture, render, write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        browser() is None, reason="no browser: install chromium to look at reports in one"
    ),
]

PHONE = 390
"""Pixels across."""

FIGURES = """[...document.querySelectorAll('figure svg')].map(svg => ({
    name: svg.closest('figure').id,
    width: svg.getBoundingClientRect().width,
    height: svg.getBoundingClientRect().height,
    drawn: [...svg.querySelectorAll('path, use')].filter(
        shape => shape.getBoundingClientRect().width > 0).length,
    letters: Math.min(...[...svg.querySelectorAll('text')].map(
        text => parseFloat(getComputedStyle(text).fontSize) * svg.getScreenCTM().a)),
}))"""

WIDTHS = """({
    window: innerWidth,
    page: document.documentElement.scrollWidth,
    beyond: [...document.querySelectorAll('body *')].filter(element =>
        !element.closest('.scroll') && !element.closest('svg')
        && element.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML),
})"""


def with_pictures(page: Page) -> Page:
    """The page with a camera frame in each of its cards."""
    _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 120, np.uint8))
    picture = Picture(jpeg.tobytes(), "alarm: 6 · 0.6 s", is_alarm=True)

    def pictured(card: Card) -> Card:
        return replace(card, pictures=(picture,) * 6)

    sections = tuple(
        replace(section, cards=tuple(map(pictured, section.cards))) for section in page.sections
    )
    return replace(page, sections=sections)


@pytest.fixture(scope="module")
def pages(bundle, rollouts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of an evaluation and one of a calibration, on disk."""
    folder = tmp_path_factory.mktemp("reports")
    evaluated = [
        *(replace(synthetic_rollout(seed), group="id") for seed in range(20, 28)),
        *(
            replace(failed_rollout(seed), group=("light", "a_kind_with_a_long_name")[seed % 2])
            for seed in range(60, 68)
        ),
        *(replace(failed_rollout(seed), success=True, group="light") for seed in range(70, 73)),
    ]
    evaluation = with_pictures(evaluated_page(bundle, evaluated, with_audit=True))
    return {
        "evaluation": write(evaluation, folder / "evaluation"),
        "calibration": write(calibration_page(bundle, rollouts), folder / "calibration"),
    }


@pytest.fixture(params=["evaluation", "calibration"])
def page(pages: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    return pages[request.param]


def test_nothing_is_said_on_the_console(page: Path) -> None:
    visit = Visit(page)
    assert visit.console == []
    assert "How to reproduce" in visit.document


@pytest.mark.parametrize("width", [PHONE, 1280])
def test_every_figure_is_drawn_and_its_letters_can_be_read(page: Path, width: int) -> None:
    figures: list[dict[str, Any]] = measure(page, FIGURES, width=width)
    assert len(figures) >= 5
    for figure in figures:
        assert figure["width"] > 250, figure
        assert figure["height"] > 60, figure
        assert figure["drawn"] > 5, figure
        assert figure["letters"] > 9.0, figure


@pytest.mark.parametrize("width", [320, PHONE, 768, 1280])
def test_nothing_is_wider_than_the_window(page: Path, width: int) -> None:
    widths = measure(page, WIDTHS, width=width)
    assert widths["window"] == width
    assert widths["page"] <= width
    assert widths["beyond"] == []


def test_camera_frames_are_decoded(pages: dict[str, Path]) -> None:
    sizes = measure(
        pages["evaluation"],
        "[...document.images].map(image => [image.naturalWidth, image.complete])",
        width=PHONE,
    )
    assert sizes
    assert all(size == [64, True] for size in sizes)


def test_what_is_folded_is_printed(page: Path, tmp_path: Path) -> None:
    folded, open_ = tmp_path / "folded.pdf", tmp_path / "open.pdf"
    print_to_pdf(page, folded)
    opened = page.with_name("opened.html")
    opened.write_text(page.read_text().replace("<details", "<details open"))
    print_to_pdf(opened, open_)
    assert folded.read_bytes().startswith(b"%PDF")
    assert pages_of(folded) == pages_of(open_) > 1


def pages_of(pdf: Path) -> int:
    return pdf.read_bytes().count(b"/Type /Page\n")


# What would leave the page


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()


def smuggled(address: str) -> str:
    """What somebody might get into a page if escaping failed."""
    return (
        f'<img src="{address}/image"><script>fetch("{address}/fetch"); '
        f'document.body.dataset.ran = "yes"</script><link rel="stylesheet" href="{address}/style">'
        f'<iframe src="{address}/frame"></iframe><script src="{address}/script"></script>'
    )


def test_a_hostile_name_asks_for_nothing_and_runs_nothing(bundle, tmp_path: Path) -> None:
    with listening() as (address, asked):
        rollouts = [
            replace(synthetic_rollout(20), name=smuggled(address), group=smuggled(address)),
            failed_rollout(60),
        ]
        visit = Visit(write(evaluated_page(bundle, rollouts), tmp_path / "report"))
    assert asked == []
    assert visit.console == []
    assert 'data-ran="yes"' not in visit.document


def test_the_policy_of_the_page_stops_what_escaping_would_have_let_through(
    bundle, tmp_path: Path
) -> None:
    html = render(evaluated_page(bundle, [synthetic_rollout(20)]))
    file = tmp_path / "index.html"
    with listening() as (address, asked):
        file.write_text(html.replace("</main>", f"{smuggled(address)}</main>"))
        visit = Visit(file)
        assert asked == []
        assert 'data-ran="yes"' not in visit.document
        assert any("Content Security Policy" in line for line in visit.console)
        # Without it all of this happens: the page before is what prevents it.
        file.write_text(file.read_text().replace("Content-Security-Policy", "Nothing"))
        assert 'data-ran="yes"' in Visit(file).document
        assert "/image" in asked
