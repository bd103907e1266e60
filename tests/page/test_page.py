"""The page as a chemist uses it, in a browser."""

import csv
import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from tests.page.conftest import ANSWER, HOSTILE

IDLE = "#job:not(:has(.job))"


def add(page, files):
    before = page.locator(".rows .row").count()
    page.set_input_files("#add-files", [str(path) for path in files])
    page.wait_for_function("before => document.querySelectorAll('.rows .row').length > before", arg=before)
    if page.locator("#ask").count() == 0:
        page.wait_for_url("**/samples/*")


def search(page):
    page.click("#search-one")
    page.wait_for_selector(".card.hit")
    page.wait_for_selector(IDLE, state="attached")


def kept(page):
    return page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok)


def test_dropped_spectra_of_one_name_become_one_answer_with_reasons(address, visit, drop, spectra):
    page = visit(address)
    drop(page, ".welcome", spectra)
    page.wait_for_url("**/samples/s1")
    assert page.locator(".rows .row").count() == 1
    assert page.locator(".rows .chip").all_inner_texts() == ["IR", "MS/MS", "Raman"]
    page.wait_for_selector(".plot canvas")
    search(page)
    assert page.locator(".card.hit h3").first.inner_text() == ANSWER[0]
    assert page.locator(".card.none").count() == 1
    page.click("#why-1")
    page.wait_for_selector("aside .reason")
    assert "hit=1" in page.url
    assert page.locator("aside .reason canvas").count() >= 2
    assert page.locator("aside .groups tbody tr").count() > 3
    page.click("#accept-1")
    page.wait_for_selector("#accept-1[aria-pressed=true]")
    again = visit(page.url)
    assert again.locator("#why-title").inner_text() == page.locator("#why-title").inner_text()
    assert again.locator(".title .badge").inner_text() == "accepted"


def test_infrared_is_drawn_from_4000_to_500_and_zoomed_without_a_mouse(address, visit, spectra):
    page = visit(address)
    add(page, [path for path in spectra if ".ir." in path.name])
    page.wait_for_selector(".plot canvas")
    label = page.locator("[data-plot]").get_attribute("aria-label")
    assert label.startswith("IR spectrum, highest peaks at ")
    assert "points" in page.locator(".read").inner_text()
    left = page.evaluate("() => document.querySelector('[data-plot] .u-over').getBoundingClientRect().left")
    box = page.locator("[data-plot] .u-over").bounding_box()
    page.mouse.move(left + 10, box["y"] + 20)
    near = float(page.locator(".readout").inner_text().split()[0])
    page.mouse.move(left + box["width"] - 10, box["y"] + 20)
    assert near > 3500 > 700 > float(page.locator(".readout").inner_text().split()[0])
    for _ in range(2):
        page.locator("[data-zoom=in]").press("Enter")
    page.mouse.move(left + 10, box["y"] + 21)
    assert float(page.locator(".readout").inner_text().split()[0]) < 3000


def test_a_step_of_clean_up_leaves_the_raw_curve_behind(address, visit, spectra):
    page = visit(address)
    add(page, [path for path in spectra if ".ir." in path.name])
    page.check("[data-clean][value^=co2]")
    page.wait_for_selector(".clean .quiet")
    assert "pale" in page.locator(".clean").inner_text()
    assert page.locator("[role=status]").inner_text() == "Cleaned up"
    page.uncheck("[data-clean][value^=co2]")
    page.wait_for_selector(".clean .quiet", state="detached")


def test_an_ion_leaves_few_candidates_as_it_is_typed(address, visit, spectra):
    page = visit(address)
    add(page, spectra)
    page.fill("#ask-mz", "223,0745")
    page.select_option("#ask-adduct", "[M+H]+")
    page.wait_for_function("() => document.querySelector('#left').textContent.startsWith('1 of 50')")
    page.press("#ask-mz", "Enter")
    page.wait_for_selector(".card.hit")
    assert page.locator(".card.hit").count() == 1
    assert "ppm" in page.locator(".card.hit .deviation").inner_text()
    assert page.locator(".card.none").count() == 1


def test_a_formula_that_is_none_is_told_while_it_is_typed(address, visit, spectra):
    page = visit(address)
    add(page, spectra)
    page.fill("#ask-formula", "C10H11Xy")
    page.wait_for_selector("#left.wrong")
    assert "Xy" in page.locator("#left").inner_text()


def test_a_wrong_unit_is_corrected_and_the_file_read_again(address, visit, tmp_path):
    rows = [f"{1e4 / (4000 - 5 * i):.5f},{1 + (i % 40) / 40}" for i in range(700)]
    path = tmp_path / "lamp.csv"
    path.write_text("\n".join(rows))
    page = visit(address)
    add(page, [path])
    page.wait_for_selector(".rows .row.failed")
    page.wait_for_selector(".file.bad form")
    page.select_option("select[name=modality]", "ir")
    page.fill("input[name=x_unit]", "um")
    page.fill("input[name=y_unit]", "A")
    page.click("text=Read again")
    page.wait_for_selector(".plot canvas")
    assert page.locator(".rows .row.failed").count() == 0
    assert "IR" in page.locator(".rows .chip").all_inner_texts()


def test_a_bad_file_is_a_red_row_with_its_sentence(address, visit, tmp_path, spectra):
    path = tmp_path / "notes.csv"
    path.write_text("nothing, that, is\na spectrum, at, all\n")
    page = visit(address)
    add(page, [path, *spectra])
    page.wait_for_selector(".rows .row.failed")
    assert page.locator(".rows .row.failed .hidden").first.inner_text() == "failed"
    page.click(".row.failed a")
    page.wait_for_selector(".file.bad .why-not")
    assert page.locator(".file.bad summary").inner_text() == "Reading"
    assert str(tmp_path) not in page.content()
    page.click(".file.bad button.plain")
    page.wait_for_selector(".row.failed", state="detached")


def test_files_are_grouped_by_a_list_and_by_dragging(address, visit, spectra, tmp_path):
    alone = tmp_path / "other.ir.csv"
    shutil.copy(next(path for path in spectra if ".ir." in path.name), alone)
    page = visit(address)
    add(page, [path for path in spectra if ".raman." in path.name])
    add(page, [alone])
    page.click(".row a:has-text('other')")
    page.wait_for_function("() => document.querySelector('#sample-title').textContent === 'other'")
    page.select_option("[data-move]", label="unknown")
    page.wait_for_function("() => document.querySelectorAll('.file').length === 2")
    assert page.locator(".rows .chip").all_inner_texts() == ["Raman", "IR"]
    page.locator(".file", has_text="other.ir.csv").locator("[data-move]").select_option("new")
    page.wait_for_function("() => document.querySelectorAll('.rows .row').length === 2")
    page.locator(".file .name").drag_to(page.locator(".rows .row").nth(1))
    page.wait_for_function("() => document.querySelectorAll('.file').length === 2")
    assert page.locator(".rows .row").count() == 1


def test_answers_are_exported_and_a_case_is_opened_again(served, visit, spectra):
    with served() as address:
        page = visit(address)
        add(page, spectra)
        search(page)
        page.click("#accept-1")
        page.wait_for_selector("#accept-1[aria-pressed=true]")
        page.fill("#comment", "sure, by hand")
        with kept(page):
            page.press("#comment", "Tab")
        page.goto(f"{address}/table")
        files = {}
        for kind in ("csv", "sdf", "case"):
            with page.expect_download() as download:
                page.click(f"#export-{kind}")
            files[kind] = Path(download.value.path()).read_bytes()
        rows = list(csv.DictReader(files["csv"].decode("utf-8-sig").splitlines()))
        assert rows[0]["sample"] == "unknown"
        assert rows[0]["SMILES"] == ANSWER[1]
        assert files["sdf"].count(b"$$$$") >= len(rows)
        assert any(name.endswith("case.json") for name in zipfile.ZipFile(BytesIO(files["case"])).namelist())
        page.goto(f"{address}/report")
        assert ANSWER[0] in page.content()
        assert page.pdf().startswith(b"%PDF-")
    with served() as address:
        page = visit(f"{address}/table")
        row = page.locator("#table tbody tr")
        assert row.locator("select").input_value() == "accepted"
        assert row.locator("input").input_value() == "sure, by hand"
        assert ANSWER[0] in row.inner_text()


def test_a_hundred_files_are_listed_and_their_search_is_cancelled(address, visit, spectra, tmp_path):
    source = next(path for path in spectra if ".ir." in path.name)
    files = [tmp_path / f"sample-{number:03}.ir.csv" for number in range(100)]
    for path in files:
        shutil.copy(source, path)
    page = visit(address)
    add(page, files)
    assert page.locator(".rows .row").count() == 100
    page.click("#search-all")
    page.wait_for_function("() => Number(document.querySelector('progress')?.getAttribute('value')) >= 2")
    page.click("[data-cancel]")
    page.wait_for_selector(IDLE, state="attached")
    page.goto(f"{address}/table")
    rows = page.locator("#table tbody tr")
    assert rows.count() == 100
    assert 1 <= page.locator("#table tbody tr.answered").count() < 100
    page.click("#sort-1")
    page.click("#sort-1")
    assert "sample-099" in rows.first.inner_text()


def test_all_of_it_works_by_keys_alone(address, visit, spectra):
    page = visit(address)
    press = page.keyboard.press
    with page.expect_file_chooser() as chooser:
        press("u")
    chooser.value.set_files([str(path) for path in spectra])
    page.wait_for_url("**/samples/s1")
    press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the answer"
    press("m")
    page.keyboard.type("222.0672")
    press("Enter")
    page.wait_for_selector(".card.hit")
    press("Escape")
    press("1")
    page.wait_for_selector("aside .reason")
    press("a")
    page.wait_for_selector("#accept-1[aria-pressed=true]")
    press("p")
    page.wait_for_selector(".compare")
    press("/")
    page.keyboard.type("nitro")
    press("Enter")
    page.wait_for_url("**has=nitro**")
    page.wait_for_selector(".card.hit", state="detached")
    assert page.evaluate("() => document.activeElement.id") == "filter-has"
    press("Escape")
    press("?")
    assert page.locator("#help").is_visible()
    press("Escape")
    assert not page.locator("#help").is_visible()
    press("t")
    page.wait_for_url("**/table")


def test_hostile_names_do_nothing(address, visit, spectra, tmp_path):
    path = tmp_path / f"{HOSTILE.replace('/', '')}.ir.csv"
    shutil.copy(next(one for one in spectra if ".ir." in one.name), path)
    page = visit(address)
    add(page, [path])
    search(page)
    page.fill("#comment", HOSTILE)
    with kept(page):
        page.press("#comment", "Tab")
    page.fill("#filter-has", HOSTILE)
    page.press("#filter-has", "Enter")
    page.wait_for_selector(".answers .why-not")
    for where in (page.url, f"{address}/table", f"{address}/report"):
        page.goto(where)
        assert "<img" in page.inner_text("body") or where.endswith("report")
        assert page.locator("img").count() == 0


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_the_page_is_accessible(address, visit, spectra, look):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    options = {"viewport": {"width": 390, "height": 844}} if look == "phone" else {"color_scheme": look}
    page = visit(address, **options)
    pages = ["start"]
    found = {"start": axe.Axe().run(page)}
    add(page, spectra)
    search(page)
    page.click("#why-1")
    page.wait_for_selector("aside .reason")
    page.click("#pin-1")
    page.wait_for_selector(".compare")
    found["answer"] = axe.Axe().run(page)
    for name in ("table", "model"):
        page.goto(f"{address}/{name}")
        found[name] = axe.Axe().run(page)
        pages.append(name)
    page.keyboard.press("?")
    found["keys"] = axe.Axe().run(page)
    wrong = [
        f"{name}: {one['id']}: {one['nodes'][0]['html'][:200]}"
        for name, results in found.items()
        for one in results.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert wrong == []
    for name in ("samples/s1", *pages[1:]):
        page.goto(f"{address}/{name}")
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), name
