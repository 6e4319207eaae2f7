"""What all tests of the program from outside share: an environment in which nothing of the user's own is left.

Import it first. It clears what the user has set for Tern, for downloads and for providers, and names empty folders as home.
`TERN_TEST_ISA` (ctest sets it) is the kernel table to test: where this processor lacks it, the test ends as skipped.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77  # what ctest takes for a test that was skipped

# A build with sanitizers keeps freed memory for a while and adds some to every block: memory is not judged there.
SANITIZED = bool(os.environ.get("TERN_TEST_SANITIZER"))


def _is_the_users(name):
    return (name.startswith(("TERN_", "XDG_", "HF_", "OPENAI_", "HOLYSHEEP_")) and not name.startswith("TERN_TEST_")
            or name.lower().endswith("_proxy") or name.endswith("_API_KEY")
            or name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE"))


def _clean():
    for name in list(os.environ):
        if _is_the_users(name):
            del os.environ[name]
    home = tempfile.mkdtemp(prefix="tern-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["HOME"] = home
    isa = os.environ.get("TERN_TEST_ISA")
    if isa:
        os.environ["TERN_ISA"] = isa


def skip_without_table(tern):
    """Ends the test as skipped where the processor cannot run the table that is to be tested."""
    isa = os.environ.get("TERN_ISA")
    if isa:
        done = subprocess.run([tern, "run", "-n", "1", "Once"], stdin=subprocess.DEVNULL, capture_output=True)
        if b"which this CPU cannot run" in done.stderr:
            print(f"skipped: this processor cannot run {isa}")
            sys.exit(SKIPPED)


_clean()
