"""The app's page in headless Chromium, on a tiny model: say, see it stored, forget it; nothing comes from outside."""

import shutil

import pytest
import torch
from tiny import KeywordDetector, make_model, make_turn_encoder

from pref_lstm.app_session import App
from pref_lstm.user_store import UserStore

pytest.importorskip("gradio", reason="the extra `app` is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")


@pytest.fixture
def address(tmp_path):
    from pref_lstm import app_page

    model = make_model(relation_threshold=1.0)
    model._encoder = make_turn_encoder()
    with torch.no_grad():
        model.memory.cell.gate_threshold.fill_(-50.0)
    with UserStore(tmp_path / "users.db", model, KeywordDetector()) as store:
        page = app_page.build(App(model, KeywordDetector(), store, False, 4))
        _, address, _ = page.launch(theme=app_page.THEME, css=app_page.CSS, prevent_thread_lock=True, quiet=True)
        yield address
        page.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_what_is_said_is_stored_and_forgotten_on_the_page(address):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        outside = []
        page.on("request", lambda request: outside.append(request.url) if "127.0.0.1" not in request.url else None)
        page.goto(address)
        memory = page.locator("#memory")
        memory.get_by_text("Nothing yet.").wait_for()
        for text in ("I love green tea", "I hate <b>trains</b>"):
            page.get_by_placeholder("Say what you like").fill(text)
            page.get_by_role("button", name="Send").click()
            memory.get_by_text(text, exact=True).wait_for()
        for chat in ("#without", "#with"):
            assert page.locator(chat).get_by_text("I hate <b>trains</b>").count() == 1
        assert "turn 2 acts on the answer" in page.locator("#note").inner_text()

        memory.get_by_role("button", name="Forget").first.click()
        memory.get_by_text("I love green tea", exact=True).wait_for(state="detached")
        assert memory.get_by_text("I hate <b>trains</b>").count() == 1
        assert page.locator("#with").get_by_text("trains").count() == 0  # the open conversation quoted it
        page.get_by_role("button", name="Forget everything").click()
        memory.get_by_text("Nothing yet.").wait_for()
        browser.close()
    assert [url for url in outside if not url.startswith(("data:", "blob:"))] == []
