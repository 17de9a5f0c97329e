"""Forms that a real browser builds and sends: scripts' FormData, and a page's own form with a field left empty."""

import base64
import json
from pathlib import Path

import pytest

from tests.service.protocols.pages.browser import Browser
from tests.service.protocols.pages.page import Page

NAMES = ("plain.jpg", "Küche 台所.jpg", 'a "b"; c\\d.jpg')
# Chromium writes a file's name in the form's encoding.
CHARSETS = ("utf-8", "windows-1252", "shift_jis", "gbk")


@pytest.mark.parametrize("route", ["/v1/detect", "/predict", "/v1/vision/detection"])
def test_a_browsers_form_with_an_empty_field_answers_as_the_picture(
    browser: Browser, url: str, picture: Path, route: str
) -> None:
    encoded = base64.b64encode(picture.read_bytes()).decode()
    script = f"""(async () => {{
      const bytes = Uint8Array.from(atob({encoded!r}), c => c.charCodeAt(0));
      const found = answer => JSON.stringify(
        Array.isArray(answer) ? answer : answer.detections || answer.predictions || answer);
      const ask = async body => found(await (await fetch({route!r}, {{method: 'POST', body}})).json());
      const make = (name, more) => Object.assign(document.createElement(name), more);
      const answers = [await ask(bytes)];
      for (const name of {json.dumps(NAMES)}) {{
        const file = new File([bytes], name, {{type: 'image/jpeg'}});
        const scripted = new FormData();
        scripted.append('image', file);
        scripted.append('mask', new File([], ''));
        scripted.append('note', 'Küche');
        answers.push(await ask(scripted));
        for (const charset of {json.dumps(CHARSETS)}) {{
          const form = make('form', {{
            method: 'post', enctype: 'multipart/form-data', action: {route!r}, target: 'answer', acceptCharset: charset,
          }});
          const chosen = new DataTransfer();
          chosen.items.add(file);
          form.append(
            make('input', {{type: 'hidden', name: '_charset_'}}), make('input', {{name: 'note', value: 'Küche'}}),
            make('input', {{type: 'file', name: 'mask'}}),
            make('input', {{type: 'file', name: 'image', files: chosen.files}}));
          const frame = make('iframe', {{name: 'answer'}});
          document.body.append(form, frame);
          const loaded = new Promise(done => {{ frame.onload = done; }});
          form.submit();
          await loaded;
          answers.push(found(JSON.parse(frame.contentDocument.body.textContent)));
          form.remove();
          frame.remove();
        }}
      }}
      return answers;
    }})()"""
    with browser.tab() as tab:
        page = Page(tab)
        page.open(f"{url}livez")  # the demo page's own policy sends no forms
        alone, *of_forms = page.evaluate(script)
    assert len(json.loads(alone)) == 1
    assert of_forms == [alone] * len(NAMES) * (1 + len(CHARSETS))
