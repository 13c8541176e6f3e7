"""The page as a reader meets it: opened from a folder, in a headless Chromium."""

import pytest
from browser import NAMES, browser_tab, find_browser
from small_run import make_run

from sepasr.report.page import Sources, find_results, write_page

BROWSER = find_browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(NAMES)} is on PATH"),
]
SHOWN = "[...document.querySelectorAll('.example')].filter((e) => !e.hidden)"


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    run = make_run(folder / "run", ["m1", "m2", "m3", "<script>alert(1)<!--"])
    results, rows = find_results(run.results)
    page = write_page(Sources(results, rows, run.exp, run.data, run.studies, 4), folder / "page")
    return page.as_uri()


@pytest.fixture(scope="module")
def shared_tab(tmp_path_factory):
    with browser_tab(BROWSER, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(shared_tab, url):
    """The page, as it is when it opens; whatever happens in the test, it must not complain."""
    shared_tab.resize(1280, 900)
    shared_tab.open("about:blank#")
    shared_tab.open(url)
    yield shared_tab
    assert shared_tab.complaints == []
    assert shared_tab.requests == []


def choose(tab, field: str, value: str) -> None:
    event = "new Event('input', {bubbles: true})"
    tab.run(
        f"{{const f = document.querySelector('#{field}'); f.value = '{value}';"
        f"f.dispatchEvent({event});}}"
    )


def mixtures(tab) -> list[str]:
    return tab.run(f"{SHOWN}.map((e) => e.dataset.mixture)")


def test_pictures_load(tab):
    tab.run("document.querySelectorAll('img').forEach((i) => { i.loading = 'eager'; })")
    tab.run("document.querySelectorAll('.example').forEach((e) => { e.open = true; })")
    tab.wait_for("[...document.images].every((i) => i.complete)")
    assert tab.run("document.images.length") > 20
    assert tab.run("[...document.images].every((i) => i.naturalWidth > 10)")


def test_every_player_plays(tab):
    played = tab.run(
        """(async () => {
          document.querySelectorAll('.example').forEach((e) => { e.open = true; });
          const failed = [];
          const players = [...document.querySelectorAll('audio')];
          for (const player of players) {
            await player.play();
            const end = Date.now() + 10000;
            while (player.currentTime === 0 && Date.now() < end) {
              await new Promise((done) => setTimeout(done, 10));
            }
            if (player.currentTime === 0) failed.push(player.src);
          }
          const others = players.slice(0, -1).filter((player) => !player.paused);
          return [players.length, failed, others.length];
        })()"""
    )
    assert played == [4 * (1 + 2 + 2 * 3), [], 0]  # and each start pauses the others


def test_a_player_goes_on_where_the_other_stopped(tab):
    places = tab.run(
        """(async () => {
          const [one, two] = document.querySelectorAll('.example .system audio');
          document.querySelector('#same-place').checked = true;
          one.currentTime = 0.9;
          await one.play();
          await new Promise((done) => setTimeout(done, 100));
          await two.play();
          return [one.currentTime, two.currentTime];
        })()"""
    )
    assert places[1] == pytest.approx(places[0], abs=0.2)
    assert places[1] > 0.85


def test_sorting_of_examples(tab):
    rates = tab.run(f"{SHOWN}.map((e) => JSON.parse(e.dataset.errors)['ctc'].sisdr)")
    choose(tab, "recogniser", "ctc")
    choose(tab, "sort", "errors:sisdr")
    after = tab.run(f"{SHOWN}.map((e) => JSON.parse(e.dataset.errors)['ctc'].sisdr)")
    assert after == sorted(rates, reverse=True)
    choose(tab, "sort", "id")
    assert mixtures(tab)[-3:] == ["m1", "m2", "m3"]
    choose(tab, "sort", "gain:ae_whisper")
    gains = tab.run(
        f"{SHOWN}.map((e) => JSON.parse(e.dataset.errors).ctc).map((r) => r.sisdr - r.ae_whisper)"
    )
    assert gains == sorted(gains, reverse=True)


def test_filtering_by_mixture_and_word(tab):
    assert len(mixtures(tab)) == 4
    choose(tab, "query", "M2")
    assert mixtures(tab) == ["m2"]
    assert "1 of 4" in tab.run("document.querySelector('#status').textContent")
    choose(tab, "query", "windows")
    assert len(mixtures(tab)) == 1
    choose(tab, "query", "nothing like it")
    assert mixtures(tab) == []


def test_filtering_by_recogniser_and_relation(tab):
    visible = "[...document.querySelectorAll('.heard')].filter((e) => !e.closest('[hidden]'))"
    choose(tab, "recogniser", "ctc")
    assert set(tab.run(f"{visible}.map((e) => e.dataset.recogniser)")) == {"ctc"}
    choose(tab, "recogniser", "")
    choose(tab, "relation", "kin")
    assert set(tab.run(f"{visible}.map((e) => e.dataset.relation)")) == {"kin"}
    systems = "[...document.querySelectorAll('.system')].filter((e) => !e.hidden)"
    assert set(tab.run(f"{systems}.map((e) => e.dataset.system)")) == {"ae_whisper"}


def test_a_system_that_is_not_ticked_does_not_count(tab):
    for name in ("pretrained", "ae_whisper"):
        tab.run(f"document.querySelector('input[value={name}]').click()")
    systems = "[...document.querySelectorAll('.system')].filter((e) => !e.hidden)"
    shown = {"mixture", "clean", "sisdr"}
    assert set(tab.run(f"{systems}.map((e) => e.dataset.system)")) == shown
    apart = tab.run(f"{SHOWN}.map((e) => e.querySelector('.difference').textContent)")
    assert set(apart) == {"0"}  # one trained system is left


def test_sorting_of_tables_by_keyboard(tab):
    difference = "[...document.querySelectorAll('details.table')].find((d) => "
    difference = f"{difference}d.querySelector('h3').textContent.includes('difference to'))"
    values = f"[...{difference}.querySelector('tbody').rows].map((r) => r.cells[2].dataset.order)"
    before = [float(value) for value in tab.run(values)]
    assert min(before) < 0 < max(before)
    tab.run(f"{difference}.open = true")
    tab.run(f"{difference}.querySelectorAll('thead button')[2].focus()")
    for order in (sorted(before, reverse=True), sorted(before)):
        for kind in ("keyDown", "keyUp"):
            key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            tab.call("Input.dispatchKeyEvent", type=kind, **key)
        assert [float(value) for value in tab.run(values)] == order
    assert tab.run(f"{difference}.querySelectorAll('[aria-sort=ascending]').length") == 1


@pytest.mark.parametrize(
    ("number", "heading", "expected"),
    [
        (0, "cpWER (%)", ["102 [99, 105.5]", "47 [44, 51]", "41 [38.2, 44.1]", "40.5", "39.5"]),
        (0, "seed", ["2", "1", "–", "–", "–"]),
        (1, "steps", ["100", "100", "0", "0"]),
    ],
)
def test_sorting_of_the_figures_of_a_study(tab, number, heading, expected):
    table = f"document.querySelectorAll('details.rows table')[{number}]"
    headings = tab.run(f"[...{table}.querySelectorAll('thead th')].map((e) => e.textContent)")
    column = headings.index(heading)
    button = f"{table}.querySelectorAll('thead button')[{column}]"
    cells = f"[...{table}.tBodies[0].rows].map((r) => r.cells[{column}].textContent.trim())"
    missing = [text for text in expected if text == "–"]
    figures = [text for text in expected if text != "–"]
    tab.run(f"{button}.click()")
    assert tab.run(cells) == expected
    tab.run(f"{button}.click()")
    assert tab.run(cells) == figures[::-1] + missing


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(tab, width, dark):
    tab.resize(width, 800, dark=dark, phone=width < 500)
    tab.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    assert tab.run("document.documentElement.scrollWidth") <= width
    shown = "[...document.querySelectorAll('.plot svg')].filter((s) => s.checkVisibility())"
    assert tab.run(f"{shown}.length") == 4
    background = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(21, 23, 27)") == dark
