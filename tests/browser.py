"""A page as a browser has it, where there is one."""

import html
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def in_browser(folder: Path, page: str, script: str, width: int = 1200) -> str:
    """What ``script`` writes into the title of the open page."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("no chromium on this machine to open the page in")
    file = folder / "page.html"
    open_to_scripts = re.sub(r"<meta http-equiv=[^>]*>", "", page)
    file.write_text(open_to_scripts.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'chromium'}"]
    command += [f"--window-size={width},900", "--dump-dom", file.as_uri()]
    own_home = {**os.environ, "HOME": str(folder)}
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=own_home).stdout
    return html.unescape(re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1])
